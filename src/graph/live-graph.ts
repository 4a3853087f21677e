/**
 * A graph whose volfile may change under its users: options are taken over where the tree stays the same, and
 * another tree takes the old one's place without a call being lost (spec translators.md 1.2 and 10).
 *
 * Users stand on this as on any top. What is the same in both trees stays: connections, the files and locks
 * they hold on bricks, heals. A switch builds and starts the rest, holds new calls back, waits for those in
 * flight, syncs what writers have pending, opens files again and sets locks again through them (same
 * connection, same owner: no moment without the lock), lets the calls go on and ends what is not needed any
 * more. Whatever fails on the way leaves the old graph serving, and is told in one line.
 *
 * Refused: while somebody waits for a lock or acknowledged bytes cannot be written, and a brick reached in
 * another way while locks are held through the old one (`busy`; it may work later). It also measures: calls,
 * bytes and times of every fop at the top.
 */

import { type Call, internalCall } from "../core/call.ts";
import { Deferred, within } from "../core/concurrency.ts";
import { toFopError, UserError } from "../core/errors.ts";
import { type FopCounter, FopMeter } from "../core/fop-meter.ts";
import { type Args, FOP_NAMES, type FopName, type Naming, type Reply } from "../core/fops.ts";
import { ROOT_GFID } from "../core/gfid.ts";
import { S_IFDIR } from "../core/iatt.ts";
import { type Fd, Inode } from "../core/inode.ts";
import { type ChildEvent, type Dump, wind, Xlator } from "../core/xlator.ts";
import { buildGraph, type Graph, type GraphInit } from "./graph.ts";
import { type Move, moveOpen, released, SwitchBusy } from "./move-open.ts";
import { notUp } from "./newcomers.ts";
import { HeldLocks, OpenFds } from "./open-fds.ts";
import type { Volfile } from "./volfile.ts";

/** How long a new graph may take to come up. */
const START_TIMEOUT_MS = 10_000;
/** How long calls in flight may take to settle: longer than a ping timeout. */
const DRAIN_MS = 60_000;
/** How long calls wait for the old graph to end; it goes on ending behind them then. */
const RETIRE_MS = 5_000;
/** What a brick in this process keeps everybody's locks in, other processes' too. */
const LOCK_TABLE = "features/locks";
/** Calls that may report what went wrong with data acknowledged before. */
const REPORTERS: ReadonlySet<FopName> = new Set(["writev", "flush", "fsync"]);

/** What became of a new volfile. */
export type LiveChange =
  | { readonly kind: "unchanged" }
  /** `changed`: `volume.option` of each option with a new value. */
  | { readonly kind: "reconfigured"; readonly changed: readonly string[] }
  /** `why`: in what the trees differ. */
  | { readonly kind: "switched"; readonly why: string };

export interface LiveGraphInit extends Omit<GraphInit, "from"> {
  readonly startTimeoutMs?: number;
  readonly drainMs?: number;
}

type LockFop = "lk" | "inodelk" | "finodelk" | "entrylk" | "fentrylk";

export class LiveGraph extends Xlator {
  /** Calls of users, from here down to their replies. */
  readonly meter: FopMeter;
  readonly #init: LiveGraphInit;
  readonly #reads: FopCounter;
  readonly #writes: FopCounter;
  readonly #files = new OpenFds();
  readonly #locks = new HeldLocks();
  readonly #onGraph = new Set<(graph: Graph) => void>();
  readonly #listeners = new Set<(event: ChildEvent) => void>();
  readonly #onStop: (() => void | Promise<void>)[] = [];
  #graph: Graph;
  #unsubscribe: () => void;
  /** Set while calls have to wait. */
  #gate: Deferred<void> | undefined;
  /** There was a switch: fds and inodes of users may be new to the graph. */
  #moved = false;
  /** Inodes that the graph of now has looked up; of use after a switch. */
  #known = new WeakSet<Inode>();
  /** Inodes with an open file that is used past the graph (`localFile`). */
  readonly #lent = new WeakSet<Inode>();
  #lockWaits = 0;
  #switches = 0;
  /** How long calls had to wait, in milliseconds: at the last switch, and at worst. */
  #lastPauseMs = 0;
  #maxPauseMs = 0;
  /** The end of the graph before, which may take longer than calls are held back for. */
  #retiring: Promise<void> = Promise.resolve();
  #changes: Promise<unknown> = Promise.resolve();
  #stopping: Promise<void> | undefined;

