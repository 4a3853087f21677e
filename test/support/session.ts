/**
 * A user of a graph, for tests: what an edge does between a program and the fops, in as few words as a test
 * can be written in. Names are looked up each time, inodes come from one InodeTable, fds are released at the
 * end.
 */

import type { Call, ClientIdentity } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import type { Args, Flock, LkCommand, LockType, Reply } from "../../src/core/fops.ts";
import { newGfid } from "../../src/core/gfid.ts";
import { type Iatt, ZERO_IATT } from "../../src/core/iatt.ts";
import { Fd, Inode, InodeTable, type Loc } from "../../src/core/inode.ts";
import { iovJoin } from "../../src/core/iovec.ts";
import { O_RDONLY, O_RDWR } from "../../src/core/open-flags.ts";
import type { XlatorBase } from "../../src/core/xlator.ts";

let nextId = 1;

export interface SessionOptions {
  readonly client?: ClientIdentity;
  readonly owner?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly pid?: number;
  /** Shares the inodes of another session, as two programs on one mount do. */
  readonly table?: InodeTable;
  /** The directory that names without a parent are in; else the volume's root. */
  readonly root?: Inode;
}

export function clientIdentity(id = `client-${nextId++}`, opVersion = 100000): ClientIdentity {
  return { id, opVersion };
}

export class Session {
  readonly top: XlatorBase;
  readonly table: InodeTable;
  readonly call: Call;
  readonly root: Inode;
  readonly #fds: Fd[] = [];

  constructor(top: XlatorBase, options: SessionOptions = {}) {
    this.top = top;
    this.table = options.table ?? new InodeTable();
    this.root = options.root ?? this.table.root;
    const { client, uid = 0, gid = 0, pid = 1000 } = options;
    const lkOwner = Buffer.from(options.owner ?? `owner-${nextId++}`);
    this.call = { uid, gid, groups: [], pid, lkOwner, ...(client ? { client } : {}) };
  }

  /** The same program with another lk-owner, e.g. its second open file. */
  as(change: Partial<Call> & { owner?: string }): Session {
    const { owner, ...rest } = change;
    const other = new Session(this.top, { table: this.table, root: this.root });
    const lkOwner = owner === undefined ? this.call.lkOwner : Buffer.from(owner);
    Object.assign(other, { call: { ...this.call, lkOwner, ...rest } });
    return other;
  }

  /** A loc by name for an entry that is to be made, or removed. */
  at(name: string, parent: Inode = this.root): Loc {
    return { inode: new Inode(), parent, name };
  }

  gfidReq(extra?: Dict): Dict {
    return (extra?.clone() ?? new Dict()).setGfid("gfid-req", newGfid());
  }

  async create(
    name: string,
    { flags = O_RDWR, mode = 0o644, umask = 0, parent = this.root, xdata }: CreateOptions = {},
  ): Promise<Fd> {
    const { fd } = await this.createFull(name, { flags, mode, umask, parent, ...(xdata ? { xdata } : {}) });
    return fd;
  }

  async createFull(
    name: string,
    { flags = O_RDWR, mode = 0o644, umask = 0, parent = this.root, xdata }: CreateOptions = {},
  ): Promise<{ fd: Fd; reply: Reply<"create"> }> {
    const inode = new Inode();
    const fd = new Fd(inode, flags, this.call.pid);
    const loc = { inode, parent, name };
    const args = { loc, fd, flags, mode, umask, xdata: this.gfidReq(xdata) };
    const reply = await this.top.create(this.call, args);
    // The fd keeps its inode, so a name that was there already must be known to this table under the same
    // object.
    this.#linkInto(inode, reply.stat);
    this.#fds.push(fd);
    return { fd, reply };
  }

  async mkdir(name: string, { mode = 0o755, umask = 0, parent = this.root, xdata }: CreateOptions = {}) {
    const loc = this.at(name, parent);
    const args = { loc, mode, umask, xdata: this.gfidReq(xdata) };
    const { stat } = await this.top.mkdir(this.call, args);
    return this.table.link(loc.inode, stat.gfid, stat.mode);
  }

