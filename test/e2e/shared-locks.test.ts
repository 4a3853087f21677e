/**
 * Byte-range locks between two clients of different make on one brick: one waits for the other and gets the
 * lock after the unlock, after close, after kill -9 of the holder and after kill -9 of the holder's mount.
 */

import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { FileAgent } from "../support/file-agent.ts";
import { Lab, MAKES, type Make, type Mount } from "../support/peers.ts";
import { until } from "../support/wait.ts";

const RANGE = { start: 100, length: 50 } as const;

const lab = new Lab("locks");
afterAll(() => lab.close());

/** A lock that is asked for and not granted yet; `granted` settles when it is. */
async function waitForLock(
  agent: FileAgent,
  fd: number,
): Promise<{ granted: Promise<boolean>; early: boolean }> {
  const state = { early: false };
  const granted = agent.lock({ fd, kind: "posix", type: "write", ...RANGE, wait: true });
  granted.then(
    () => {
      state.early = true;
    },
    () => {},
  );
  await until("the second client waits", () => agent.isBlocked() || state.early);
  return { granted, early: state.early };
}

describe.each(MAKES)("on a %s brick", (server) => {
  let mounts: Record<Make, Mount>;
  let brick: Awaited<ReturnType<Lab["startBrick"]>>;
  beforeAll(async () => {
    brick = await lab.startBrick(server, lab.makeBrickDirectory("brick"));
    mounts = {
      mortar: await lab.mountBrick("mortar", brick),
      glusterfs: await lab.mountBrick("glusterfs", brick),
    };
  });

  describe.each([
    ["mortar", "glusterfs"],
    ["glusterfs", "mortar"],
  ] as const)("held through %s, wanted through %s", (first, second) => {
    let name: string;
    let holder: FileAgent;
    let waiter: FileAgent;
    let held: number;
    let wanted: number;
    let files = 0;

    async function open(agent: FileAgent, make: Make): Promise<number> {
      return agent.open(join(mounts[make].mountpoint, name), "O_RDWR|O_CREAT");
    }

    beforeEach(async () => {
      name = `${first}-${files++}`;
      holder = lab.agent();
      waiter = lab.agent();
      held = await open(holder, first);
      wanted = await open(waiter, second);
      expect(await holder.lock({ fd: held, kind: "posix", type: "write", ...RANGE })).toBe(true);
      return async () => {
        await holder.process.kill();
        await waiter.process.kill();
      };
    });

    it("is refused where the ranges overlap and granted beside them", async () => {
      const ask = { fd: wanted, kind: "posix", type: "read" } as const;
      expect(await waiter.lock({ ...ask, start: 149, length: 1 })).toBe(false);
      expect(await waiter.lock({ ...ask, start: 0, length: 0 })).toBe(false);
      expect(await waiter.conflictingLock({ ...ask, start: 0, length: 120 })).toBe("write 100 50");
      expect(await waiter.lock({ ...ask, start: 150, length: 0 })).toBe(true);
      expect(await waiter.lock({ ...ask, start: 0, length: 100 })).toBe(true);
    });

    it("shares a range among readers", async () => {
      expect(await holder.lock({ fd: held, kind: "posix", type: "read", ...RANGE })).toBe(true);
      expect(await waiter.lock({ fd: wanted, kind: "posix", type: "read", ...RANGE })).toBe(true);
      expect(await holder.lock({ fd: held, kind: "posix", type: "write", ...RANGE })).toBe(false);
    });

    it("excludes flock and OFD locks of the whole file too", async () => {
      expect(await holder.lock({ fd: held, kind: "posix", type: "unlock", start: 0, length: 0 })).toBe(true);
      expect(await holder.flock(held, "exclusive")).toBe(true);
      expect(await waiter.flock(wanted, "shared")).toBe(false);
      expect(await holder.flock(held, "unlock")).toBe(true);
      expect(await waiter.lock({ fd: wanted, kind: "ofd", type: "read", start: 100, length: 1 })).toBe(true);
      expect(
        await holder.conflictingLock({ fd: held, kind: "ofd", type: "write", start: 0, length: 0 }),
      ).toBe("read 100 1");
    });

    it.each([
      ["unlock", () => holder.lock({ fd: held, kind: "posix", type: "unlock", ...RANGE })],
      ["close", () => holder.close(held)],
      ["kill -9 of the holder", () => holder.process.kill()],
    ] as const)("waits, and is granted after %s", async (_, giveUp) => {
      const { granted, early } = await waitForLock(waiter, wanted);
      expect(early).toBe(false);
      await giveUp();
      expect(await granted).toBe(true);
    });

    it("is granted after kill -9 of the holder's mount", async () => {
      const { granted, early } = await waitForLock(waiter, wanted);
      expect(early).toBe(false);
      await mounts[first].process.kill();
      try {
        expect(await granted).toBe(true);
      } finally {
        await lab.dropMount(mounts[first]);
        mounts[first] = await lab.mountBrick(first, brick);
      }
    });

    it("waits no longer when the waiter is killed", async () => {
      await waitForLock(waiter, wanted);
      await waiter.process.kill();
      expect(await holder.lock({ fd: held, kind: "posix", type: "unlock", ...RANGE })).toBe(true);
      const third = lab.agent();
      const fd = await open(third, second);
      await until("the range is free", () => third.lock({ fd, kind: "posix", type: "write", ...RANGE }));
      await third.process.kill();
    });
  });
});
