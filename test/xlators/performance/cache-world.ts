/**
 * A world for caches: a brick, a slow way to it, the caches under test, and another client that goes to the
 * brick directly. It remembers every state that the file has had, so that an answer can be judged: which of
 * them may it show?
 *
 * An answer must show at least what the client had seen done when it asked, what it had been told of, and
 * what is older than the caches promise; and nothing that had not begun when it came.
 */

import { expect } from "vitest";
import type { Call } from "../../../src/core/call.ts";
import { KeyedQueue } from "../../../src/core/concurrency.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import type { Iatt } from "../../../src/core/iatt.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { iovJoin } from "../../../src/core/iovec.ts";
import { UPCALL } from "../../../src/core/upcall-flags.ts";
import { defineXlator, exactly, wind } from "../../../src/core/xlator.ts";
import { Around } from "../../../xlators/debug/around.ts";
import { type Layer, type StartedGraph, stack, startGraph } from "../../support/build-graph.ts";
import { type FakeEnv, fakeEnv } from "../../support/fake-env.ts";
import { Session } from "../../support/session.ts";

/** A state of the file: a number for each cell, and the attributes. Set when it has been reached. */
interface State {
  cells: readonly number[];
  stat: Iatt;
  atMs: number;
}

const CHANGES: ReadonlySet<FopName> = new Set(["writev", "truncate", "ftruncate", "setattr", "fsetattr"]);
const READS_PASS_MAX_MS = 30;

/** Directly above the brick: lets one change a millisecond happen and remembers what came of it. */
class Recorder extends Around {
  readonly states: State[] = [];
  /** States that have begun to be reached. */
  begun = 0;
  /** By the args of the change that made it. */
  readonly indexOf = new WeakMap<object, number>();
  cellBytes = 0;
  file: Fd | undefined;
  readonly #queue = new KeyedQueue<string>();

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    if (!CHANGES.has(fop)) return wind(this.child, fop, call, args);
    return this.#queue.run("", async () => {
      // Modification times are told apart by the millisecond.
      await new Promise<void>((resolve) => this.env.clock.after(1, resolve));
      this.indexOf.set(args, this.begun++);
      const reply = await wind(this.child, fop, call, args);
      await this.record(call);
      return reply;
    });
  }

  async record(call: Call): Promise<void> {
    const fd = this.file!;
    const { stat } = await this.child.fstat(call, { fd });
    const { data } = await this.child.readv(call, { fd, offset: 0, size: stat.size + 1, flags: 0 });
    const bytes = iovJoin(data);
    const cells: number[] = [];
    for (let at = 0; at < bytes.length; at += this.cellBytes) cells.push(bytes[at]!);
    this.states.push({ cells, stat, atMs: this.env.clock.nowMs() });
  }

  tellOfChange(): void {
    const { gfid } = this.file!.inode;
    const upcall = { kind: "cache-invalidation", gfid, flags: UPCALL.SIZE | UPCALL.TIMES, expireSec: 0 };
    this.notifyParents({ type: "upcall", upcall: upcall as never });
  }
}

/** Between the caches and the recorder: calls and replies take their time and overtake each other. */
class Slow extends Around {
  protected override async around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    await this.#pause();
    try {
      return await wind(this.child, fop, call, args);
    } finally {
      await this.#pause();
    }
  }

  #pause(): Promise<void> {
    const { clock, random } = this.env;
    const ms = random.float() < 0.3 ? 0 : Math.floor(random.float() * READS_PASS_MAX_MS);
    return new Promise((resolve) => clock.after(ms, resolve));
  }
}

const recorder = defineXlator({
  type: "test/recorder",
  children: exactly(1),
  options: {},
  create: (init) => new Recorder(init),
});
const slow = defineXlator({
  type: "test/slow",
  children: exactly(1),
  options: {},
  create: (init) => new Slow(init),
});

