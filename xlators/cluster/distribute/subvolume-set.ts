/**
 * The children of a distribute, and what all its parts share: which of them are up, how names hash, what is
 * known of inodes.
 *
 * Children are told apart by their place in the volfile; linkto files name them by their instance names, so
 * those must not change while a volume lives.
 */

import type { Call } from "../../../src/core/call.ts";
import { fanout, type Outcome } from "../../../src/core/concurrency.ts";
import type { Env } from "../../../src/core/env.ts";
import { type ErrnoName, FopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import { gfidText, ROOT_GFID } from "../../../src/core/gfid.ts";
import type { Inode } from "../../../src/core/inode.ts";
import type { Logger } from "../../../src/core/log.ts";
import { encodeName } from "../../../src/core/name.ts";
import { wind, type XlatorBase } from "../../../src/core/xlator.ts";
import { NameHash } from "./hash.ts";
import { InodeStates } from "./inode-state.ts";
import { type Layout, newLayout } from "./layout.ts";
import { type DistributeOptions, hashPatterns } from "./options.ts";
import { Space } from "./space.ts";
import { type XattrNames, xattrNames } from "./xattr-names.ts";

/** A path is not longer than this many names, or it is a cycle of stale knowledge. */
const DEPTH_MAX = 4096;

export interface SubvolumeSetInit {
  readonly name: string;
  readonly children: readonly XlatorBase[];
  readonly options: DistributeOptions;
  readonly env: Env;
  readonly log: Logger;
}

export class SubvolumeSet {
  /** Instance name of the distribute. */
  readonly name: string;
  readonly children: readonly XlatorBase[];
  readonly all: readonly number[];
  readonly names: readonly string[];
  /** In the order of the children's names. */
  readonly byName: readonly number[];
  readonly xattrs: XattrNames;
  readonly states = new InodeStates();
  readonly space: Space;
  readonly env: Env;
  readonly log: Logger;
  options: DistributeOptions;
  /** Grows whenever a child comes up: layouts from before may miss its part. */
  generation = 1;
  /** Of the volume's last complete rebalance; 0 when there was none. */
  commitHash = 0;
  /** Children that are being removed. */
  retired: ReadonlySet<number> = new Set();
  #hash: NameHash = new NameHash([]);
  readonly #up: boolean[];
  readonly #background = new Set<Promise<void>>();

  constructor(init: SubvolumeSetInit) {
    this.name = init.name;
    this.children = init.children;
    this.all = init.children.map((_, child) => child);
    this.names = init.children.map(({ name }) => name);
    this.byName = [...this.all].sort((a, b) =>
      Buffer.compare(encodeName(this.names[a]!), encodeName(this.names[b]!)),
    );
    this.xattrs = xattrNames(init.options["xattr-name"]);
    this.env = init.env;
    this.log = init.log;
    this.space = new Space(init.children, init.env.clock);
    this.options = init.options;
    this.#up = init.children.map(() => false);
    this.reconfigure(init.options);
  }

  reconfigure(options: DistributeOptions): void {
    this.options = options;
    this.#hash = new NameHash(hashPatterns(options));
    const retired = options["decommissioned-bricks"]
      .split(",")
      .map((name) => this.names.indexOf(name.trim()));
    this.retired = new Set(retired.filter((child) => child >= 0));
  }

  isUp(child: number): boolean {
    return this.#up[child]!;
  }

  get upCount(): number {
    return this.#up.filter((up) => up).length;
  }

  get allUp(): boolean {
    return this.upCount === this.all.length;
  }

  get firstUp(): number {
    return this.#up.indexOf(true);
  }

  childIsUp(child: number): void {
    if (!this.#up[child]) this.generation++;
    this.#up[child] = true;
    this.inBackground(this.space.ask(child));
  }

  childIsDown(child: number): void {
    this.#up[child] = false;
  }

  /** Free space is asked for again if what is known is old; who asks waits only when nothing is known. */
  renewSpace(): Promise<void> | undefined {
    const asked = this.space.renewed();
    if (asked === undefined) return undefined;
    this.inBackground(asked);
    return this.space.isUnknown ? asked : undefined;
  }

  /** Work that nobody waits for but the end of the graph; failing is its own affair. */
  inBackground(work: Promise<unknown>): void {
    const done: Promise<void> = work.then(
      () => void this.#background.delete(done),
      () => void this.#background.delete(done),
    );
    this.#background.add(done);
  }

  async settled(): Promise<void> {
    while (this.#background.size > 0) await Promise.all(this.#background);
  }

  /** The child that a linkto file names; -1 when there is none of that name. */
  childNamed(name: string): number {
    return this.names.indexOf(name);
  }

  /**
   * `name@DISTRIBUTE:SUBVOLUME` puts a file on that subvolume, under the name before the sign; undefined for
   * any other name.
   */
  placement(name: string): { readonly name: string; readonly child: number } | undefined {
    if (!name.includes("@")) return undefined;
    for (const child of this.all) {
      const suffix = `@${this.name}:${this.names[child]}`;
      if (name.endsWith(suffix) && name.length > suffix.length)
        return { name: name.slice(0, -suffix.length), child };
    }
    return undefined;
  }

  /** The child for a name, -1 when it falls into a hole. */
  childFor(layout: Layout, name: string): number {
    return layout.childFor(this.#hash.of(name));
  }

  /** For a directory without a usable layout. `able`: children that can hold a part of it. */
  newLayout(able: readonly boolean[], inode: Inode, commitHash: number): Layout {
    const usable = able.map((one, child) => one && !this.retired.has(child));
    const { options } = this;
    const from = options["randomize-hash-range-by-gfid"] ? gfidText(inode.gfid) : this.pathOf(inode);
    return newLayout({
      byName: this.byName,
      usable: usable.some((one) => one) ? usable : able,
      weights: options["weighted-rebalance"] ? this.space.weights : undefined,
      startHash: this.#hash.of(from),
      spread: options["directory-layout-spread"],
      commitHash,
    });
  }

  /** As GlusterFS would call it: `<gfid:...>` for the part that is not known. */
  pathOf(inode: Inode): string {
    const names: string[] = [];
    for (let at = inode, depth = 0; depth < DEPTH_MAX; depth++) {
      if (at.gfid.equals(ROOT_GFID)) return `/${names.reverse().join("/")}`;
      const { parent, name } = this.states.of(at);
      if (parent === undefined) return [`<gfid:${gfidText(at.gfid)}>`, ...names.reverse()].join("/");
      names.push(name);
      at = parent;
    }
    return `<gfid:${gfidText(inode.gfid)}>`;
  }

  /** Sends to these children at the same time and waits for all; never rejects. */
  onEach<F extends FopName>(
    children: readonly number[],
    fop: F,
    call: Call,
    argsOf: Args<F> | ((child: number) => Args<F>),
  ): Promise<Outcome<Reply<F>>[]> {
    return fanout(children, (child) =>
      wind(this.children[child]!, fop, call, typeof argsOf === "function" ? argsOf(child) : argsOf),
    );
  }

  /** A name that belongs to no subvolume: with all of them there its directory would have been healed. */
  hole(fop: FopName, name: string): FopError {
    const down = this.names.filter((_, child) => !this.isUp(child)).join(", ") || "none";
    const why = `the directory's layout has a hole where "${name}" belongs`;
    return this.error("EIO", fop, `${why}; it is healed when all subvolumes are up (down: ${down})`);
  }

  error(code: ErrnoName, fop: FopName, message?: string): FopError {
    return new FopError(code, { fop, xlator: this.name, ...(message === undefined ? {} : { message }) });
  }
}

/** As root, for what users may not do themselves. */
export function asRoot(call: Call): Call {
  return call.uid === 0 && call.gid === 0 ? call : { ...call, uid: 0, gid: 0, groups: [] };
}

/** Says that there is no such thing. */
export function isMissing(error: FopError): boolean {
  return error.code === "ENOENT" || error.code === "ESTALE";
}
