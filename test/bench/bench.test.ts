/**
 * What turns measurements into words: a wrong median or a ratio upside down would look like a fast program.
 */

import { describe, expect, it } from "vitest";
import { parseArguments } from "../../bench/arguments.ts";
import { LOADS, SCALES } from "../../bench/loads.ts";
import {
  goalLines,
  goals,
  markdown,
  notes,
  type Results,
  speedRatio,
  terminalTable,
} from "../../bench/report.ts";
import { ROWS } from "../../bench/rows.ts";
import { parseDd } from "../../src/compare/fio.ts";
import { median, shortNumber, summarize } from "../../src/compare/stats.ts";

const ids = (things: readonly { readonly id: string }[]) => things.map(({ id }) => id);

/** Results of three rows and two loads, one in MB/s, one in us. */
function results(changes: Partial<Results> = {}): Results {
  return {
    machine: {
      commit: "abc",
      cpu: "2 x CPU",
      memoryGiB: 8,
      kernel: "6.1",
      node: "v20",
      fio: "fio-3.33",
      glusterfs: "glusterfs 10.3",
      fileSystem: "ext4 /dev/vda",
    },
    command: "npm run bench -- --peers",
    scale: SCALES.quick,
    rounds: 3,
    startedAt: "2026-01-01T00:00:00.000Z",
    loadBefore: 0.1,
    peerOptions: [],
    rows: ROWS.filter(({ id }) => ["base", "tcp", "glusterfs"].includes(id)),
    loads: LOADS.filter(({ id }) => ["seq-read", "4k-read"].includes(id)),
    values: {
      base: { "seq-read": [1000, 1200, 800], "4k-read": [50, 40, 60] },
      tcp: { "seq-read": [600, 500, 400], "4k-read": [100, 90, 110] },
      glusterfs: { "seq-read": [400, 500, 600], "4k-read": [300, 200, 100] },
    },
    direct: { base: undefined, tcp: true, glusterfs: true },
    ...changes,
  };
}

describe("numbers", () => {
  it("median is the middle, whatever the order, and does not change its input", () => {
    const values = [3, 1, 2];
    expect(median(values)).toBe(2);
    expect(values).toEqual([3, 1, 2]);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNaN();
    expect(summarize([10, 9, 100])).toEqual({ median: 10, min: 9, max: 100, count: 3 });
  });

  it("are written with three digits", () => {
    expect([1234.5, 99.95, 9.876, Number.NaN].map(shortNumber)).toEqual(["1235", "100.0", "9.88", "-"]);
  });
});

describe("dd's last line", () => {
  it("gives bytes a second from bytes and seconds, not from its rounded rate", () => {
    const text =
      "65536+0 records in\n65536+0 records out\n67108864 bytes (67 MB, 64 MiB) copied, 0.5 s, 1 GB/s\n";
    expect(parseDd(text)).toBeCloseTo(134217728);
  });

  it("that is missing gives nothing", () => {
    expect(parseDd("dd: writing 'x': No space left on device")).toBeUndefined();
  });
});

describe("ratios", () => {
  it("above 1 mean faster, for throughput and for latency", () => {
    expect(speedRatio(results(), "tcp", "base", "seq-read")).toBe(0.5);
    expect(speedRatio(results(), "tcp", "base", "4k-read")).toBe(0.5);
    expect(speedRatio(results(), "tcp", "glusterfs", "4k-read")).toBe(2);
    expect(speedRatio(results(), "embedded", "base", "4k-read")).toBeUndefined();
  });

  it("hold one local brick against the bare directory", () => {
    const { values } = results();
    const local = results({ values: { base: values["base"]!, embedded: values["tcp"]! } });
    expect(goalLines(local)).toEqual([
      "MISSED: embedded against base, seq-read: 0.50, wanted 0.8",
      "MISSED: embedded against base, 4k-read: 0.50, wanted 0.8",
    ]);
  });

  it("decide whether a promise is kept", () => {
    const reached = goalLines(results());
    expect(reached).toEqual([
      "reached: tcp against glusterfs, seq-read: 1.00, wanted 1",
      "reached: tcp against glusterfs, 4k-read: 2.00, wanted 1.5",
    ]);
    const { values } = results();
    const slower = results({ values: { ...values, tcp: { "seq-read": [499], "4k-read": [134] } } });
    expect(goalLines(slower).every((line) => line.startsWith("MISSED"))).toBe(true);
    expect(goals(results()).filter(({ ratio }) => ratio === undefined)).not.toHaveLength(0);
  });
});

