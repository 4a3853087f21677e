/**
 * What all request handlers of one mount share: the graph, the tables, the options in the form requests need
 * them, and the few steps that many handlers take.
 *
 * Handlers take a request, call fops, fill `request.outWords` from BODY on and resolve to the bytes of that
 * body; what they throw becomes the errno of the answer.
 */

import type { Call } from "../src/core/call.ts";
import { Dict } from "../src/core/dict.ts";
import type { Env } from "../src/core/env.ts";
import { type ErrnoName, FopError } from "../src/core/errors.ts";
import { type Gfid, isNullGfid, randomGfidAt } from "../src/core/gfid.ts";
import type { Iatt } from "../src/core/iatt.ts";
import { Inode, InodeTable, type Loc } from "../src/core/inode.ts";
import type { Logger } from "../src/core/log.ts";
import { nameBytes } from "../src/core/name.ts";
import type { XlatorBase } from "../src/core/xlator.ts";
import { Callers } from "./callers.ts";
import type { Passthrough } from "./dev-fuse/passthrough.ts";
import {
  ATTR_OUT_BYTES,
  ENTRY_OUT_BYTES,
  IN,
  putAttrOut,
  putEntry,
  u64,
  type Validity,
  validity,
} from "./dev-fuse/protocol.ts";
import { BODY, type KernelRequest } from "./dev-fuse/request.ts";
import { FailureLog } from "./failures.ts";
import { type FileHandle, HandleTable, openHandle } from "./handles.ts";
import { type Node, NodeTable } from "./nodes.ts";
import { directIoMode, type MountOptions } from "./options.ts";
import { PageTimes } from "./requests/page-times.ts";
import { WriteRuns } from "./requests/write-runs.ts";

const RANDOM_BYTES = 4096;
const NAME_MAX = 255;
/** Nodes looked at for each that is over the limit. */
const TRIM_AT_ONCE = 4;

export class MountState {
  readonly top: XlatorBase;
  readonly env: Env;
  readonly log: Logger;
  readonly options: MountOptions;
  readonly directIo: "auto" | "all" | "none";
  readonly entryValidity: Validity;
  readonly attrValidity: Validity;
  readonly negativeValidity: Validity | undefined;
  readonly inodes: InodeTable;
  readonly nodes: NodeTable;
  readonly handles = new HandleTable();
  readonly callers: Callers;
  readonly failures: FailureLog;
  /** Where WRITEs that came together meet. */
  readonly writeRuns: WriteRuns;
  /** Times that the kernel keeps for its pages. */
  readonly pageTimes: PageTimes;
  /** SETLKW requests that wait, by the kernel's number. */
  readonly lockWaits = new Map<number, AbortController>();
  /** Asks the kernel to forget a name, and with it the inode if nothing uses it. Set by an edge that can. */
  forgetAboutNames: ((parentId: number, name: string) => void) | undefined;
  /** Set by an edge that can let the kernel use a local brick's files itself. */
  passthrough: Passthrough | undefined;
  /** The kernel gathers writes (WRITEBACK_CACHE was granted). */
  writebackCache = false;
  #random: Buffer = Buffer.alloc(0);
  #randomAt = 0;

  /** `subdir`, when given, is the inode the mount shows as its root; it must come from `inodes`. */
  constructor(top: XlatorBase, env: Env, options: MountOptions, inodes: InodeTable, subdir?: Inode) {
    this.top = top;
    this.env = env;
    this.log = env.log.child({ part: "mount" });
    this.options = options;
    this.directIo = directIoMode(options);
    this.entryValidity = validity(options["entry-timeout"]);
    this.attrValidity = validity(options["attribute-timeout"]);
    const negative = options["negative-timeout"];
    this.negativeValidity = negative > 0 ? validity(negative) : undefined;
    this.inodes = inodes;
    this.nodes = new NodeTable(inodes, subdir ?? inodes.root);
    this.writeRuns = new WriteRuns(top);
    this.pageTimes = new PageTimes(env.clock, this.log);
    this.failures = new FailureLog(this.log, env.clock);
    this.callers = new Callers(env.clock, options["gid-timeout"]);
  }

  /** Who asks. */
  call(request: KernelRequest): Call {
    return this.callers.of(request.uid, request.gid, request.pid);
  }

  /** Who asks, with the lock owner at word `ownerAt`. */
  callWithOwner(request: KernelRequest, ownerAt: number): Call {
    const { words } = request;
    return this.callers.of(request.uid, request.gid, request.pid, words[ownerAt]!, words[ownerAt + 1]!);
  }

  /** The node a request is about. */
  node(request: KernelRequest): Node {
    return this.nodeById(request.nodeid);
  }

  nodeById(id: number): Node {
    const node = this.nodes.get(id);
    if (node === undefined) throw new FopError("ESTALE", { fop: "resolve" });
    return node;
  }

  /** The open file a request names by its handle. */
  file(request: KernelRequest, fhAt: number): FileHandle {
    const handle = this.handles.file(u64(request.words, fhAt));
    if (handle === undefined) throw new FopError("EBADF", { fop: "resolve" });
    return handle;
  }

