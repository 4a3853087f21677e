/**
 * The translator: one class over the fop table, stacked on its children (design shape.md 3 and 4).
 *
 * `XlatorBase` has every fop abstract: leaves and fan-outs extend it, and a forgotten fop is a compile error.
 * `Xlator` has one child and passes every fop through: a filter overrides what it changes. Construction does
 * no I/O; `init` may.
 */

import type { Call } from "./call.ts";
import type { Env } from "./env.ts";
import type { Args, FopFunction, FopName, Fops, Hooks, Reply, Upcall } from "./fops.ts";
import type { Gfid } from "./gfid.ts";
import type { Fd, Inode } from "./inode.ts";
import type { Logger } from "./log.ts";
import type { OptionTable, OptionValues } from "./options.ts";

/** Travels up, from a child to its parents (spec translators.md 1.4). */
export type ChildEvent =
  /**
   * Where the brick below tells: `volumeId`, and `brickId`, which copy of a replicated volume it is (see
   * PLACE_XATTR), empty when that is still to be written down.
   */
  | { readonly type: "child-up"; readonly volumeId?: string; readonly brickId?: string }
  | { readonly type: "child-down" }
  | { readonly type: "child-connecting"; readonly why: string }
  | { readonly type: "auth-failed"; readonly why: string }
  | { readonly type: "some-descendent-up" }
  | { readonly type: "some-descendent-down" }
  | { readonly type: "child-ping"; readonly latencyMs: number }
  | { readonly type: "volfile-modified" }
  /** `to`: the client (its identity's id) that it is for; all of them when absent. */
  | { readonly type: "upcall"; readonly upcall: Upcall; readonly to?: string };

/** Travels down: start and stop serving. */
export type ParentEvent = { readonly type: "parent-up" } | { readonly type: "parent-down" };

/** What a translator tells of itself in a statedump; plain data: numbers, words, lists and records. */
export type Dump = Readonly<Record<string, unknown>>;

/** Who hears a translator's events: its parents, and the edge at the top. */
export interface EventSink {
  onChildEvent(event: ChildEvent, from: XlatorBase): void;
}

export interface XlatorInit<T extends OptionTable = OptionTable> {
  /** Instance name from the volfile, e.g. `instances-client-0`. */
  readonly name: string;
  readonly type: string;
  readonly options: OptionValues<T>;
  /** Options of the volfile section as text, e.g. for SETVOLUME, which sends them all. */
  readonly rawOptions: ReadonlyMap<string, string>;
  readonly children: readonly XlatorBase[];
  readonly env: Env;
}

/** Work in the background, in pieces since the start of the graph. A graph that stops leaves the rest. */
export interface Afterwork {
  readonly found: number;
  readonly done: number;
  /** Resolves when there is nothing more to do. */
  finished(): Promise<void>;
}

/** Events that say whether a translator can serve; the last one stands. */
const STATES: ReadonlySet<ChildEvent["type"]> = new Set([
  "child-up",
  "child-down",
  "child-connecting",
  "auth-failed",
]);

export abstract class XlatorBase<T extends OptionTable = OptionTable> implements Fops, Hooks, EventSink {
  readonly name: string;
  readonly type: string;
  readonly children: readonly XlatorBase[];
  readonly rawOptions: ReadonlyMap<string, string>;
  protected readonly env: Env;
  protected readonly log: Logger;
  /** Current values; replaced as a whole by `reconfigure`. */
  protected options: OptionValues<T>;
  readonly #parents = new Set<EventSink>();
  /** Children that belong to another graph as well, which is the one to start and stop them. */
  readonly #borrowed = new Set<XlatorBase>();
  /** What was last said upwards of being able to serve. */
  #said: ChildEvent | undefined;

  constructor(init: XlatorInit<T>) {
    this.name = init.name;
    this.type = init.type;
    this.children = init.children;
    this.rawOptions = init.rawOptions;
    this.options = init.options;
    this.env = init.env;
    this.log = init.env.log.child({ xlator: init.name });
    for (const child of init.children) child.addParent(this);
  }

  /**
   * Bottom-up, once, after construction of the whole graph. Rejects with UserError when the translator cannot
   * work.
   */
  async init(): Promise<void> {}

  /** Top-down, once; nothing is in flight any more. Must not reject. */
  async fini(): Promise<void> {}

  /** New options of the same volfile section; only `live` ones differ. */
  reconfigure(options: OptionValues<T>): void {
    this.options = options;
  }

  /** Who hears this translator. */
  get parents(): Iterable<EventSink> {
    return this.#parents;
  }

