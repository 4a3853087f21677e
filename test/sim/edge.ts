/**
 * A program on a simulated client: what a mount does between system calls and fops, in few words. Inodes come
 * from one table; gfids of new objects are drawn from the seed.
 */

import { type Call, internalCall } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import { FopError } from "../../src/core/errors.ts";
import type { LkCommand } from "../../src/core/fops.ts";
import { type Gfid, gfidOf } from "../../src/core/gfid.ts";
import { type Iatt, ZERO_IATT } from "../../src/core/iatt.ts";
import { Fd, Inode, InodeTable, type Loc } from "../../src/core/inode.ts";
import { iovJoin } from "../../src/core/iovec.ts";
import { O_EXCL, O_RDWR } from "../../src/core/open-flags.ts";
import type { XlatorBase } from "../../src/core/xlator.ts";
import type { Prng } from "../support/prng.ts";

export class Edge {
  readonly top: XlatorBase;
  readonly table = new InodeTable();
  readonly call: Call;
  readonly #random: Prng;
  readonly #open = new Set<Fd>();

  constructor(top: XlatorBase, random: Prng, owner: string) {
    this.top = top;
    this.#random = random;
    this.call = { ...internalCall(1000), lkOwner: Buffer.from(owner) };
  }

  get root(): Inode {
    return this.table.root;
  }

  newGfid(): Gfid {
    return gfidOf(this.#random.bytes(16));
  }

  async lookup(parent: Inode, name: string): Promise<{ inode: Inode; stat: Iatt }> {
    const loc = at(parent, name);
    const { stat } = await this.top.lookup(this.call, { loc });
    return { inode: this.table.link(loc.inode, stat.gfid, stat.mode), stat };
  }

  /** Asks all copies again what they know of an inode, as a kernel does whose attributes have expired. */
  async refresh(inode: Inode): Promise<Iatt> {
    return (await this.top.lookup(this.call, { loc: { inode } })).stat;
  }

  async stat(inode: Inode): Promise<Iatt> {
    return (await this.top.stat(this.call, { loc: { inode } })).stat;
  }

  async open(inode: Inode, flags = O_RDWR): Promise<Fd> {
    const fd = new Fd(inode, flags, this.call.pid);
    await this.top.open(this.call, { loc: { inode }, fd, flags });
    this.#open.add(fd);
    return fd;
  }

  /** The kernel makes nothing under a name that it has just seen to be taken. */
  async #requireFree(parent: Inode, name: string): Promise<void> {
    const found = await this.lookup(parent, name).catch((error: unknown) => {
      if (error instanceof FopError && error.code === "ENOENT") return undefined;
      throw error;
    });
    if (found) throw new FopError("EEXIST", { fop: "lookup" });
  }

  async create(parent: Inode, name: string, gfid: Gfid): Promise<Fd> {
    await this.#requireFree(parent, name);
    const loc = at(parent, name);
    const fd = new Fd(loc.inode, O_RDWR, this.call.pid);
    const xdata = new Dict().setGfid("gfid-req", gfid);
    const args = { loc, fd, flags: O_RDWR | O_EXCL, mode: 0o644, umask: 0, xdata };
    const { stat } = await this.top.create(this.call, args);
    this.table.link(loc.inode, stat.gfid, stat.mode);
    this.#open.add(fd);
    return fd;
  }

  async mkdir(parent: Inode, name: string, gfid: Gfid): Promise<Inode> {
    await this.#requireFree(parent, name);
    const loc = at(parent, name);
    const xdata = new Dict().setGfid("gfid-req", gfid);
    const { stat } = await this.top.mkdir(this.call, { loc, mode: 0o755, umask: 0, xdata });
    return this.table.link(loc.inode, stat.gfid, stat.mode);
  }