  private constructor(graph: Graph, init: LiveGraphInit) {
    const { env } = init;
    super({ name: "live", type: "mortar/live", options: {}, rawOptions: new Map(), children: [], env });
    this.#init = init;
    this.meter = new FopMeter(env.clock);
    this.#reads = this.meter.counter("readv");
    this.#writes = this.meter.counter("writev");
    this.#graph = graph;
    this.#unsubscribe = graph.onEvent((event) => this.#tell(event));
  }

  /** Builds and starts the first graph. Rejects with UserError as `buildGraph` and `Graph.start` do. */
  static async start(volfile: Volfile, init: LiveGraphInit): Promise<LiveGraph> {
    const graph = buildGraph(volfile, init);
    const live = new LiveGraph(graph, init);
    await graph.start({ timeoutMs: init.startTimeoutMs ?? START_TIMEOUT_MS });
    return live;
  }

  /** The graph of now. */
  get graph(): Graph {
    return this.#graph;
  }

  /** How often one graph took the place of another. */
  get switches(): number {
    return this.#switches;
  }

  /** Hears what the top says; returns the way to stop hearing. */
  onEvent(listener: (event: ChildEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Hears of each new graph, once it serves. */
  onGraph(listener: (graph: Graph) => void): void {
    this.#onGraph.add(listener);
  }

  /** Runs `task` when the volume is left for good, before the graph stops. */
  onStop(task: () => void | Promise<void>): void {
    this.#onStop.push(task);
  }

  /** Ends everything; idempotent, never rejects. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    for (const task of this.#onStop) await task();
    await this.#changes.catch(() => {});
    await this.#retiring;
    await this.#graph.stop();
    this.#unsubscribe();
  }

  /**
   * Takes a new volfile over, after those that came before. Rejects with UserError when it is wrong or cannot
   * be had, and with SwitchBusy when it could be had at another time; then nothing has changed.
   */
  take(volfile: Volfile): Promise<LiveChange> {
    const change = this.#changes.then(() => this.#take(volfile));
    this.#changes = change.catch(() => {});
    return change;
  }

  async #take(volfile: Volfile): Promise<LiveChange> {
    if (this.#stopping !== undefined) throw new UserError("the volume is being left");
    const result = this.#graph.reconfigure(volfile);
    if (result.kind !== "other-tree") return result;
    await this.#switchTo(volfile);
    return { kind: "switched", why: result.why };
  }

  async #switchTo(volfile: Volfile): Promise<void> {
    await this.#retiring;
    const before = this.#graph;
    const { registry, env, top } = this.#init;
    const fresh = buildGraph(volfile, {
      registry,
      env,
      beside: before.beside,
      ...(top === undefined ? {} : { top }),
      from: before,
    });
    try {
      this.#checkLocks(fresh);
      await fresh.start({ timeoutMs: this.#init.startTimeoutMs ?? START_TIMEOUT_MS });
      await this.#checkRoot(fresh);
      await this.#meetNewcomers(fresh);
      await this.#changeOver(before, fresh);
    } catch (error) {
      await fresh.stop();
      throw error;
    }
    this.#switches++;
    this.log.info("a new graph has taken over", { open: this.#files.size, locks: this.#locks.size });
    for (const listener of [...this.#onGraph]) listener(fresh);
  }

  /** The old graph serves meanwhile: nobody waits for a new brick but the switch. */
  async #meetNewcomers(fresh: Graph): Promise<void> {
    const newcomers = fresh.nodes
      .filter(({ taken, xlator }) => !taken && xlator.children.length === 0)
      .map(({ xlator }) => xlator);
    const timeoutMs = this.#init.startTimeoutMs ?? START_TIMEOUT_MS;
    const missing = await notUp(newcomers, this.env.clock, timeoutMs);
    if (missing.length > 0)
      this.log.warn("a new graph takes over without some bricks", {
        missing: missing.map(({ name }) => name),
      });
  }

  /** Holds calls back, moves what is open, and lets them go on: on the new graph, or on the old one. */
  async #changeOver(before: Graph, fresh: Graph): Promise<void> {
    const gate = new Deferred<void>();
    const beganMs = this.env.clock.nowMs();
    this.#gate = gate;
    try {
      await this.#settled();
      // Somebody may have begun to wait for a lock since the first look.
      this.#checkLocks(fresh);
      const isLent = (inode: Inode): boolean => this.#lent.has(inode);
      const moves = await moveOpen(before, fresh, {
        files: this.#files,
        locks: this.#locks,
        isLent,
        log: this.log,
      });
      this.#adopt(fresh);
      for (const { open, to } of moves) open.now = to;
      this.#retiring = this.#retire(before, fresh, moves);
      await within(this.env.clock, RETIRE_MS, this.#retiring);
    } catch (error) {
      // From now on calls look for failures that have to be told.
      if (this.#files.all().some(({ failure }) => failure !== undefined)) this.#moved = true;
      throw error;
    } finally {
      this.#lastPauseMs = this.env.clock.nowMs() - beganMs;
      this.#maxPauseMs = Math.max(this.#maxPauseMs, this.#lastPauseMs);
      this.#gate = undefined;
      gate.resolve();
    }
  }

  #adopt(fresh: Graph): void {
    this.#unsubscribe();
    this.#graph = fresh;
    this.#moved = true;
    this.#known = new WeakSet();
    for (const { fd } of this.#files.all()) this.#known.add(fd.inode);
    this.#unsubscribe = fresh.onEvent((event) => this.#tell(event));
  }

  async #retire(before: Graph, fresh: Graph, moves: readonly Move[]): Promise<void> {
    try {
      await Promise.all(moves.map(({ open, from }) => released(before, open, from)));
      await fresh.takeOver();
    } catch (error) {
      this.log.error("the old graph did not end cleanly", { error });
    }
  }

  /**
   * Waits for a lock stay with the connection they were sent on; and a lock that is held through a connection
   * cannot be set through another one before it is given up, when somebody else could take it.
   */
  #checkLocks(fresh: Graph): void {
    if (this.#lockWaits > 0)
      throw new SwitchBusy(`${this.#lockWaits} calls wait for a lock; possible when they have it`);
    const left = new Set(this.#graph.xlators);
    for (const { xlator } of fresh.nodes) left.delete(xlator);
    const table = [...left].find(({ type }) => type === LOCK_TABLE);
    if (table !== undefined)
      throw new UserError(`"${table.name}" holds the locks of a brick in this process; start that anew`);
    if (this.#locks.size === 0) return;
    const names = new Set(fresh.nodes.filter((node) => !node.taken).map(({ xlator }) => xlator.name));
    const leaf = this.#graph.nodes.find(
      ({ xlator }) => xlator.children.length === 0 && names.has(xlator.name),
    );
    if (leaf !== undefined)
      throw new SwitchBusy(
        `"${leaf.xlator.name}" would be reached in another way, and ${this.#locks.size} locks are held ` +
          "through it; possible when they are given up",
      );
  }

  async #checkRoot(fresh: Graph): Promise<void> {
    try {
      await fresh.top.lookup(internalCall(), { loc: { inode: new Inode(ROOT_GFID, S_IFDIR) } });
    } catch (error) {
      throw new UserError(`the root of the new graph: ${toFopError(error).code}`, { cause: error });
    }
  }

  /** Resolves when no call is in flight. Rejects when that takes too long. */
  async #settled(): Promise<void> {
    const drainMs = this.#init.drainMs ?? DRAIN_MS;
    const idle = new Deferred<void>();
    const timer = this.env.clock.after(drainMs, () => {
      this.meter.whenIdle(undefined);
      const left = this.meter.inFlight;
      idle.reject(new SwitchBusy(`${left} calls were still under way after ${drainMs / 1000} s`));
    });
    this.meter.whenIdle(() => idle.resolve());
    await idle.promise;
    timer.cancel();
  }

  #tell(event: ChildEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
    this.notifyParents(event);
  }

  override dump(): Dump {
    return {
      switches: this.#switches,
      lastPauseMs: Math.round(this.#lastPauseMs),
      maxPauseMs: Math.round(this.#maxPauseMs),
      openFiles: this.#files.size,
      heldLocks: this.#locks.size,
      lockWaits: this.#lockWaits,
      callsInFlight: this.meter.inFlight,
    };
  }

  override localFile(fd: Fd): number | undefined {
    const open = this.#files.get(fd);
    const found = this.#graph.top.localFile(open?.now ?? fd);
    if (found !== undefined) this.#lent.add(fd.inode);
    return found;
  }

  override release(fd: Fd): Promise<void> {
    return this.#close(fd);
  }

  override releasedir(fd: Fd): Promise<void> {
    return this.#close(fd);
  }

  override forget(inode: Inode): void {
    this.#graph.top.forget(inode);
  }

  override clientDisconnect(): void {}

  async #close(fd: Fd): Promise<void> {
    while (this.#gate !== undefined) await this.#gate.promise;
    this.meter.enter();
    try {
      const open = this.#files.remove(fd);
      this.#locks.released(fd);
      if (this.#lent.has(fd.inode) && !this.#files.all().some((other) => other.fd.inode === fd.inode))
        this.#lent.delete(fd.inode);
      if (open !== undefined) await released(this.#graph, open, open.now);
      else await this.#graph.top.release(fd);
    } finally {
      this.meter.leave();
    }
  }

  override open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    return this.#noted("open", call, args, () => this.#files.add(args.fd, false));
  }

  override opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.#noted("opendir", call, args, () => this.#files.add(args.fd, true));
  }

  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.#noted("create", call, args, () => this.#files.add(args.fd, false));
  }

  /** Spelled out, though `pass` would do it: the two that decide throughput. */
  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    if (this.#gate !== undefined) return this.#gate.promise.then(() => this.readv(call, args));
    const span = this.#reads.begin();
    const reply = this.#moved ? this.#windMoved("readv", call, args) : this.#graph.top.readv(call, args);
    reply.then(span.done, span.failed);
    return reply;
  }

  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    if (this.#gate !== undefined) return this.#gate.promise.then(() => this.writev(call, args));
    const span = this.#writes.begin();
    const reply = this.#moved ? this.#windMoved("writev", call, args) : this.#graph.top.writev(call, args);
    reply.then(span.done, span.failed);
    return reply;
  }

  override flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    return this.#noted("flush", call, args, () => this.#locks.flushed(call, args.fd));
  }

  override lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    if (args.cmd === "getlk") return this.pass("lk", call, args);
    if (args.cmd === "setlk") return this.#noted("lk", call, args, () => this.#locks.note(call, args));
    return this.#waitForLock("lk", call, args, () => this.#locks.note(call, args));
  }

  /** Internal locks belong to a connection, not to an fd: what stays connected keeps them. */
  override inodelk(call: Call, args: Args<"inodelk">): Promise<Reply<"inodelk">> {
    return args.cmd === "setlkw"
      ? this.#waitForLock("inodelk", call, args)
      : this.pass("inodelk", call, args);
  }

  override finodelk(call: Call, args: Args<"finodelk">): Promise<Reply<"finodelk">> {
    if (args.cmd === "setlkw") return this.#waitForLock("finodelk", call, args);
    return this.pass("finodelk", call, args);
  }

  override entrylk(call: Call, args: Args<"entrylk">): Promise<Reply<"entrylk">> {
    return args.cmd === "lock" ? this.#waitForLock("entrylk", call, args) : this.pass("entrylk", call, args);
  }

  override fentrylk(call: Call, args: Args<"fentrylk">): Promise<Reply<"fentrylk">> {
    if (args.cmd === "lock") return this.#waitForLock("fentrylk", call, args);
    return this.pass("fentrylk", call, args);
  }

  /** Not among the calls in flight: others may have to go on before it can settle. */
  async #waitForLock<F extends LockFop>(
    fop: F,
    call: Call,
    args: Args<F>,
    note?: () => void,
  ): Promise<Reply<F>> {
    while (this.#gate !== undefined) await this.#gate.promise;
    this.#lockWaits++;
    try {
      const reply = await this.#wind(fop, call, args);
      note?.();
      return reply;
    } finally {
      this.#lockWaits--;
    }
  }

  /** Every other fop. */
  pass<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    if (this.#gate !== undefined) return this.#gate.promise.then(() => this.pass(fop, call, args));
    const span = this.meter.begin(fop);
    const reply = this.#wind(fop, call, args);
    reply.then(span.done, span.failed);
    return reply;
  }

  /** A fop whose success is written down while it still counts as being in flight. */
  async #noted<F extends FopName>(fop: F, call: Call, args: Args<F>, note: () => void): Promise<Reply<F>> {
    while (this.#gate !== undefined) await this.#gate.promise;
    const span = this.meter.begin(fop);
    try {
      const reply = await this.#wind(fop, call, args);
      note();
      span.done(reply);
      return reply;
    } catch (error) {
      span.failed();
      throw error;
    }
  }

  #wind<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    return this.#moved ? this.#windMoved(fop, call, args) : wind(this.#graph.top, fop, call, args);
  }

  /** The same after a switch: with the graph's own fds, and inodes that it has looked up. */
  #windMoved<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const { fd, fdIn, fdOut, loc, from } = args as Naming;
    if (fdIn !== undefined) return this.#windCopy(fop, call, args, fdIn, fdOut!);
    if (fd === undefined || loc !== undefined || from !== undefined) return this.#windLoc(fop, call, args);
    const open = this.#files.get(fd);
    if (open === undefined) return this.#windLoc(fop, call, args);
    if (open.failure !== undefined && REPORTERS.has(fop)) {
      const { failure } = open;
      open.failure = undefined;
      return Promise.reject(failure);
    }
    const known = open.now === fd ? args : { ...args, fd: open.now };
    return wind(this.#graph.top, fop, call, known);
  }

  #windCopy<F extends FopName>(fop: F, call: Call, args: Args<F>, fdIn: Fd, fdOut: Fd): Promise<Reply<F>> {
    const now = {
      fdIn: this.#files.get(fdIn)?.now ?? fdIn,
      fdOut: this.#files.get(fdOut)?.now ?? fdOut,
    };
    return wind(this.#graph.top, fop, call, { ...args, ...now });
  }

  async #windLoc<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const { fd, loc, from, to } = args as Naming;
    const inodes = [fd?.inode, loc?.parent, from?.parent, from?.inode, to?.parent, to?.inode];
    if (fop !== "lookup") inodes.push(loc?.inode);
    for (const inode of inodes) if (inode?.linked && !this.#known.has(inode)) await this.#introduce(inode);
    const reply = await wind(this.#graph.top, fop, call, args);
    if (loc !== undefined) this.#known.add(loc.inode);
    return reply;
  }

  /** Lets the graph see an inode that its users know from before. What is gone the fop itself will say. */
  async #introduce(inode: Inode): Promise<void> {
    this.#known.add(inode);
    try {
      await this.#graph.top.lookup(internalCall(), { loc: { inode } });
    } catch (error) {
      this.log.debug("an inode of before is not found", { gfid: inode.gfid, error });
    }
  }
}

for (const fop of FOP_NAMES) {
  if (Object.hasOwn(LiveGraph.prototype, fop)) continue;
  Object.defineProperty(LiveGraph.prototype, fop, {
    value(this: LiveGraph, call: Call, args: Args<typeof fop>) {
      return this.pass(fop, call, args);
    },
  });
}