  addParent(parent: EventSink): void {
    this.#parents.add(parent);
  }

  removeParent(parent: EventSink): void {
    this.#parents.delete(parent);
  }

  /** From a child. Sets state, settles waiters; neither awaits nor throws. */
  onChildEvent(event: ChildEvent, _from: XlatorBase): void {
    this.notifyParents(event);
  }

  onParentEvent(event: ParentEvent): void {
    for (const child of this.children) this.tellChild(child, event);
  }

  /** Passes a parent event on, unless another graph is the one that starts and stops the child. */
  protected tellChild(child: XlatorBase, event: ParentEvent): void {
    if (!this.#borrowed.has(child)) child.onParentEvent(event);
  }

  /** From now on the child is not started and stopped from here: another graph has it too (adopt.ts). */
  borrowChild(child: XlatorBase): void {
    this.#borrowed.add(child);
  }

  /** Ends `borrowChild`. */
  ownChild(child: XlatorBase): void {
    this.#borrowed.delete(child);
  }

  /** Says to a parent that came later what the others have heard: whether this translator can serve. */
  repeatTo(parent: EventSink): void {
    if (this.#said !== undefined) parent.onChildEvent(this.#said, this);
  }

  protected notifyParents(event: ChildEvent): void {
    if (STATES.has(event.type)) this.#said = event;
    for (const parent of this.#parents) parent.onChildEvent(event, this);
  }

  /**
   * A descriptor of this process for the file that `fd` is about, if the kernel may use that file itself in
   * place of `readv` here and, when `fd` may write, of `writev`, until the caller releases `fd`: nothing may
   * be left out, and nobody here may go by what the file was before. Undefined where there is none, which is
   * the rule: a translator that has one, or lets one through, says so.
   */
  localFile(_fd: Fd): number | undefined {
    return undefined;
  }

  /**
   * Whether bytes of the fd's file that were acknowledged here are not with the layers below yet, and would
   * be lost if this graph ended now.
   */
  hasUnwritten(fd: Fd): boolean {
    return this.children.some((child) => child.hasUnwritten(fd));
  }

  /** What calls that were answered left to be done in the background; undefined where that never happens. */
  get afterwork(): Afterwork | undefined {
    return undefined;
  }

  /**
   * What `mortar statedump` shows of this translator: counts, queues, states. Cheap, without secrets and
   * without side effects; called at any time of its life.
   */
  dump(): Dump {
    return {};
  }

  /** Whether this class does something of its own for the fop, for `mortar graph`. */
  defines(fop: FopName): boolean {
    return this[fop] !== Xlator.prototype[fop];
  }

  async release(fd: Fd): Promise<void> {
    await Promise.all(this.children.map((child) => child.release(fd)));
  }
  async releasedir(fd: Fd): Promise<void> {
    await Promise.all(this.children.map((child) => child.releasedir(fd)));
  }
  forget(inode: Inode): void {
    for (const child of this.children) child.forget(inode);
  }
  invalidate(gfid: Gfid): void {
    for (const child of this.children) child.invalidate(gfid);
  }
  clientDisconnect(client: NonNullable<Call["client"]>): void {
    for (const child of this.children) child.clientDisconnect(client);
  }

  abstract stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">>;
  abstract readlink(call: Call, args: Args<"readlink">): Promise<Reply<"readlink">>;
  abstract mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">>;
  abstract mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">>;
  abstract unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">>;
  abstract rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">>;
  abstract symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">>;
  abstract rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">>;
  abstract link(call: Call, args: Args<"link">): Promise<Reply<"link">>;
  abstract truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">>;
  abstract open(call: Call, args: Args<"open">): Promise<Reply<"open">>;
  abstract readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">>;
  abstract writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">>;
  abstract statfs(call: Call, args: Args<"statfs">): Promise<Reply<"statfs">>;
  abstract flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">>;
  abstract fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">>;
  abstract setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">>;
  abstract getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">>;
  abstract removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">>;
  abstract opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">>;
  abstract fsyncdir(call: Call, args: Args<"fsyncdir">): Promise<Reply<"fsyncdir">>;
  abstract access(call: Call, args: Args<"access">): Promise<Reply<"access">>;
  abstract create(call: Call, args: Args<"create">): Promise<Reply<"create">>;
  abstract ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">>;
  abstract fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">>;
  abstract lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">>;
  abstract lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">>;
  abstract readdir(call: Call, args: Args<"readdir">): Promise<Reply<"readdir">>;
  abstract inodelk(call: Call, args: Args<"inodelk">): Promise<Reply<"inodelk">>;
  abstract finodelk(call: Call, args: Args<"finodelk">): Promise<Reply<"finodelk">>;
  abstract entrylk(call: Call, args: Args<"entrylk">): Promise<Reply<"entrylk">>;
  abstract fentrylk(call: Call, args: Args<"fentrylk">): Promise<Reply<"fentrylk">>;
  abstract xattrop(call: Call, args: Args<"xattrop">): Promise<Reply<"xattrop">>;
  abstract fxattrop(call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">>;
  abstract fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">>;
  abstract fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">>;
  abstract rchecksum(call: Call, args: Args<"rchecksum">): Promise<Reply<"rchecksum">>;
  abstract setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">>;
  abstract fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">>;
  abstract readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">>;
  abstract fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">>;
  abstract fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">>;
  abstract discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">>;
  abstract zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">>;
  abstract ipc(call: Call, args: Args<"ipc">): Promise<Reply<"ipc">>;
  abstract seek(call: Call, args: Args<"seek">): Promise<Reply<"seek">>;
  abstract lease(call: Call, args: Args<"lease">): Promise<Reply<"lease">>;
  abstract getactivelk(call: Call, args: Args<"getactivelk">): Promise<Reply<"getactivelk">>;
  abstract setactivelk(call: Call, args: Args<"setactivelk">): Promise<Reply<"setactivelk">>;
  abstract icreate(call: Call, args: Args<"icreate">): Promise<Reply<"icreate">>;
  abstract namelink(call: Call, args: Args<"namelink">): Promise<Reply<"namelink">>;
  abstract put(call: Call, args: Args<"put">): Promise<Reply<"put">>;
  abstract copy_file_range(call: Call, args: Args<"copy_file_range">): Promise<Reply<"copy_file_range">>;
}

/** A filter: one child, everything passes through unless overridden. */
export abstract class Xlator<T extends OptionTable = OptionTable> extends XlatorBase<T> {
  protected readonly child: XlatorBase;

  constructor(init: XlatorInit<T>) {
    super(init);
    this.child = init.children[0]!;
  }

  override stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    return this.child.stat(call, args);
  }
  override readlink(call: Call, args: Args<"readlink">): Promise<Reply<"readlink">> {
    return this.child.readlink(call, args);
  }
  override mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    return this.child.mknod(call, args);
  }
  override mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    return this.child.mkdir(call, args);
  }
  override unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    return this.child.unlink(call, args);
  }
  override rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    return this.child.rmdir(call, args);
  }
  override symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    return this.child.symlink(call, args);
  }
  override rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    return this.child.rename(call, args);
  }
  override link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    return this.child.link(call, args);
  }
  override truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    return this.child.truncate(call, args);
  }
  override open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    return this.child.open(call, args);
  }
  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    return this.child.readv(call, args);
  }
  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    return this.child.writev(call, args);
  }
  override statfs(call: Call, args: Args<"statfs">): Promise<Reply<"statfs">> {
    return this.child.statfs(call, args);
  }
  override flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    return this.child.flush(call, args);
  }
  override fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    return this.child.fsync(call, args);
  }
  override setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    return this.child.setxattr(call, args);
  }
  override getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    return this.child.getxattr(call, args);
  }
  override removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    return this.child.removexattr(call, args);
  }
  override opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.child.opendir(call, args);
  }
  override fsyncdir(call: Call, args: Args<"fsyncdir">): Promise<Reply<"fsyncdir">> {
    return this.child.fsyncdir(call, args);
  }
  override access(call: Call, args: Args<"access">): Promise<Reply<"access">> {
    return this.child.access(call, args);
  }
  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.child.create(call, args);
  }
  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.child.ftruncate(call, args);
  }
  override fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    return this.child.fstat(call, args);
  }
  override lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    return this.child.lk(call, args);
  }
  override lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    return this.child.lookup(call, args);
  }
  override readdir(call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    return this.child.readdir(call, args);
  }
  override inodelk(call: Call, args: Args<"inodelk">): Promise<Reply<"inodelk">> {
    return this.child.inodelk(call, args);
  }
  override finodelk(call: Call, args: Args<"finodelk">): Promise<Reply<"finodelk">> {
    return this.child.finodelk(call, args);
  }
  override entrylk(call: Call, args: Args<"entrylk">): Promise<Reply<"entrylk">> {
    return this.child.entrylk(call, args);
  }
  override fentrylk(call: Call, args: Args<"fentrylk">): Promise<Reply<"fentrylk">> {
    return this.child.fentrylk(call, args);
  }
  override xattrop(call: Call, args: Args<"xattrop">): Promise<Reply<"xattrop">> {
    return this.child.xattrop(call, args);
  }
  override fxattrop(call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    return this.child.fxattrop(call, args);
  }
  override fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    return this.child.fgetxattr(call, args);
  }
  override fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    return this.child.fsetxattr(call, args);
  }
  override rchecksum(call: Call, args: Args<"rchecksum">): Promise<Reply<"rchecksum">> {
    return this.child.rchecksum(call, args);
  }
  override setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    return this.child.setattr(call, args);
  }
  override fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    return this.child.fsetattr(call, args);
  }
  override readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    return this.child.readdirp(call, args);
  }
  override fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    return this.child.fremovexattr(call, args);
  }
  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.child.fallocate(call, args);
  }
  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.child.discard(call, args);
  }
  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.child.zerofill(call, args);
  }
  override ipc(call: Call, args: Args<"ipc">): Promise<Reply<"ipc">> {
    return this.child.ipc(call, args);
  }
  override seek(call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    return this.child.seek(call, args);
  }
  override lease(call: Call, args: Args<"lease">): Promise<Reply<"lease">> {
    return this.child.lease(call, args);
  }
  override getactivelk(call: Call, args: Args<"getactivelk">): Promise<Reply<"getactivelk">> {
    return this.child.getactivelk(call, args);
  }
  override setactivelk(call: Call, args: Args<"setactivelk">): Promise<Reply<"setactivelk">> {
    return this.child.setactivelk(call, args);
  }
  override icreate(call: Call, args: Args<"icreate">): Promise<Reply<"icreate">> {
    return this.child.icreate(call, args);
  }
  override namelink(call: Call, args: Args<"namelink">): Promise<Reply<"namelink">> {
    return this.child.namelink(call, args);
  }
  override put(call: Call, args: Args<"put">): Promise<Reply<"put">> {
    return this.child.put(call, args);
  }
  override copy_file_range(call: Call, args: Args<"copy_file_range">): Promise<Reply<"copy_file_range">> {
    return this.child.copy_file_range(call, args);
  }
}

