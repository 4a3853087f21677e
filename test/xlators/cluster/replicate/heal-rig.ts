/** What tests of heals need beside three copies: bytes, marks and index of every brick, and patterns. */

import { expect } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import type { Gfid } from "../../../../src/core/gfid.ts";
import { S_IFREG } from "../../../../src/core/iatt.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { healInode } from "../../../../xlators/cluster/replicate/heal/heal.ts";
import type { HealOptions, HealReport } from "../../../../xlators/cluster/replicate/heal/report.ts";
import type { ReplicaSet } from "../../../../xlators/cluster/replicate/replica-set.ts";
import type { Replicate } from "../../../../xlators/cluster/replicate/replicate.ts";
import { Prng } from "../../../support/prng.ts";
import type { Session } from "../../../support/session.ts";
import { Copies, type CopiesOptions } from "./three-copies.ts";

/** Marks are cleared at once, so that no test has to wait for them. */
const AT_ONCE = { "post-op-delay-secs": "0" };

export function startCopies({ options = {}, ...rest }: CopiesOptions = {}): Promise<Copies> {
  return Copies.start({ ...rest, options: { ...AT_ONCE, ...options } });
}

export function setOf(copies: Copies): ReplicaSet {
  return copies.graph.xlator<Replicate>("v-replicate-0").set;
}

/** Heals, moving the clock on as long as it takes. */
export async function heal(copies: Copies, inode: Inode, options: HealOptions = {}): Promise<HealReport> {
  return runClock(copies, healInode(setOf(copies), inode, options));
}

/** Waits for a promise while time passes. */
export async function runClock<R>(copies: Copies, work: Promise<R>): Promise<R> {
  let settled = false;
  const done = work.finally(() => {
    settled = true;
  });
  done.catch(() => {});
  for (let step = 0; step < 20_000 && !settled; step++) await copies.env.clock.advance(1);
  if (!settled) throw new Error("nothing happens any more");
  return done;
}

export async function bytesOn(brick: Session, inode: Inode): Promise<Buffer> {
  const fd = await brick.open(inode);
  try {
    const size = await brick.size(fd);
    return await brick.read(fd, 0, size);
  } finally {
    await brick.release(fd);
  }
}

/** All data copies hold these bytes, and no copy a mark. */
export async function expectHealed(copies: Copies, inode: Inode, bytes: Buffer | string): Promise<void> {
  const arbiter = setOf(copies).arbiter;
  for (const index of copies.wires.keys()) {
    const brick = copies.brick(index);
    if (index === arbiter) {
      expect((await brick.statInode(inode)).size).toBe(0);
      continue;
    }
    const found = await bytesOn(brick, inode);
    expect(found.equals(Buffer.from(bytes as string)), `brick ${index}: ${found.length} bytes`).toBe(true);
  }
  await expectUnmarked(copies, inode);
}

export async function expectUnmarked(copies: Copies, inode: Inode): Promise<void> {
  for (const index of copies.wires.keys())
    expect(await copies.marks(index, inode), `marks of brick ${index}`).toEqual({});
}

/** Nobody holds or waits for a lock: a lock of all of it is granted at once, in each domain. */
export async function expectUnlocked(copies: Copies, inode: Inode): Promise<void> {
  const { name } = setOf(copies);
  for (const index of copies.wires.keys()) {
    const { top, call } = copies.brick(index);
    for (const volume of [name, `${name}:self-heal`]) {
      const base = { whence: 0, start: 0n, len: 0n, pid: 0, lkOwner: call.lkOwner };
      for (const type of ["wrlck", "unlck"] as const)
        await top.inodelk(call, { loc: { inode }, volume, cmd: "setlk", flock: { ...base, type } });
      for (const cmd of ["lock-nb", "unlock"] as const)
        await top.entrylk(call, { loc: { inode }, volume, name: undefined, cmd, type: "wrlck" });
    }
  }
}

/** A file with this very gfid on one brick. */
export async function fileOn(
  brick: Session,
  name: string,
  gfid: Gfid,
  content = "",
  parent: Inode = brick.root,
): Promise<void> {
  const loc = { inode: new Inode(), parent, name };
  const xdata = new Dict().setGfid("gfid-req", gfid);
  await brick.top.mknod(brick.call, { loc, mode: S_IFREG | 0o644, rdev: 0, umask: 0, xdata });
  const fd = await brick.open(await brick.inode(name, parent));
  await brick.write(fd, content);
  await brick.release(fd);
}

/** Bytes that look like nothing else. */
export function noise(seed: number, size: number): Buffer {
  return new Prng(seed).bytes(size);
}
