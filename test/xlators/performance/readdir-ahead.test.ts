/** performance/readdir-ahead: entries that wait, in which order they are given, and when they are dropped. */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../src/core/dict.ts";
import type { Reply } from "../../../src/core/fops.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { settle } from "../../support/fake-env.ts";
import { CacheRig } from "./cache-rig.ts";

const TYPE = "performance/readdir-ahead";

async function filled(rig: CacheRig, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await rig.there.create(`f${i}`);
}

function read(rig: CacheRig, fd: Fd, offset: bigint, size = 4096, xdata?: Dict): Promise<Reply<"readdirp">> {
  return rig.graph.top.readdirp(rig.here.call, { fd, offset, size, xdata });
}

/** All names, in pages of `size`. */
async function list(rig: CacheRig, fd: Fd, size: number): Promise<string[]> {
  const names: string[] = [];
  for (let offset = 0n; ; ) {
    const { entries, eof } = await read(rig, fd, offset, size);
    names.push(...entries.map(({ name }) => name));
    if (eof || entries.length === 0) return names;
    offset = entries.at(-1)!.offset;
  }
}

async function openedAndFilled(rig: CacheRig): Promise<Fd> {
  const fd = await rig.here.opendir();
  await settle();
  return fd;
}

describe("a directory", () => {
  it("is asked for when it is opened, and given page by page without asking, its end included", async () => {
    await using rig = await CacheRig.make(TYPE);
    await filled(rig, 100);
    const went = await rig.during(async () => {
      const fd = await openedAndFilled(rig);
      const names = await list(rig, fd, 1000);
      expect(names).toHaveLength(102);
      expect(new Set(names).size).toBe(102);
      const { entries } = await read(rig, fd, 0n, 65536);
      expect(entries).toHaveLength(102);
    });
    // The last one began from the beginning again.
    expect(went).toEqual(["opendir", "readdirp", "readdirp"]);
  });

  it("is read on from any offset, and ahead from there", async () => {
    await using rig = await CacheRig.make(TYPE);
    await filled(rig, 50);
    const fd = await openedAndFilled(rig);
    const all = await read(rig, fd, 0n, 65536);
    const { offset } = all.entries[20]!;
    await rig.during(async () => {
      const page = await read(rig, fd, offset, 1000);
      expect(page.entries.map(({ name }) => name)).toEqual(
        all.entries.slice(21, 21 + page.entries.length).map(({ name }) => name),
      );
      await settle();
      const next = await read(rig, fd, page.entries.at(-1)!.offset, 65536);
      expect(page.entries.length + next.entries.length).toBe(31);
    });
    expect(rig.went).toHaveLength(2);
  });

  it("is asked for again by who asks for other xattrs", async () => {
    await using rig = await CacheRig.make(TYPE);
    await filled(rig, 3);
    const fd = await openedAndFilled(rig);
    const went = await rig.during(() => read(rig, fd, 0n, 65536, new Dict().setInt("user.x", 0)));
    expect(went).toEqual(["readdirp"]);
  });

  it("that cannot be read ahead says why to who reads", async () => {
    await using rig = await CacheRig.make(TYPE);
    await filled(rig, 3);
    const heal = rig.errors.failWhere((fop) => (fop === "readdirp" ? "EIO" : undefined));
    const fd = await openedAndFilled(rig);
    await expect(read(rig, fd, 0n)).rejects.toMatchObject({ code: "EIO" });
    heal();
    expect((await read(rig, fd, 0n, 65536)).entries).toHaveLength(5);
  });

  it("is not read ahead with pass-through", async () => {
    await using rig = await CacheRig.make(TYPE, { "pass-through": "on" });
    await filled(rig, 3);
    expect(await rig.during(() => openedAndFilled(rig))).toEqual(["opendir"]);
  });

  it("is waited for before the brick is told to close it", async () => {
    await using rig = await CacheRig.make(TYPE);
    const hold = rig.delays.hold("readdirp");
    const fd = await rig.here.opendir();
    let closed = false;
    const closing = rig.here.release(fd).then(() => {
      closed = true;
    });
    await settle();
    expect(closed).toBe(false);
    rig.delays.unhold(hold);
    await closing;
  });
});

describe("entries that wait", () => {
  it("are dropped when a name is made or removed, also by another client if a brick tells", async () => {
    await using rig = await CacheRig.make(TYPE);
    await filled(rig, 3);
    const { root } = rig.here;
    const names = async (fd: Fd) => (await read(rig, fd, 0n, 65536)).entries.map(({ name }) => name);
    const made = await openedAndFilled(rig);
    await rig.here.create("new");
    expect(await names(made)).toContain("new");
    const removed = await openedAndFilled(rig);
    await rig.here.unlink("new");
    expect(await names(removed)).not.toContain("new");
    const told = await openedAndFilled(rig);
    await rig.there.create("theirs");
    rig.tell(root.gfid);
    expect(await names(told)).toContain("theirs");
  });

  it("have no attributes when their inode was changed meanwhile", async () => {
    await using rig = await CacheRig.make(TYPE);
    await filled(rig, 2);
    const fd = await rig.here.open(await rig.here.inode("f0"));
    const dir = await openedAndFilled(rig);
    await rig.here.write(fd, "abc");
    const { entries } = await read(rig, dir, 0n, 65536);
    const sizes = entries.map(({ name, stat }) => `${name} ${stat.ctime === 0 ? "unknown" : stat.size}`);
    expect(sizes).toContain("f0 unknown");
    expect(sizes).toContain("f1 0");
  });

  it("are dropped after a second", async () => {
    await using rig = await CacheRig.make(TYPE);
    await filled(rig, 3);
    const fd = await openedAndFilled(rig);
    await rig.env.clock.advance(1001);
    expect(await rig.during(() => read(rig, fd, 0n))).toEqual(["readdirp"]);
  });

  it("are no more than the marks and the limit allow", async () => {
    await using rig = await CacheRig.make(TYPE, { "rda-request-size": "4KB", "rda-high-wmark": "8KB" });
    await filled(rig, 200);
    const fd = await openedAndFilled(rig);
    for (let turns = 0; turns < 5; turns++) await settle();
    const { bytes } = rig.cache.dump() as { bytes: number };
    expect(bytes).toBeGreaterThan(8 * 1024 - 1);
    expect(bytes).toBeLessThan(12 * 1024);
    // Down to the low mark nothing is asked for, then it goes on.
    const first = await rig.during(async () => {
      const { entries } = await read(rig, fd, 0n, 4096);
      await settle();
      expect(entries.length).toBeGreaterThan(10);
    });
    expect(first).toEqual([]);
    expect(await list(rig, fd, 4096)).toHaveLength(202);
    const other = await CacheRig.make(TYPE, { "rda-cache-limit": "0" });
    await using _ = other;
    await filled(other, 3);
    expect(await other.during(() => openedAndFilled(other))).toEqual(["opendir"]);
  });
});