  async close(fd: Fd): Promise<void> {
    if (!this.#open.delete(fd)) return;
    try {
      await this.top.flush(this.call, { fd });
    } finally {
      await this.top.release(fd);
    }
  }

  async closeAll(): Promise<void> {
    for (const fd of [...this.#open]) await this.close(fd).catch(() => {});
  }

  /** How many bytes were written. */
  async write(fd: Fd, data: Buffer, offset: number, flags = 0): Promise<number> {
    return (await this.top.writev(this.call, { fd, data: [data], offset, flags })).size;
  }

  async read(fd: Fd, offset: number, size: number): Promise<Buffer> {
    const reply = await this.top.readv(this.call, { fd, offset, size, flags: 0 });
    const data = Buffer.from(iovJoin(reply.data));
    reply.lease?.release();
    return data;
  }

  async unlink(parent: Inode, name: string): Promise<void> {
    await this.top.unlink(this.call, { loc: at(parent, name), flags: 0 });
  }

  async rmdir(parent: Inode, name: string): Promise<void> {
    await this.top.rmdir(this.call, { loc: at(parent, name), flags: 0 });
  }

  /** Both names are looked up first, as the kernel does. */
  async rename(parent: Inode, from: string, to: string, toParent = parent): Promise<void> {
    const { inode } = await this.lookup(parent, from);
    const target = await this.lookup(toParent, to).catch(() => undefined);
    const there: Loc = { inode: target?.inode ?? new Inode(), parent: toParent, name: to };
    await this.top.rename(this.call, { from: { inode, parent, name: from }, to: there });
  }

  async link(inode: Inode, parent: Inode, name: string): Promise<void> {
    await this.#requireFree(parent, name);
    await this.top.link(this.call, { from: { inode }, to: { inode, parent, name } });
  }

  /** Of one byte. Rejects with EAGAIN when somebody else has it; `wait`: waits for it instead. */
  async lock(fd: Fd, byte: number, wait: boolean): Promise<void> {
    await this.#lk(fd, byte, wait ? "setlkw" : "setlk", "wrlck");
  }

  async unlock(fd: Fd, byte: number): Promise<void> {
    await this.#lk(fd, byte, "setlk", "unlck");
  }

  async #lk(fd: Fd, byte: number, cmd: LkCommand, type: "wrlck" | "unlck"): Promise<void> {
    const { pid, lkOwner } = this.call;
    const flock = { type, whence: 0, start: BigInt(byte), len: 1n, pid, lkOwner } as const;
    await this.top.lk(this.call, { fd, cmd, flock });
  }

  async setattr(inode: Inode, valid: number, values: Partial<Iatt>): Promise<void> {
    await this.top.setattr(this.call, { loc: { inode }, stat: { ...ZERO_IATT, ...values }, valid });
  }

  async setxattr(inode: Inode, name: string, value: string): Promise<void> {
    const xattrs = Dict.ofBytes({ [name]: Buffer.from(value) });
    await this.top.setxattr(this.call, { loc: { inode }, xattrs, flags: 0 });
  }

  async getxattr(inode: Inode, name: string): Promise<string> {
    const { xattrs } = await this.top.getxattr(this.call, { loc: { inode }, name });
    return xattrs.bytes(name)!.toString();
  }

  /** Names in a directory but "." and "..". */
  async list(dir: Inode): Promise<string[]> {
    const fd = new Fd(dir, 0, this.call.pid);
    await this.top.opendir(this.call, { loc: { inode: dir }, fd });
    try {
      const names: string[] = [];
      for (let offset = 0n, more = true; more; ) {
        const { entries, eof } = await this.top.readdir(this.call, { fd, size: 4096, offset });
        names.push(...entries.map(({ name }) => name));
        offset = entries.at(-1)?.offset ?? offset;
        more = !eof && entries.length > 0;
      }
      return names.filter((name) => name !== "." && name !== "..");
    } finally {
      await this.top.releasedir(fd);
    }
  }
}

function at(parent: Inode, name: string): Loc {
  return { inode: new Inode(), parent, name };
}