/** Calls a fop by name; for code written once over all fops (fan-out, trace, codec). */
export function wind<F extends FopName>(target: Fops, fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
  return (target[fop] as FopFunction<F>).call(target, call, args);
}

/** How many children a type takes. */
export interface ChildCount {
  readonly min: number;
  readonly max: number;
}
export function exactly(count: number): ChildCount {
  return { min: count, max: count };
}
export function atLeast(count: number): ChildCount {
  return { min: count, max: Number.POSITIVE_INFINITY };
}

/** A section with its options parsed, as far as a check of all of them together may go by it. */
export interface SectionOptions<T extends OptionTable = OptionTable> {
  readonly options: OptionValues<T>;
  /** As they are given, which tells a choice from a default. */
  readonly rawOptions: ReadonlyMap<string, string>;
  /** Names of its subvolumes. */
  readonly children: readonly string[];
  /** Types of all that it serves: its parents, theirs, and so on. */
  readonly typesAbove: ReadonlySet<string>;
}

/** What the registry knows of a translator type. */
export interface XlatorDefinition {
  readonly type: string;
  readonly children: ChildCount;
  readonly options: OptionTable;
  /**
   * Options with names inside their names (`auth.addr.BRICK.allow`): no table has them, `rawOptions` does.
   */
  readonly openOptions?: RegExp;
  /** Why Mortar lets every fop pass through this type, when it does; shown by `mortar graph`. */
  readonly passThrough?: string;
  /** Why no graph may have this type, though it is known; nothing is created then. */
  readonly refused?: string;
  /**
   * What is wrong with options that are right each by itself, and the fix: it follows the section's name. No
   * translator is made with such options, and none is told of them while it runs.
   */
  check?(section: SectionOptions): string | undefined;
  create(init: XlatorInit): XlatorBase;
}

/** Ties an option table to the class that reads it; the one place where the table's type is forgotten. */
export function defineXlator<T extends OptionTable>(definition: {
  type: string;
  children: ChildCount;
  options: T;
  openOptions?: RegExp;
  passThrough?: string;
  refused?: string;
  check?(section: SectionOptions<T>): string | undefined;
  create(init: XlatorInit<T>): XlatorBase<T>;
}): XlatorDefinition {
  return definition as unknown as XlatorDefinition;
}
