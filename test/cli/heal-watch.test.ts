/** `mortar heal info --watch`: what it says of what is left, and when it ends. */

import { describe, expect, it } from "vitest";
import type { BrickInfo } from "../../src/cli/heal-info.ts";
import { Pace, pendingOf, watchInfo, watchText } from "../../src/cli/heal-watch.ts";
import type { ListedObject } from "../../xlators/cluster/replicate/crawl/info.ts";
import type { Inspection } from "../../xlators/cluster/replicate/heal/report.ts";
import { listedObject } from "../support/listed-object.ts";

const MIB = 2 ** 20;

function object(last: number, bytes: number, status: Inspection["status"] = "heal"): ListedObject {
  return listedObject(last, `/f${last}`, status, bytes);
}

/** Two bricks that list the same, and one that lists nothing. */
function bricks(objects: readonly ListedObject[], lastConnected = true): BrickInfo[] {
  return [
    { brick: "h:/b0", child: "c0", connected: true, objects },
    { brick: "h:/b1", child: "c1", connected: true, objects },
    { brick: "h:/b2", child: "c2", connected: lastConnected, objects: [] },
  ];
}

/** What a program that reads the output gets. */
async function watched(...looks: readonly BrickInfo[][]): Promise<{ lines: string[]; well: boolean }> {
  const lines: string[] = [];
  const out = { write: (text: string) => lines.push(text) > 0 };
  const rest = [...looks];
  const gather = async (): Promise<BrickInfo[]> => (rest.length > 1 ? rest.shift()! : rest[0]!);
  const well = await watchInfo(gather, out, { signal: new AbortController().signal, everyMs: 0 });
  return { lines, well };
}

describe("what is left", () => {
  it("counts each object once, split brain apart, and names what is being healed", () => {
    const objects = [object(1, 10), object(2, 20, "possibly-healing"), object(3, 40, "split-brain")];
    expect(pendingOf(bricks(objects, false))).toEqual({
      objects: 2,
      bytes: 30,
      splitBrain: 1,
      away: 1,
      name: "/f2",
    });
  });

  it("is told with rate and time to go, by what was healed lately", () => {
    const pace = new Pace();
    const first = pendingOf(bricks([object(1, 100 * MIB), object(2, 100 * MIB)]));
    const second = pendingOf(bricks([object(2, 100 * MIB)]));
    pace.note(first, 1000);
    expect(watchText(first, pace)).toBe("2 to heal, 200.0 MiB to go, /f1");
    pace.note(second, 6000);
    expect(watchText(second, pace)).toBe("1 to heal, 100.0 MiB to go, 20.0 MiB/s, 5 s to go, /f2");
    const third = pendingOf(bricks([object(2, 100 * MIB), object(3, 0, "split-brain")], false));
    pace.note(third, 7000);
    expect(watchText(third, pace)).toMatch(/; 1 in split brain; 1 brick is away$/);
  });

  it("has no rate when it grew, and that of objects when there are no bytes", () => {
    const pace = new Pace();
    pace.note(pendingOf(bricks([object(1, MIB)])), 0);
    const more = pendingOf(bricks([object(1, 2 * MIB)]));
    pace.note(more, 1000);
    expect(watchText(more, pace)).toBe("1 to heal, 2.0 MiB to go, /f1");
    const names = new Pace();
    names.note(pendingOf(bricks([object(1, 0), object(2, 0), object(3, 0)])), 0);
    const fewer = pendingOf(bricks([object(3, 0)]));
    names.note(fewer, 4000);
    expect(watchText(fewer, names)).toBe("1 to heal, 2 s to go, /f3");
  });
});

describe("watching", () => {
  it("prints each change and ends well when nothing is left", async () => {
    const look = bricks([object(1, 0)]);
    expect(await watched(look, look, bricks([]))).toEqual({
      lines: ["1 to heal, /f1\n", "nothing to heal\n"],
      well: true,
    });
  });

  it("waits for bricks that are away, and does not end well in split brain", async () => {
    expect(await watched(bricks([], false), bricks([object(1, 0, "split-brain")]))).toEqual({
      lines: ["nothing to heal; 1 brick is away\n", "nothing to heal; 1 in split brain\n"],
      well: false,
    });
  });

  it("ends when it is told to", async () => {
    const stop = new AbortController();
    const lines: string[] = [];
    const watching = watchInfo(
      async () => {
        stop.abort();
        return bricks([object(1, 0)]);
      },
      { write: (text: string) => lines.push(text) > 0 },
      { signal: stop.signal },
    );
    expect(await watching).toBe(false);
    expect(lines).toHaveLength(1);
  });
});