export interface WorldOptions {
  readonly seed: number;
  /** From the bottom up. */
  readonly caches: readonly Layer[];
  readonly cellBytes: number;
  readonly cells: number;
  /** How old contents may be, and attributes. */
  readonly dataAgeMaxMs: number;
  readonly statAgeMaxMs: number;
}

/** What a client asked and what it was told, to be judged when all states are known. */
interface Answer {
  readonly what: string;
  readonly oldest: number;
  readonly newest: number;
  readonly fits: (states: readonly State[]) => boolean;
  readonly shows: string;
}

export class World {
  readonly env: FakeEnv;
  readonly #options: WorldOptions;
  readonly #graph: StartedGraph;
  readonly #recorder: Recorder;
  readonly #here: Session;
  readonly #there: Session;
  readonly #fds: Fd[];
  readonly #thereFd: Fd;
  readonly #answers: Answer[] = [];
  readonly #underWay = new Set<Promise<void>>();
  /** The oldest state that this client may be shown, by what it has done and heard of. */
  #seen = 0;
  #nextValue = 1;

  private constructor(
    options: WorldOptions,
    env: FakeEnv,
    graph: StartedGraph,
    sessions: readonly [Session, Session],
    fds: readonly Fd[],
    thereFd: Fd,
  ) {
    this.#options = options;
    this.env = env;
    this.#graph = graph;
    this.#recorder = graph.xlator<Recorder>("recorder");
    [this.#here, this.#there] = sessions;
    this.#fds = [...fds];
    this.#thereFd = thereFd;
  }

  static async make(options: WorldOptions): Promise<World> {
    const env = fakeEnv(options.seed);
    const layers: Layer[] = [
      { name: "brick", type: "storage/memory" },
      { name: "recorder", type: "test/recorder" },
      { name: "slow", type: "test/slow" },
      ...options.caches,
    ];
    const graph = await startGraph(stack(...layers), { env, definitions: [recorder, slow], contracts: true });
    const here = new Session(graph.top);
    const there = new Session(graph.xlator("recorder"), { table: here.table });
    const work = (async () => {
      const bottom = graph.xlator<Recorder>("recorder");
      const first = await there.create("f");
      const inode = await there.inode("f");
      bottom.cellBytes = options.cellBytes;
      bottom.file = first;
      await there.write(first, Buffer.alloc(options.cells * options.cellBytes, 0));
      const fds = [await here.open(inode), await here.open(inode)];
      return new World(options, env, graph, [here, there], fds, first);
    })();
    return until(work, env);
  }

  /** Reads some cells through one of two open files. */
  read(which: number, from: number, count: number): void {
    const { cellBytes, dataAgeMaxMs } = this.#options;
    const oldest = this.#oldest(dataAgeMaxMs);
    const fd = this.#fds[which]!;
    this.#start(async () => {
      const bytes = await this.#here.read(fd, from * cellBytes, count * cellBytes);
      const shown = Array.from({ length: count }, (_unused, cell) => bytes[cell * cellBytes]);
      for (let at = 0; at < bytes.length; at++)
        if (bytes[at] !== shown[Math.floor(at / cellBytes)]) throw new Error(`a cell is torn at ${at}`);
      this.#answers.push({
        what: `read of ${count} cells from ${from}`,
        oldest,
        newest: this.#recorder.begun,
        fits: (states) =>
          shown.every((value, cell) => states.some(({ cells }) => cells[from + cell] === value)),
        shows: JSON.stringify(shown),
      });
    });
  }

  stat(kind: "stat" | "fstat" | "lookup" | "readdirp"): void {
    const oldest = this.#oldest(this.#options.statAgeMaxMs);
    this.#start(async () => {
      const stat = await this.#askStat(kind);
      // A listing may leave attributes out.
      if (stat === undefined) return;
      this.#answers.push({
        what: kind,
        oldest,
        newest: this.#recorder.begun,
        fits: (states) =>
          states.some(
            (state) =>
              state.stat.size === stat.size &&
              state.stat.mtime === stat.mtime &&
              state.stat.mtimeNsec === stat.mtimeNsec,
          ),
        shows: `${stat.size} bytes of ${stat.mtime}.${stat.mtimeNsec}`,
      });
    });
  }

  async #askStat(kind: "stat" | "fstat" | "lookup" | "readdirp"): Promise<Iatt | undefined> {
    const { top, call, root } = this.#here;
    const fd = this.#fds[0]!;
    const { inode } = fd;
    switch (kind) {
      case "stat":
        return (await top.stat(call, { loc: { inode } })).stat;
      case "fstat":
        return (await top.fstat(call, { fd })).stat;
      case "lookup":
        return (await top.lookup(call, { loc: { inode, parent: root, name: "f" } })).stat;
      case "readdirp": {
        const dir = await this.#here.opendir();
        try {
          const { entries } = await top.readdirp(call, { fd: dir, size: 4096, offset: 0n });
          const { stat } = entries.find(({ name }) => name === "f")!;
          return stat.ctime === 0 ? undefined : stat;
        } finally {
          await this.#here.release(dir);
        }
      }
    }
  }

  write(by: "here" | "there", which: number, from: number, count: number): void {
    const { cellBytes } = this.#options;
    const data = [Buffer.alloc(count * cellBytes, this.#nextValue++ % 256)];
    const offset = from * cellBytes;
    if (by === "there") {
      const args = { fd: this.#thereFd, data, offset, flags: 0 };
      this.#start(() => this.#there.top.writev(this.#there.call, args));
    } else {
      const args = { fd: this.#fds[which]!, data, offset, flags: 0 };
      this.#start(async () => {
        await this.#here.top.writev(this.#here.call, args);
        this.#hasSeen(args);
      });
    }
  }

  truncate(by: "here" | "there", cells: number): void {
    const args = { loc: { inode: this.#thereFd.inode }, offset: cells * this.#options.cellBytes };
    if (by === "there") this.#start(() => this.#there.top.truncate(this.#there.call, args));
    else
      this.#start(async () => {
        await this.#here.top.truncate(this.#here.call, args);
        this.#hasSeen(args);
      });
  }

  /** The brick tells this client of what others did. */
  tell(): void {
    this.#recorder.tellOfChange();
    this.#seen = Math.max(this.#seen, this.#recorder.states.length - 1);
  }

  /** Lets everything end and judges all answers. */
  async judge(): Promise<void> {
    const all = Promise.all(this.#underWay);
    await until(all, this.env);
    const { states } = this.#recorder;
    for (const { what, oldest, newest, fits, shows } of this.#answers) {
      const allowed = states.slice(oldest, newest + 1);
      const fault = `${what} shows ${shows}, of states ${oldest} to ${newest}`;
      expect(fits(allowed), fault).toBe(true);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await until(
      Promise.all([this.#here.end(), this.#there.end()]).then(() => this.#graph[Symbol.asyncDispose]()),
      this.env,
    );
  }

  #start(work: () => Promise<unknown>): void {
    const running: Promise<void> = work().then(() => {
      this.#underWay.delete(running);
    });
    this.#underWay.add(running);
  }

  #hasSeen(args: object): void {
    this.#seen = Math.max(this.#seen, this.#recorder.indexOf.get(args)!);
  }

  /** Index of the oldest state that an answer may show that is asked for now. */
  #oldest(ageMaxMs: number): number {
    const since = this.env.clock.nowMs() - ageMaxMs;
    return Math.max(
      this.#seen,
      this.#recorder.states.findLastIndex(({ atMs }) => atMs <= since),
    );
  }
}

/** Moves time on until the work is done. */
async function until<R>(work: Promise<R>, env: FakeEnv): Promise<R> {
  let over = false;
  const done = work.finally(() => {
    over = true;
  });
  done.catch(() => {});
  for (let turns = 0; !over; turns++) {
    if (turns > 20_000) throw new Error("the world stands still");
    await env.clock.advance(1);
  }
  return done;
}