  /** The name at a byte of the message, if a brick could have it. */
  name(request: KernelRequest, byte: number): string {
    const name = request.name(byte);
    if (name.length > NAME_MAX / 3 && nameBytes(name) > NAME_MAX) throw new FopError("ENAMETOOLONG");
    return name;
  }

  /** xdata for a fop that may make an inode: the gfid it shall get. */
  gfidRequest(): Dict {
    return new Dict().setGfid("gfid-req", this.#newGfid());
  }

  /** Where a new entry will be. */
  newLoc(parent: Node, name: string): Loc & { readonly parent: Inode; readonly name: string } {
    return { parent: parent.inode, name, inode: new Inode() };
  }

  /** A name that exists, with its inode: the one last seen there, or asked for now. */
  async existing(call: Call, parent: Node, name: string): Promise<Loc & { readonly inode: Inode }> {
    const known = this.nodes.child(parent, name);
    if (known) return { parent: parent.inode, name, inode: known.inode };
    const loc = this.newLoc(parent, name);
    const { stat } = await this.top.lookup(call, { loc });
    return { ...loc, inode: this.inodes.link(loc.inode, stat.gfid, stat.mode) };
  }

  /**
   * Counts one kernel lookup of a linked inode, found or made under a name; its answer must reach the kernel.
   */
  enter(parent: Node, name: string, inode: Inode, stat: Iatt): Node {
    const node = this.nodes.enter(inode);
    node.mode = stat.mode;
    this.nodes.remember(parent, name, node);
    const limit = this.options["lru-limit"];
    if (limit > 0 && this.nodes.size > limit) this.#askToForget();
    return node;
  }

  /**
   * The kernel holds more inodes than the mount wants to carry: some names go, and with them what nobody
   * uses.
   */
  #askToForget(): void {
    for (const { parent, name } of this.nodes.idleLongest(TRIM_AT_ONCE))
      if (parent !== undefined) this.forgetAboutNames?.(parent.id, name);
  }

  /** Links a new or found entry into the tables, counts the kernel's lookup and writes fuse_entry_out. */
  putEntry(request: KernelRequest, parent: Node, name: string, inode: Inode, stat: Iatt): Node {
    if (isNullGfid(stat.gfid)) throw new FopError("EIO", { fop: "lookup", message: "reply without a gfid" });
    const node = this.enter(parent, name, this.inodes.link(inode, stat.gfid, stat.mode), stat);
    putEntry(request.outWords, BODY, node.id, stat, this.entryValidity, this.attrValidity);
    return node;
  }

  /** A new entry was made: its parent's listings are out of date, its attributes go to the kernel. */
  madeEntry(request: KernelRequest, parent: Node, name: string, inode: Inode, stat: Iatt): number {
    parent.changes++;
    this.putEntry(request, parent, name, inode, stat);
    return ENTRY_OUT_BYTES;
  }

  /** Writes fuse_attr_out. */
  putAttr(request: KernelRequest, node: Node, stat: Iatt): number {
    node.mode = stat.mode;
    putAttrOut(request.outWords, BODY, stat, this.attrValidity, node === this.nodes.root);
    return ATTR_OUT_BYTES;
  }

  /** The handle GETATTR, SETATTR and STATX may name. */
  namedHandle(request: KernelRequest, flagged: boolean): FileHandle | undefined {
    return flagged ? this.handles.file(u64(request.words, IN.getattr.fh)) : undefined;
  }

  #newGfid(): Gfid {
    if (this.#randomAt + 16 > this.#random.length) {
      this.#random = this.env.random.bytes(RANDOM_BYTES);
      this.#randomAt = 0;
    }
    const gfid = randomGfidAt(this.#random, this.#randomAt);
    this.#randomAt += 16;
    return gfid;
  }
}

/** A name or a handle that lost its object; a fop by the other way may still work. */
const GONE: ReadonlySet<ErrnoName> = new Set(["ENOENT", "ESTALE", "EBADF", "EBADFD"]);

/** Whether a failure means "not reachable this way". */
export function isGone(error: unknown): boolean {
  return error instanceof FopError && GONE.has(error.code);
}

/**
 * Runs a fop by gfid, and by an open handle of the file when it has no name any more (open and unlinked).
 * When both fail, the gfid's failure counts.
 */
export async function byLocOrHandle<R>(
  node: Node,
  byLoc: (loc: Loc) => Promise<R>,
  byHandle: (handle: FileHandle) => Promise<R>,
): Promise<R> {
  try {
    return await byLoc({ inode: node.inode });
  } catch (error) {
    const handle = isGone(error) ? openHandle(node) : undefined;
    if (handle === undefined) throw staleIfMissing(error);
    return byHandle(handle);
  }
}

/**
 * The kernel knows this inode, so "no such file" means that its knowledge is old: it looks the name up again
 * on ESTALE.
 */
export function staleIfMissing(error: unknown): unknown {
  return error instanceof FopError && error.code === "ENOENT"
    ? new FopError("ESTALE", { fop: error.fop, xlator: error.xlator })
    : error;
}

/** An inode table whose leavers are told to the graph. */
export function inodeTableFor(top: XlatorBase): InodeTable {
  return new InodeTable({ onForget: (inode) => top.forget(inode) });
}
