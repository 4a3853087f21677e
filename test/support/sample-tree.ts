/**
 * A tree that has one of everything that a file system stores, made by the operations that make it: the
 * script of the interchange tests. The same calls give the same tree on every file system, but for inode
 * numbers and the times that nobody sets.
 */

import { join } from "node:path";
import type { FileAgent } from "./file-agent.ts";

const MIB = 1 << 20;
const PUNCH_HOLE = 3;
/** A moment with all nine digits of nanoseconds, and one before 2001 and one after 2038. */
const TIMES = {
  exact: "1234567890123456789",
  early: "946684800000000001",
  late: "2240000000999999999",
} as const;

/** Makes the tree inside an existing directory. */
export async function writeSampleTree(agent: FileAgent, root: string): Promise<void> {
  const at = (...names: string[]): string => join(root, ...names);
  await directories(agent, at);
  await contents(agent, at);
  await links(agent, at);
  await renames(agent, at);
  await owners(agent, at);
  await xattrs(agent, at);
  await times(agent, at);
}

type At = (...names: string[]) => string;

async function directories(agent: FileAgent, at: At): Promise<void> {
  await agent.mkdir(at("directory"));
  await agent.mkdir(at("directory", "below"), "0700");
  await agent.mkdir(at("directory", "below", "deep"));
  await agent.mkdir(at("set-gid"));
  await agent.chown(at("set-gid"), 0, 4242);
  await agent.chmod(at("set-gid"), "2775");
  await agent.mkdir(at("set-gid", "inherits"));
  await agent.writeFile(at("set-gid", "file"), "its group is the directory's\n");
  await agent.mkdir(at("removed"));
  await agent.rmdir(at("removed"));
}

async function contents(agent: FileAgent, at: At): Promise<void> {
  await agent.writeFile(at("empty"), "");
  await agent.writeFile(at("text"), "one line\n");
  await agent.appendFile(at("text"), "and another\n");
  await agent.writeFile(at("large"), pattern(3 * MIB + 17));
  await agent.writeFile(at("shrunk"), pattern(100_000));
  await agent.truncate(at("shrunk"), 777);
  await agent.writeFile(at("grown"), "head");
  await agent.truncate(at("grown"), 2 * MIB + 1);

  const sparse = await agent.open(at("sparse"), "O_RDWR|O_CREAT");
  await agent.write(sparse, pattern(8192), MIB);
  await agent.write(sparse, "tail", 64 * MIB);
  await agent.close(sparse);

  const punched = await agent.open(at("punched"), "O_RDWR|O_CREAT|O_EXCL", "0600");
  await agent.write(punched, pattern(256 * 1024), 0);
  await agent.fallocate(punched, PUNCH_HOLE, 64 * 1024, 128 * 1024);
  await agent.fsync(punched);
  await agent.close(punched);

  const direct = await agent.open(at("direct"), "O_RDWR|O_CREAT|O_DIRECT");
  await agent.write(direct, pattern(4096), 4096);
  await agent.write(direct, pattern(512), 512);
  await agent.fdatasync(direct);
  await agent.close(direct);

  await agent.writeFile(at("unlinked"), "gone");
  await agent.unlink(at("unlinked"));
  for (const name of [
    "name with blanks",
    "ünïcödé-名前",
    `long-${"x".repeat(250)}`,
    "quote\"back\\slash'",
    "-dash",
  ])
    await agent.writeFile(at("directory", name), name);
}

async function links(agent: FileAgent, at: At): Promise<void> {
  await agent.link(at("text"), at("directory", "hard link"));
  await agent.link(at("text"), at("directory", "below", "second hard link"));
  await agent.link(at("large"), at("large-link"));
  await agent.unlink(at("large"));
  await agent.symlink("directory/below", at("relative"));
  await agent.symlink("/no/such/place", at("dangling"));
  await agent.symlink("t".repeat(1000), at("directory", "long target"));
  await agent.mknod(at("fifo"), "010640", 0);
  await agent.mknod(at("socket"), "0140600", 0);
  await agent.mknod(at("device"), "020600", (1 << 8) | 3);
  await agent.link(at("fifo"), at("directory", "fifo too"));
}

async function renames(agent: FileAgent, at: At): Promise<void> {
  await agent.writeFile(at("from"), "moved");
  await agent.rename(at("from"), at("directory", "to"));
  await agent.writeFile(at("over"), "new content");
  await agent.writeFile(at("victim"), "old content");
  await agent.rename(at("over"), at("victim"));
  await agent.writeFile(at("linked victim"), "one name stays");
  await agent.link(at("linked victim"), at("survivor"));
  await agent.writeFile(at("replacement"), "replaces one name");
  await agent.rename(at("replacement"), at("linked victim"));
  await agent.mkdir(at("moved-directory"));
  await agent.writeFile(at("moved-directory", "inside"), "moves along");
  await agent.rename(at("moved-directory"), at("directory", "moved"));
  await agent.mkdir(at("target"));
  await agent.mkdir(at("source"));
  await agent.writeFile(at("source", "inside"), "over an empty directory");
  await agent.rename(at("source"), at("target"));
  await agent.symlink("somewhere", at("link-from"));
  await agent.rename(at("link-from"), at("link-to"));
}

async function owners(agent: FileAgent, at: At): Promise<void> {
  await agent.writeFile(at("owned"), "by somebody");
  await agent.chown(at("owned"), 1234, 56789);
  await agent.chmod(at("owned"), "4751");
  await agent.chown(at("dangling"), 4, 24);
  await agent.chmod(at("empty"), "0000");
  await agent.chmod(at("directory", "below"), "1777");
}

async function xattrs(agent: FileAgent, at: At): Promise<void> {
  await agent.setXattr(at("text"), "user.short", "value");
  await agent.setXattr(at("text"), "user.empty", "");
  await agent.setXattr(at("text"), "user.binary", Buffer.from([0, 1, 2, 0xff, 0]));
  await agent.setXattr(at("text"), "user.removed", "x");
  await agent.removeXattr(at("text"), "user.removed");
  await agent.setXattr(at("directory"), "user.large", pattern(2000));
  await agent.setXattr(at("directory"), "trusted.mine", "root's own");
}

/** Last, because most other calls move times. */
async function times(agent: FileAgent, at: At): Promise<void> {
  await agent.writeFile(at("timed"), "to the nanosecond");
  await agent.utimes(at("timed"), TIMES.exact, TIMES.early);
  await agent.mkdir(at("timed-directory"));
  await agent.utimes(at("timed-directory"), TIMES.late, TIMES.exact);
  await agent.symlink("anywhere", at("timed-link"));
  await agent.utimes(at("timed-link"), TIMES.early, TIMES.late);
}

/** Bytes that differ from block to block. */
export function pattern(size: number): Buffer {
  const words = new Uint32Array(Math.ceil(size / 4));
  for (let index = 0; index < words.length; index++) words[index] = Math.imul(index + 1, 2654435761);
  return Buffer.from(words.buffer, 0, size);
}
