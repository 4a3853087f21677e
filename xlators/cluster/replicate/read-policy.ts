/**
 * Which of several good copies is read (spec translators.md 4.7): the one that options name, else one on
 * this host, else by `read-hash-mode`. All clients of a file pick the same copy by default, so that bricks
 * cache it once.
 *
 * With several copies on this host (bricks inside the process) the hash picks among them; GlusterFS takes the
 * one that answered last.
 */

import { hostname } from "node:os";
import { type Call, internalCall } from "../../../src/core/call.ts";
import { ROOT_GFID } from "../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../src/core/iatt.ts";
import { Inode } from "../../../src/core/inode.ts";
import { type ChildSet, firstChild, hasChild, NO_CHILDREN, withChild, withoutChild } from "./child-set.ts";
import type { ReplicateOptions } from "./options.ts";
import type { ReplicaSet } from "./replica-set.ts";
import { superFastHash } from "./super-fast-hash.ts";

const MODE = {
  FIRST: 0,
  GFID: 1,
  GFID_AND_CLIENT: 2,
  LEAST_BUSY: 3,
  NEAREST: 4,
  NEAREST_AND_BUSY: 5,
} as const;
const PATHINFO = "trusted.glusterfs.pathinfo";
const ROOT_LOC = { inode: new Inode(ROOT_GFID, S_IFDIR) };
const NO_GFID = Buffer.alloc(16);

/** What is wrong with options that name a copy to read from; undefined when it exists, or none is named. */
export function namedCopyFault(options: ReplicateOptions, children: readonly string[]): string | undefined {
  const name = options["read-subvolume"];
  if (name !== "" && !children.includes(name))
    return `option read-subvolume: "${name}" is none of the subvolumes; name one of ${children.join(", ")}`;
  const index = options["read-subvolume-index"];
  if (index >= children.length)
    return (
      `option read-subvolume-index: "${index}" with ${children.length} subvolumes; ` +
      `the last one is ${children.length - 1}`
    );
  return undefined;
}

/** What is read, as far as the choice depends on it. */
export type ReadObject = Pick<Inode, "gfid" | "type">;

export class ReadPolicy {
  readonly #set: ReplicaSet;
  readonly #pid: number;
  readonly #host: string;
  /** Reads under way, by child; counted in the modes that ask for it. */
  readonly #outstanding: number[];
  #local: ChildSet = NO_CHILDREN;
  #askedForHost: ChildSet = NO_CHILDREN;
  /** Grows when `choose` may answer otherwise for reasons that `set.generation` does not show. */
  version = 0;

  constructor(set: ReplicaSet, process_: { readonly pid: number; readonly host: string } = thisProcess()) {
    this.#set = set;
    this.#pid = process_.pid;
    this.#host = process_.host;
    this.#outstanding = set.children.map(() => 0);
  }

  /** The answer changes from read to read, and `begin` and `end` are to be called around each. */
  get dynamic(): boolean {
    return this.#set.options["read-hash-mode"] >= MODE.LEAST_BUSY;
  }

  begin(child: number): void {
    this.#outstanding[child]!++;
  }

  end(child: number): void {
    this.#outstanding[child]!--;
  }

  /** One of `readable`, -1 when it is empty. */
  choose(inode: ReadObject, readable: ChildSet): number {
    if (readable === NO_CHILDREN) return -1;
    const named = this.#named();
    if (named >= 0 && hasChild(readable, named)) return named;
    const near = this.#set.options["choose-local"] ? readable & this.#local : NO_CHILDREN;
    const among = near === NO_CHILDREN ? readable : near;
    const picked = this.#byMode(inode, among);
    return picked >= 0 && hasChild(among, picked) ? picked : firstChild(among);
  }

  /**
   * Asks children that came up whether they are on this host; at most once each time one comes. Errors mean
   * no.
   */
  discoverLocal(): void {
    const { up } = this.#set;
    this.#askedForHost &= up;
    this.#local &= up;
    if (!this.#set.options["choose-local"]) return;
    for (const [child, { name }] of this.#set.children.entries()) {
      if (!hasChild(up, child) || hasChild(this.#askedForHost, child) || this.#set.isArbiter(child)) continue;
      this.#askedForHost = withChild(this.#askedForHost, child);
      void this.#askHost(child, name);
    }
  }

  async #askHost(child: number, name: string): Promise<void> {
    const call: Call = internalCall();
    try {
      const { xattrs } = await this.#set.children[child]!.getxattr(call, { loc: ROOT_LOC, name: PATHINFO });
      if (hostOf(xattrs.text(PATHINFO)) !== this.#host || !this.#set.isUp(child)) return;
      this.#local = withChild(this.#local, child);
      this.version++;
      this.#set.log.debug("a copy is on this host", { child: name });
    } catch {
      this.#askedForHost = withoutChild(this.#askedForHost, child);
    }
  }

  #named(): number {
    const { options, children } = this.#set;
    const name = options["read-subvolume"];
    if (name !== "") return children.findIndex((child) => child.name === name);
    const index = options["read-subvolume-index"];
    return index < children.length ? index : -1;
  }

  #byMode(inode: ReadObject, among: ChildSet): number {
    switch (this.#set.options["read-hash-mode"]) {
      case MODE.GFID:
        return this.#byHash(inode.gfid);
      case MODE.GFID_AND_CLIENT:
        return this.#byHash(this.#mixed(inode));
      case MODE.LEAST_BUSY:
        return this.#least(among, (child) => this.#outstanding[child]!);
      case MODE.NEAREST:
        return this.#least(among, (child) => this.#latency(child));
      case MODE.NEAREST_AND_BUSY:
        return this.#least(among, (child) => (this.#outstanding[child]! + 1) * this.#latency(child));
      default:
        return -1;
    }
  }

  /** As an integer to V8, which takes a remainder of large numbers for a fraction: that takes memory. */
  #byHash(bytes: Buffer): number {
    return (superFastHash(bytes) % this.#set.count) | 0;
  }

  /** Directories are read alike by all clients. */
  #mixed(inode: ReadObject): Buffer {
    if (inode.type === S_IFDIR) return NO_GFID;
    const bytes = Buffer.from(inode.gfid);
    bytes.writeInt32LE(bytes.readInt32LE(0) ^ this.#pid, 0);
    return bytes;
  }

  /** Children that were never pinged are far away. */
  #latency(child: number): number {
    const latency = this.#set.latencyMs[child]!;
    return latency > 0 ? latency : Number.POSITIVE_INFINITY;
  }

  #least(among: ChildSet, cost: (child: number) => number): number {
    let best = -1;
    for (let child = 0; child < this.#set.count; child++)
      if (hasChild(among, child) && (best < 0 || cost(child) < cost(best))) best = child;
    return best;
  }
}

function thisProcess(): { pid: number; host: string } {
  return { pid: process.pid, host: hostname() };
}

/** The host in `<POSIX(/brick):host:/path>`. */
function hostOf(pathinfo: string | undefined): string | undefined {
  return pathinfo === undefined ? undefined : /^<POSIX\(.*\):([^:]+):/.exec(pathinfo)?.[1];
}