  async mknod(
    name: string,
    mode: number,
    { parent = this.root, rdev = 0, umask = 0, xdata }: MknodOptions = {},
  ) {
    const loc = this.at(name, parent);
    const args = { loc, mode, rdev, umask, xdata: this.gfidReq(xdata) };
    const { stat } = await this.top.mknod(this.call, args);
    return this.table.link(loc.inode, stat.gfid, stat.mode);
  }

  async symlink(name: string, target: string, { parent = this.root, xdata }: CreateOptions = {}) {
    const loc = this.at(name, parent);
    const args = { loc, target, umask: 0, xdata: this.gfidReq(xdata) };
    const { stat } = await this.top.symlink(this.call, args);
    return this.table.link(loc.inode, stat.gfid, stat.mode);
  }

  async lookup(
    name: string,
    parent: Inode = this.root,
    xdata?: Dict,
  ): Promise<Reply<"lookup"> & { inode: Inode }> {
    const loc = this.at(name, parent);
    const reply = await this.top.lookup(this.call, { loc, xdata });
    return { ...reply, inode: this.table.link(loc.inode, reply.stat.gfid, reply.stat.mode) };
  }

  async inode(name: string, parent: Inode = this.root): Promise<Inode> {
    return (await this.lookup(name, parent)).inode;
  }

  async stat(name: string, parent: Inode = this.root): Promise<Iatt> {
    return (await this.lookup(name, parent)).stat;
  }

  async statInode(inode: Inode): Promise<Iatt> {
    return (await this.top.stat(this.call, { loc: { inode } })).stat;
  }

  async exists(name: string, parent: Inode = this.root): Promise<boolean> {
    try {
      await this.lookup(name, parent);
      return true;
    } catch (error) {
      if ((error as { code?: string }).code === "ENOENT") return false;
      throw error;
    }
  }

  async open(inode: Inode, flags: number = O_RDWR): Promise<Fd> {
    const fd = new Fd(inode, flags, this.call.pid);
    await this.top.open(this.call, { loc: { inode }, fd, flags });
    this.#fds.push(fd);
    return fd;
  }

  async opendir(inode: Inode = this.root): Promise<Fd> {
    const fd = new Fd(inode, O_RDONLY, this.call.pid);
    await this.top.opendir(this.call, { loc: { inode }, fd });
    this.#fds.push(fd);
    return fd;
  }

  async release(fd: Fd): Promise<void> {
    const index = this.#fds.indexOf(fd);
    if (index >= 0) this.#fds.splice(index, 1);
    if ((fd.inode.type & 0o170000) === 0o040000) await this.top.releasedir(fd);
    else await this.top.release(fd);
  }

  /** close(2): flush, then release. */
  async close(fd: Fd): Promise<void> {
    await this.top.flush(this.call, { fd });
    await this.release(fd);
  }

  write(fd: Fd, data: string | Buffer, offset = 0, flags = 0): Promise<Reply<"writev">> {
    return this.top.writev(this.call, { fd, data: [Buffer.from(data as Buffer)], offset, flags });
  }

  async read(fd: Fd, offset = 0, size = 65536): Promise<Buffer> {
    const reply = await this.top.readv(this.call, { fd, offset, size, flags: 0 });
    // A copy, as the lease lets the memory be used again.
    const data = Buffer.from(iovJoin(reply.data));
    reply.lease?.release();
    return data;
  }

  async text(fd: Fd): Promise<string> {
    return (await this.read(fd)).toString();
  }

  async size(fd: Fd): Promise<number> {
    return (await this.top.fstat(this.call, { fd })).stat.size;
  }

  unlink(name: string, parent: Inode = this.root, xdata?: Dict): Promise<Reply<"unlink">> {
    return this.top.unlink(this.call, { loc: this.at(name, parent), flags: 0, xdata });
  }

  rmdir(name: string, parent: Inode = this.root, flags = 0): Promise<Reply<"rmdir">> {
    return this.top.rmdir(this.call, { loc: this.at(name, parent), flags });
  }

