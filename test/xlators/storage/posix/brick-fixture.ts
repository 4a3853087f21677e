/**
 * A storage/posix graph on a new directory, with the few helpers that its tests need: fops by name, and the
 * directory as the disk has it. `await using` stops the graph and removes the directory. Needs root (trusted
 * xattrs).
 */

import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Call, internalCall } from "../../../../src/core/call.ts";
import { Dict } from "../../../../src/core/dict.ts";
import type { Env } from "../../../../src/core/env.ts";
import type { Reply } from "../../../../src/core/fops.ts";
import { type Gfid, gfidText, newGfid } from "../../../../src/core/gfid.ts";
import { Fd, Inode, InodeTable, type Loc } from "../../../../src/core/inode.ts";
import { O_RDWR } from "../../../../src/core/open-flags.ts";
import type { XlatorBase } from "../../../../src/core/xlator.ts";
import { stack, startGraph } from "../../../support/build-graph.ts";

type Graph = Awaited<ReturnType<typeof startGraph>>;

/** A user's call: pids from 1 on are clients'. */
export const CALL: Call = internalCall(100);

export class PosixFixture implements AsyncDisposable {
  readonly directory: string;
  readonly table = new InodeTable();
  readonly #start: () => Promise<Graph>;
  #graph: Graph;

  private constructor(directory: string, start: () => Promise<Graph>, graph: Graph) {
    this.directory = directory;
    this.#start = start;
    this.#graph = graph;
  }

  get top(): XlatorBase {
    return this.#graph.top;
  }

  static async start(options: Record<string, string> = {}, env?: Env): Promise<PosixFixture> {
    const directory = makeDirectory();
    try {
      const volfile = stack({ name: "brick", type: "storage/posix", options: { directory, ...options } });
      const start = (): Promise<Graph> => startGraph(volfile, env ? { env } : {});
      return new PosixFixture(directory, start, await start());
    } catch (error) {
      rmSync(directory, { recursive: true });
      throw error;
    }
  }

  /** Another graph on the same directory. Fds of the one before are of no use any more. */
  async restart(): Promise<void> {
    await this.#graph[Symbol.asyncDispose]();
    this.#graph = await this.#start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#graph[Symbol.asyncDispose]();
    } finally {
      rmSync(this.directory, { recursive: true, force: true });
    }
  }

  get root(): Inode {
    return this.table.root;
  }

  /** The path of a name in the brick's directory. */
  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  /** The path of a gfid's handle. */
  handle(gfid: Gfid): string {
    const text = gfidText(gfid);
    return this.path(".glusterfs", text.slice(0, 2), text.slice(2, 4), text);
  }

  /** A loc for an entry that is to be made or removed. */
  entry(name: string, parent: Inode = this.root, inode: Inode = new Inode()): Loc {
    return { inode, parent, name };
  }

  async create(
    name: string,
    { parent = this.root, call = CALL, flags = O_RDWR, mode = 0o644, xdata = new Dict() } = {},
  ): Promise<{ inode: Inode; fd: Fd; reply: Reply<"create"> }> {
    const fresh = new Inode();
    const fd = new Fd(fresh, flags);
    const loc = { inode: fresh, parent, name };
    const request = withGfid(xdata);
    const reply = await this.top.create(call, { loc, fd, flags, mode, umask: 0, xdata: request });
    const inode = this.table.link(fresh, reply.stat.gfid, reply.stat.mode);
    return { inode, fd, reply };
  }

  async mkdir(
    name: string,
    { parent = this.root, call = CALL, mode = 0o755, xdata = new Dict() } = {},
  ): Promise<{ inode: Inode; reply: Reply<"mkdir"> }> {
    const fresh = new Inode();
    const loc = { inode: fresh, parent, name };
    const reply = await this.top.mkdir(call, { loc, mode, umask: 0, xdata: withGfid(xdata) });
    return { inode: this.table.link(fresh, reply.stat.gfid, reply.stat.mode), reply };
  }

  async symlink(name: string, target: string, parent: Inode = this.root): Promise<Inode> {
    const fresh = new Inode();
    const loc = { inode: fresh, parent, name };
    const { stat } = await this.top.symlink(CALL, { loc, target, umask: 0, xdata: withGfid(new Dict()) });
    return this.table.link(fresh, stat.gfid, stat.mode);
  }

  async lookup(name: string, { parent = this.root, xdata = undefined as Dict | undefined } = {}) {
    const reply = await this.top.lookup(CALL, { loc: { inode: new Inode(), parent, name }, xdata });
    return { ...reply, inode: this.table.link(new Inode(), reply.stat.gfid, reply.stat.mode) };
  }

  async unlink(
    name: string,
    { parent = this.root, inode = new Inode(), xdata = undefined as Dict | undefined } = {},
  ) {
    return this.top.unlink(CALL, { loc: { inode, parent, name }, flags: 0, xdata });
  }

  async write(fd: Fd, text: string | Buffer, offset = 0) {
    return this.top.writev(CALL, { fd, data: [Buffer.from(text)], offset, flags: 0 });
  }

  async read(fd: Fd, size = 1 << 16, offset = 0): Promise<string> {
    const { data, lease } = await this.top.readv(CALL, { fd, offset, size, flags: 0 });
    const text = Buffer.concat(data as Buffer[]).toString();
    lease?.release();
    return text;
  }
}

/** An empty directory on a file system with trusted xattrs. */
export function makeDirectory(): string {
  return realpathSync(mkdtempSync(join(tmpdir(), "mortar-posix-")));
}

/** The request with a new gfid, unless it brings one. */
export function withGfid(xdata: Dict): Dict {
  return xdata.has("gfid-req") ? xdata : xdata.setGfid("gfid-req", newGfid());
}

/** The call as the ctime feature stamps it. */
export function stamped(flags: number, sec: number, nsec = 0): Call {
  return { ...CALL, time: { sec, nsec, flags } };
}