describe("the report", () => {
  it("shows median, spread and both ratios in a cell", () => {
    const table = terminalTable(results());
    expect(table).toContain("Mortar over TCP");
    expect(table).toContain("400 - 600");
    expect(table).toContain("0.50 x base");
    expect(table).toContain("2.00 x peer");
  });

  it("in markdown has a row for each row, the command and the commit", () => {
    const text = markdown(results());
    expect(text).toContain("`npm run bench -- --peers` at commit abc");
    expect(text.split("\n").filter((line) => line.startsWith("| "))).toHaveLength(2 + 3);
    expect(text).toContain("| GlusterFS FUSE, its own brick | 500<br>400 - 600<br>0.50 x base |");
  });

  it("warns of a machine that others used", () => {
    expect(notes(results({ loadBefore: 3 })).join("\n")).toContain("BUSY");
    expect(notes(results()).join("\n")).not.toContain("BUSY");
  });

  it("warns of a brick that did not do direct I/O", () => {
    const cheating = results({ direct: { tcp: true, glusterfs: false } });
    expect(notes(cheating).join("\n")).toContain(
      "O_DIRECT did NOT reach the brick, do not compare: glusterfs",
    );
    expect(notes(results()).join("\n")).not.toContain("NOT");
  });
});

describe("arguments", () => {
  it("take the rows without a peer by default, all with --peers, and those that are named", () => {
    expect(ids(parseArguments([])!.rows)).toEqual([
      ...["base", "embedded", "embedded-requests", "fuse-native", "tcp"],
      ...["replica-embedded", "replica-tcp", "replica-one", "virt-tcp", "virt-one", "virt-writeback"],
    ]);
    expect(parseArguments(["--peers"])!.rows).toHaveLength(ROWS.length);
    expect(ids(parseArguments(["--only", "glusterfs,base"])!.rows)).toEqual(["base", "glusterfs"]);
    expect(ids(parseArguments(["--loads", "dd"])!.loads)).toEqual(["dd"]);
    expect(parseArguments(["--rounds", "5"])!.rounds).toBe(5);
    const sized = parseArguments(["--trials", "scale", "--sizes", "blocks=160,cycles=2"])!;
    expect([sized.trialScale.blocks, sized.trialScale.cycles, sized.trialScale.switches]).toEqual([
      160, 2, 600,
    ]);
    expect(parseArguments(["--help"])).toBeUndefined();
  });

  it.each([
    [["--only", "bse"], 'bench: --only: "bse" is none of base, embedded'],
    [["--loads", ""], 'bench: --loads: "" is none of seq-write'],
    [["--only", "base,tcp,base"], 'bench: --only: "base" is named twice; name each once'],
    [["--loads", "dd,dd"], 'bench: --loads: "dd" is named twice; name each once'],
    [["--trials", "scale,scale"], 'bench: --trials: "scale" is named twice; name each once'],
    [["--sizes", "blocks=2,blocks=3"], 'bench: --sizes: "blocks" is named twice; name each key once'],
    [["--rounds", "0"], 'bench: --rounds: "0" is not a number from 1'],
    [["--fast"], "bench: Unknown option '--fast'"],
    [["--sizes", "block=9"], 'bench: --sizes: "block=9" is no KEY=NUMBER; keys: imageMiB, changedMiB'],
    [["--sizes", "blocks=0"], 'bench: --sizes: "blocks=0" is no KEY=NUMBER'],
  ])("%j is refused in one line", (args, message) => {
    expect(() => parseArguments(args)).toThrow(message);
  });
});
