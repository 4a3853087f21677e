/** Changed ranges from the write to the heal: how much a heal moves, however the copies went. */

import { describe, expect, it } from "vitest";
import type { Fd, Inode } from "../../../../src/core/inode.ts";
import { Prng } from "../../../support/prng.ts";
import { expectHealed, heal, noise, startCopies } from "../../cluster/replicate/heal-rig.ts";
import type { Copies } from "../../cluster/replicate/three-copies.ts";

const MIB = 2 ** 20;
const BLOCK = 4096;
/** As in life: marks stay for a while after a write. */
const DELAYED = { "post-op-delay-secs": "1" };

/** An image on all copies, and what it holds. */
async function image(copies: Copies, size: number): Promise<{ inode: Inode; bytes: Buffer }> {
  const bytes = noise(1, size);
  const inode = await copies.file("image", bytes as unknown as string);
  await copies.env.clock.advance(3000);
  return { inode, bytes };
}

/** Writes something new, through a file of its own unless one is given. */
async function write(
  copies: Copies,
  at: { inode: Inode; bytes: Buffer },
  offset: number,
  size = BLOCK,
  given?: Fd,
): Promise<void> {
  const fd = given ?? (await copies.session.open(at.inode));
  const data = noise(offset + 7, size);
  data.copy(at.bytes, offset);
  await copies.session.write(fd, data, offset);
  if (!given) await copies.session.release(fd);
}

describe("a heal moves what changed and no more", () => {
  it("when a copy was away for an eighth of the image in random 64 KiB writes", async () => {
    await using copies = await startCopies();
    const at = await image(copies, 8 * MIB);
    copies.wires[1]!.cut();
    const prng = new Prng(5);
    const places = new Set(Array.from({ length: 16 }, () => prng.int(0, 127) * 65536));
    for (const offset of places) await write(copies, at, offset, 65536);
    copies.wires[1]!.mend();
    const report = await heal(copies, at.inode);
    expect(report).toMatchObject({ outcome: "healed", bytesMoved: places.size * 65536 });
    await expectHealed(copies, at.inode, at.bytes);
  });

  it("when a copy died in mid-batch, and kept that batch's dirty mark", async () => {
    await using copies = await startCopies({ options: DELAYED });
    const at = await image(copies, 2 * MIB);
    const fd = await copies.session.open(at.inode);
    await write(copies, at, 10 * BLOCK, BLOCK, fd);
    copies.wires[2]!.cut();
    await write(copies, at, 20 * BLOCK, BLOCK, fd);
    await copies.session.release(fd);
    await copies.env.clock.advance(3000);
    await write(copies, at, 30 * BLOCK);
    await copies.env.clock.advance(3000);
    expect(await copies.marks(2, at.inode)).toMatchObject({ dirty: [1, 0, 0] });
    copies.wires[2]!.mend();
    const report = await heal(copies, at.inode);
    expect(report).toMatchObject({ outcome: "healed", bytesMoved: 3 * BLOCK });
    await expectHealed(copies, at.inode, at.bytes);
  });

  it("when each of two copies was away in turn", async () => {
    await using copies = await startCopies();
    const at = await image(copies, 2 * MIB);
    for (const [child, offset] of [
      [1, 5 * BLOCK],
      [2, 50 * BLOCK],
      [1, 500 * BLOCK],
    ] as const) {
      copies.wires[child]!.cut();
      await write(copies, at, offset);
      copies.wires[child]!.mend();
    }
    const report = await heal(copies, at.inode);
    expect(report.outcome).toBe("healed");
    expect(report.bytesMoved).toBeLessThanOrEqual(6 * BLOCK);
    await expectHealed(copies, at.inode, at.bytes);
  });

  it("with an arbiter", async () => {
    await using copies = await startCopies({ options: { "arbiter-count": "1" } });
    const at = await image(copies, 2 * MIB);
    copies.wires[1]!.cut();
    await write(copies, at, 7 * BLOCK);
    await write(copies, at, 400 * BLOCK);
    copies.wires[1]!.mend();
    const report = await heal(copies, at.inode);
    expect(report).toMatchObject({ outcome: "healed", bytesMoved: 2 * BLOCK });
    await expectHealed(copies, at.inode, at.bytes);
  });

  it("after the image was cut and grew again", async () => {
    await using copies = await startCopies();
    const at = await image(copies, 2 * MIB);
    copies.wires[0]!.cut();
    const fd = await copies.session.open(at.inode);
    await copies.session.top.ftruncate(copies.session.call, { fd, offset: MIB });
    await copies.session.top.ftruncate(copies.session.call, { fd, offset: 2 * MIB });
    await copies.session.release(fd);
    at.bytes.fill(0, MIB);
    copies.wires[0]!.mend();
    const report = await heal(copies, at.inode);
    expect(report.outcome).toBe("healed");
    expect(report.bytesMoved).toBeLessThanOrEqual(MIB);
    await expectHealed(copies, at.inode, at.bytes);
  });

  it("and again the next time, with nothing left of the first", async () => {
    await using copies = await startCopies();
    const at = await image(copies, 2 * MIB);
    for (const offset of [3 * BLOCK, 300 * BLOCK]) {
      copies.wires[2]!.cut();
      await write(copies, at, offset);
      copies.wires[2]!.mend();
      const report = await heal(copies, at.inode);
      expect(report).toMatchObject({ outcome: "healed", bytesMoved: BLOCK });
      await expectHealed(copies, at.inode, at.bytes);
    }
  });
});

describe("a heal looks at the whole file", () => {
  it("when nobody knows what a batch without a verdict wrote", async () => {
    await using copies = await startCopies();
    const at = await image(copies, MIB);
    copies.wires[2]!.cut();
    await write(copies, at, 3 * BLOCK);
    copies.wires[2]!.mend();
    for (const [child, fill] of [
      [0, 1],
      [1, 2],
    ] as const) {
      // A client that died between its write and its post-op.
      await copies.mark(child, at.inode, "dirty", [1, 0, 0]);
      const brick = copies.brick(child);
      const fd = await brick.open(at.inode);
      await brick.write(fd, Buffer.alloc(BLOCK, fill), 100 * BLOCK);
      await brick.release(fd);
    }
    const report = await heal(copies, at.inode);
    expect(report).toMatchObject({ outcome: "healed", bytesTotal: MIB });
    const brick = copies.brick(0);
    const fd = await brick.open(at.inode);
    const all = await brick.read(fd, 0, MIB);
    await brick.release(fd);
    await expectHealed(copies, at.inode, all);
  });

  it("when the missing copy is dirty by more than the records tell", async () => {
    await using copies = await startCopies();
    const at = await image(copies, MIB);
    copies.wires[2]!.cut();
    await write(copies, at, 3 * BLOCK);
    copies.wires[2]!.mend();
    await copies.mark(2, at.inode, "dirty", [1, 0, 0]);
    const brick = copies.brick(2);
    const fd = await brick.open(at.inode);
    await brick.write(fd, Buffer.alloc(BLOCK, 9), 100 * BLOCK);
    await brick.release(fd);
    const report = await heal(copies, at.inode);
    expect(report).toMatchObject({ outcome: "healed", bytesTotal: MIB });
    await expectHealed(copies, at.inode, at.bytes);
  });
});
