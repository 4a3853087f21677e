/** Files with far more possible blocks than real ones: what exists is listed, not looked for; bad options. */

import { describe, expect, it } from "vitest";
import { FopError, UserError } from "../../../../src/core/errors.ts";
import { parseOptions } from "../../../../src/core/options.ts";
import { shard } from "../../../../xlators/features/shard/shard.ts";
import { BLOCK, bytes, Rig } from "./rig.ts";

const TIB = 2 ** 40;
/** Fops that a handful of blocks may cost, when there are 2^28 possible ones. */
const FEW = 200;

async function sparse(rig: Rig): Promise<Awaited<ReturnType<typeof rig.a.create>>> {
  const fd = await rig.a.create("f");
  await rig.a.top.ftruncate(rig.a.call, { fd, offset: TIB });
  for (const block of [0, 7, 2 ** 20, 2 ** 28 - 1]) await rig.a.write(fd, bytes(100), block * BLOCK);
  rig.a.wire.take();
  return fd;
}

describe("a sparse file of a tebibyte in small blocks", () => {
  it("is removed by listing its blocks", async () => {
    await using rig = await Rig.start();
    await rig.a.close(await sparse(rig));
    await rig.a.unlink("f");
    await rig.pass();
    expect(rig.hidden()).toEqual([]);
    expect(rig.a.wire.passed.length).toBeLessThan(FEW);
  });

  it("is cut by listing its blocks", async () => {
    await using rig = await Rig.start();
    const fd = await sparse(rig);
    await rig.a.top.ftruncate(rig.a.call, { fd, offset: 8 * BLOCK });
    expect(rig.blocksOf(fd.inode.gfid)).toEqual([7]);
    expect(rig.a.wire.passed.length).toBeLessThan(FEW);
    await rig.pass();
    expect(rig.extent(fd.inode.gfid)).toEqual({ size: 8 * BLOCK, blocks: rig.room(fd.inode.gfid) });
  });

  it("finds its data by listing its blocks", async () => {
    await using rig = await Rig.start();
    const fd = await sparse(rig);
    const next = async (offset: number): Promise<number> =>
      (await rig.a.top.seek(rig.a.call, { fd, offset, what: "data" })).offset;
    expect(await next(0)).toBe(0);
    expect(await next(BLOCK)).toBe(7 * BLOCK);
    expect(await next(8 * BLOCK)).toBe(2 ** 20 * BLOCK);
    expect(await next(2 ** 21 * BLOCK)).toBe((2 ** 28 - 1) * BLOCK);
    expect(rig.a.wire.passed.length).toBeLessThan(FEW);
  });
});

describe("an image with far more blocks than are remembered", () => {
  const LIMIT = 25;
  const BLOCKS = 400;

  it("leaves no more of them than the limit, in none of the places where they are kept", async () => {
    await using rig = await Rig.start({ options: { "shard-lru-limit": `${LIMIT}` } });
    const forgotten = new Set<unknown>();
    rig.a.wire.forget = (inode) => void forgotten.add(inode);
    const fd = await rig.a.create("f");
    for (let block = 1; block <= BLOCKS; block++) await rig.a.write(fd, bytes(10), block * BLOCK);
    await rig.pass();
    expect(rig.blocksOf(fd.inode.gfid)).toHaveLength(BLOCKS);
    const dump = rig.a.shard.dump() as Record<string, number>;
    expect(dump["blocksRemembered"]).toBe(LIMIT);
    expect(dump["blocksUnsynced"]).toBeLessThanOrEqual(LIMIT);
    // One idle inode is kept beside those of the blocks that are remembered.
    expect(forgotten.size).toBeGreaterThanOrEqual(BLOCKS - LIMIT - 1);
    for (let block = 1; block <= BLOCKS; block++)
      expect(await rig.a.read(fd, block * BLOCK, 10)).toEqual(bytes(10));
    expect(rig.a.shard.shardCount).toBe(LIMIT);
  });
});

describe("what a failed write left", () => {
  it("stays while another client has the file open, as it may be that client's", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const fd = await rig.a.create("f");
    const other = await rig.b.open(await rig.b.inode("f"));
    rig.a.wire.before = ({ fop, args }) => {
      if (fop === "writev" && "fd" in args && args.fd === fd)
        throw new FopError("ENOSPC", { fop, xlator: "test" });
    };
    await expect(rig.a.write(fd, bytes(2 * BLOCK))).rejects.toMatchObject({ code: "ENOSPC" });
    await rig.pass();
    expect(rig.blocksOf(fd.inode.gfid)).toEqual([1]);
    await rig.b.close(other);
    await expect(rig.a.write(fd, bytes(2 * BLOCK))).rejects.toMatchObject({ code: "ENOSPC" });
    await rig.pass();
    expect(rig.blocksOf(fd.inode.gfid)).toEqual([]);
  });
});

describe("options", () => {
  it.each([
    ["shard-block-size", "3KB", 'option shard-block-size: "3KB" is below the minimum 4MB'],
    ["shard-block-size", "5TB", "is above the maximum 4TB"],
    ["shard-lru-limit", "19", "is below the minimum 20"],
    ["shard-deletion-rate", "many", "is not a whole number"],
  ])("%s %s is refused", (key, value, why) => {
    const parse = () => parseOptions(shard.options, new Map([[key, value]]), { who: "x.vol" });
    expect(parse).toThrow(UserError);
    expect(parse).toThrow(why);
  });
});