  rename(
    from: string,
    to: string,
    fromDir: Inode = this.root,
    toDir: Inode = fromDir,
  ): Promise<Reply<"rename">> {
    return this.top.rename(this.call, { from: this.at(from, fromDir), to: this.at(to, toDir) });
  }

  link(inode: Inode, name: string, parent: Inode = this.root): Promise<Reply<"link">> {
    return this.top.link(this.call, { from: { inode }, to: { inode, parent, name } });
  }

  setattr(inode: Inode, valid: number, values: Partial<Iatt>): Promise<Reply<"setattr">> {
    return this.top.setattr(this.call, { loc: { inode }, stat: { ...ZERO_IATT, ...values }, valid });
  }

  async setxattr(inode: Inode, name: string, value: string | Buffer, flags = 0): Promise<void> {
    const xattrs = Dict.ofBytes({ [name]: Buffer.from(value as Buffer) });
    await this.top.setxattr(this.call, { loc: { inode }, xattrs, flags });
  }

  async getxattr(inode: Inode, name: string): Promise<Buffer> {
    const { xattrs } = await this.top.getxattr(this.call, { loc: { inode }, name });
    return xattrs.bytes(name)!;
  }

  async listxattr(inode: Inode): Promise<string[]> {
    const { xattrs } = await this.top.getxattr(this.call, { loc: { inode }, name: undefined });
    return [...xattrs.keys()].sort();
  }

  /** All entries of a directory, read in pieces of `size` bytes; "." and ".." left out. */
  async list(dir: Inode = this.root, size = 4096): Promise<string[]> {
    const fd = await this.opendir(dir);
    const names: string[] = [];
    for (let offset = 0n; ; ) {
      const { entries, eof } = await this.top.readdir(this.call, { fd, size, offset });
      for (const entry of entries) names.push(entry.name);
      if (entries.length > 0) offset = entries.at(-1)!.offset;
      if (eof || entries.length === 0) break;
    }
    await this.release(fd);
    return names.filter((name) => name !== "." && name !== "..");
  }

  lk(
    fd: Fd,
    cmd: LkCommand,
    type: LockType,
    start: number | bigint,
    len: number | bigint,
    extra: LkExtra = {},
  ) {
    const { signal, ...rest } = extra;
    const call = signal ? { ...this.call, signal } : this.call;
    return this.top.lk(call, { fd, cmd, flock: this.flock(type, start, len), ...rest });
  }

  flock(type: LockType, start: number | bigint, len: number | bigint): Flock {
    const { pid, lkOwner } = this.call;
    return { type, whence: 0, start: BigInt(start), len: BigInt(len), pid, lkOwner };
  }

  inodelk(
    inode: Inode,
    volume: string,
    cmd: LkCommand,
    type: LockType,
    start = 0n,
    len = 0n,
    signal?: AbortSignal,
  ) {
    const call = signal ? { ...this.call, signal } : this.call;
    return this.top.inodelk(call, { loc: { inode }, volume, cmd, flock: this.flock(type, start, len) });
  }

  entrylk(
    inode: Inode,
    volume: string,
    cmd: Args<"entrylk">["cmd"],
    name: string | undefined,
    type: "rdlck" | "wrlck" = "wrlck",
  ) {
    return this.top.entrylk(this.call, { loc: { inode }, volume, cmd, name, type });
  }

  /** Releases every fd that is still open. */
  async end(): Promise<void> {
    for (const fd of [...this.#fds]) await this.release(fd);
  }

  #linkInto(inode: Inode, stat: Iatt): void {
    if (this.table.find(stat.gfid)) {
      // Known before: the fd's own object becomes a twin of the table's.
      inode.gfid = stat.gfid;
      inode.type = stat.mode & 0o170000;
      return;
    }
    this.table.link(inode, stat.gfid, stat.mode);
  }
}

interface CreateOptions {
  readonly flags?: number;
  readonly mode?: number;
  readonly umask?: number;
  readonly parent?: Inode;
  readonly xdata?: Dict;
}

interface MknodOptions extends CreateOptions {
  readonly rdev?: number;
}

interface LkExtra {
  readonly xdata?: Dict;
  readonly signal?: AbortSignal;
}
