/**
 * Programs that use the volume: each client writes, reads, truncates, syncs and makes holes in a few shared
 * files, and makes, renames and removes names, one call after the other with pauses; what each call did and
 * found goes to the model.
 *
 * Names in the directory `shared` are made and removed by all clients, those in `own-CLIENT` are made,
 * linked, renamed and removed by one of them; all look at all.
 */

import { type ErrnoName, FopError } from "../../src/core/errors.ts";
import { gfidText } from "../../src/core/gfid.ts";
import { S_IFDIR, SETATTR } from "../../src/core/iatt.ts";
import type { Fd, Inode } from "../../src/core/inode.ts";
import { O_DSYNC } from "../../src/core/open-flags.ts";
import type { Prng } from "../support/prng.ts";
import { randomOf } from "./clock.ts";
import type { Cluster, SimClient } from "./cluster.ts";
import { Edge } from "./edge.ts";
import type { Hold, LockModel } from "./lock-model.ts";
import { ABSENT, CELL_BYTES, cellBytes, EMPTY, FileModel, type Model, modeText, writeName } from "./model.ts";
import type { Change, Register } from "./register.ts";

/** What the seed decides about the workload. */
export interface WorkloadPlan {
  readonly clients: number;
  readonly files: number;
  /** Calls come this close to each other, on average. */
  readonly pauseMs: number;
  readonly weights: Readonly<Record<Action, number>>;
  /** Cells that a file may have; larger files take heals of several steps. */
  readonly cells: number;
  /** Largest write, in cells. */
  readonly writeCellsMax: number;
  /** Reads ask all copies first, as a kernel whose attributes expire at once. */
  readonly freshReads: boolean;
  /** Share of the writes that ask for a sync themselves. */
  readonly dsyncShare: number;
}

export const ACTIONS = [
  ...(["write", "read", "truncate", "fsync", "allocate", "punch", "chmod", "setxattr", "look"] as const),
  ...(["create", "unlink", "rename", "lookup", "list", "reopen", "link", "lock"] as const),
] as const;
export type Action = (typeof ACTIONS)[number];

const SHARED = "shared";
const NAMES = ["a", "b", "c", "d"] as const;
const XATTR = "user.sim";
/** Bytes of a file that programs lock. */
const LOCK_BYTES = 2;
const MODE = 0o644;

/** Numbers that are told apart over all clients. */
interface Counter {
  next: number;
}

export class Workload {
  readonly #cluster: Cluster;
  readonly #plan: WorkloadPlan;
  readonly #model: Model;
  readonly #locks: LockModel;
  readonly #numbers: Counter = { next: 1 };
  readonly actors: Actor[] = [];
  #stopped = false;

  constructor(cluster: Cluster, plan: WorkloadPlan, model: Model, locks: LockModel) {
    this.#cluster = cluster;
    this.#plan = plan;
    this.#model = model;
    this.#locks = locks;
  }

  get running(): boolean {
    return this.actors.some((actor) => actor.running);
  }

  /** Makes the directories and files, while all is well. */
  async prepare(client: SimClient): Promise<void> {
    const edge = new Edge(client.graph!.top, randomOf(this.#cluster.seed, "prepare"), "prepare");
    const dirs = [SHARED, ...Array.from({ length: this.#plan.clients }, (_, i) => `own-client-${i}`)];
    for (const name of dirs) await edge.mkdir(edge.root, name, edge.newGfid());
    for (let number = 0; number < this.#plan.files; number++) {
      const name = `file-${number}`;
      await edge.create(edge.root, name, edge.newGfid());
      this.#model.files.push(new FileModel(name, number, this.#plan.cells, MODE));
    }
    await edge.closeAll();
  }

  /** A client begins to work; one that was killed before gets a new actor. */
  start(client: SimClient): void {
    const before = this.actors.filter((actor) => actor.client === client).length;
    const random = randomOf(this.#cluster.seed, `actor ${client.name} ${before}`);
    const shared = { cluster: this.#cluster, plan: this.#plan, model: this.#model, locks: this.#locks };
    const actor = new Actor(client, { ...shared, random, numbers: this.#numbers });
    this.actors.push(actor);
    actor
      .run(() => this.#stopped)
      .catch((error: Error) => {
        actor.abandon();
        this.#model.fail(`${client.name}: not an errno but a bug: ${error.stack ?? error.message}`);
      });
  }

  /** The client died: what it had under way has no answer. */
  abandon(client: SimClient): void {
    for (const actor of this.actors) if (actor.client === client) actor.abandon();
  }

  stop(): void {
    this.#stopped = true;
  }
}

interface ActorInit {
  readonly cluster: Cluster;
  readonly plan: WorkloadPlan;
  readonly model: Model;
  readonly locks: LockModel;
  readonly random: Prng;
  readonly numbers: Counter;
}

export class Actor {
  readonly client: SimClient;
  readonly #cluster: Cluster;
  readonly #plan: WorkloadPlan;
  readonly #model: Model;
  readonly #locks: LockModel;
  /** The one lock it has. Who never has two never waits in a circle. */
  #held: { readonly fd: Fd; readonly byte: number; readonly hold: Hold } | undefined;
  readonly #random: Prng;
  readonly #numbers: Counter;
  readonly #edge: Edge;
  readonly #fds: (Fd | undefined)[] = [];
  readonly #dirs = new Map<string, Inode>();
  readonly #open = new Set<Change>();
  running = true;
  #abandoned = false;
  /** When the call under way began; for whoever watches that all end. */
  busySinceMs: number | undefined;
  busyWith = "";

  constructor(client: SimClient, init: ActorInit) {
    this.client = client;
    this.#cluster = init.cluster;
    this.#plan = init.plan;
    this.#model = init.model;
    this.#locks = init.locks;
    this.#random = init.random;
    this.#numbers = init.numbers;
    this.#edge = new Edge(client.graph!.top, init.random, client.name);
  }

  abandon(): void {
    this.#abandoned = true;
    this.running = false;
    this.#letGo();
    this.busySinceMs = undefined;
    for (const change of this.#open) this.#model.end(change, "lost");
    this.#open.clear();
  }

  async run(stopped: () => boolean): Promise<void> {
    const actions = ACTIONS.flatMap((action) =>
      // A kept plan knows nothing of actions that came later.
      Array.from({ length: this.#plan.weights[action] ?? 0 }, () => action),
    );
    while (!stopped() && !this.#abandoned) {
      const pauseMs = this.#random.chance(0.3) ? 0 : this.#random.float() * 2 * this.#plan.pauseMs;
      await this.#cluster.clock.sleep(pauseMs);
      if (stopped() || this.#abandoned) break;
      await this.#act(this.#random.pick(actions));
    }
    if (this.#abandoned) return;
    this.busySinceMs = this.#cluster.clock.nowMs();
    this.busyWith = "close";
    this.#letGo();
    await this.#edge.closeAll();
    this.busySinceMs = undefined;
    this.running = this.#abandoned;
  }

  async #act(action: Action): Promise<void> {
    this.busySinceMs = this.#cluster.clock.nowMs();
    this.busyWith = action;
    try {
      await this.#perform(action);
    } catch (error) {
      if (!(error instanceof FopError)) throw error;
      this.#note(`${action}: ${error.code}`);
    } finally {
      this.busySinceMs = undefined;
    }
  }

  #perform(action: Action): Promise<void> {
    switch (action) {
      case "write":
        return this.#write();
      case "read":
        return this.#read();
      case "truncate":
        return this.#truncate();
      case "fsync":
        return this.#fsync();
      case "allocate":
        return this.#allocate();
      case "punch":
        return this.#punch();
      case "chmod":
        return this.#chmod();
      case "setxattr":
        return this.#setxattr();
      case "look":
        return this.#look();
      case "create":
        return this.#create();
      case "unlink":
        return this.#unlink();
      case "rename":
        return this.#rename();
      case "lookup":
        return this.#lookup();
      case "list":
        return this.#list();
      case "reopen":
        return this.#reopen();
      case "link":
        return this.#link();
      case "lock":
        return this.#lock();
    }
  }

  #note(what: string): void {
    this.#cluster.trace.add(this.client.name, what);
  }

  /** A file and an open fd of it. */
  async #file(): Promise<{ file: FileModel; fd: Fd }> {
    const file = this.#random.pick(this.#model.files);
    const open = this.#fds[file.number];
    if (open) return { file, fd: open };
    const { inode } = await this.#edge.lookup(this.#edge.root, file.name);
    const fd = await this.#edge.open(inode);
    this.#fds[file.number] = fd;
    return { file, fd };
  }

  /** A range of cells: near the beginning, near the step of a heal, or anywhere. */
  #range(file: FileModel): [from: number, to: number] {
    const size = this.#random.int(1, this.#plan.writeCellsMax);
    const last = Math.max(0, file.cellCount - size);
    const hot = this.#random.pick([0, Math.floor(last / 2), last]);
    const near = Math.min(last, Math.max(0, hot + this.#random.int(-8, 8)));
    const from = this.#random.chance(0.7) ? near : this.#random.int(0, last);
    return [from, Math.min(file.cellCount, from + size)];
  }

  /** Runs a changing call and tells the model how it ended. */
  async #change(what: string, enter: (change: Change) => void, run: () => Promise<boolean>): Promise<void> {
    const change = this.#model.begin(this.client.name, what);
    enter(change);
    this.#open.add(change);
    let code: ErrnoName | "short" | undefined;
    try {
      if (!(await run())) code = "short";
    } catch (error) {
      if (!(error instanceof FopError)) throw error;
      code = error.code;
    }
    if (this.#abandoned) return;
    this.#open.delete(change);
    this.#model.end(change, code === undefined ? "ok" : "failed");
    const took = (change.endMs - change.startMs).toFixed(1);
    this.#note(`${what}: ${code ?? "ok"} ${took} ms`);
  }

  async #write(): Promise<void> {
    const { file, fd } = await this.#file();
    const [from, to] = this.#range(file);
    const number = this.#numbers.next++;
    const value = writeName(number);
    const bytes = cellBytes(file.number, from, to, number);
    const dsync = this.#random.chance(this.#plan.dsyncShare);
    await this.#change(
      `write ${value} ${file.name} [${from},${to})${dsync ? " dsync" : ""}`,
      (change) => file.write(change, from, to, value),
      async () => {
        const size = await this.#edge.write(fd, bytes, from * CELL_BYTES, dsync ? O_DSYNC : 0);
        return size === bytes.length;
      },
    );
  }

  async #read(): Promise<void> {
    const { file, fd } = await this.#file();
    const [from, to] = this.#range(file);
    const startTick = this.#model.tick();
    if (this.#plan.freshReads) await this.#edge.refresh(fd.inode);
    const bytes = await this.#edge.read(fd, from * CELL_BYTES, (to - from) * CELL_BYTES);
    if (this.#abandoned) return;
    this.#note(`read ${file.name} [${from},${to})`);
    this.#model.judgeBytes(this.client.name, file, from, to, bytes, startTick);
  }

  async #truncate(): Promise<void> {
    const { file, fd } = await this.#file();
    const [cell] = this.#range(file);
    await this.#change(
      `truncate ${file.name} ${cell}`,
      (change) => file.write(change, cell, file.cellCount, EMPTY),
      async () => {
        await this.#edge.top.ftruncate(this.#edge.call, { fd, offset: cell * CELL_BYTES });
        return true;
      },
    );
  }

  async #fsync(): Promise<void> {
    const { file, fd } = await this.#file();
    const startTick = this.#model.tick();
    await this.#edge.top.fsync(this.#edge.call, { fd, datasync: this.#random.chance(0.5) });
    if (this.#abandoned) return;
    this.#note(`fsync ${file.name}`);
    this.#model.synced(file, startTick);
  }

  async #allocate(): Promise<void> {
    const { file, fd } = await this.#file();
    const [from, to] = this.#range(file);
    const range = { offset: from * CELL_BYTES, size: (to - from) * CELL_BYTES };
    const { top, call } = this.#edge;
    await top.fallocate(call, { fd, keepSize: this.#random.chance(0.5), ...range });
    this.#note(`fallocate ${file.name} [${from},${to})`);
  }

  async #punch(): Promise<void> {
    const { file, fd } = await this.#file();
    const [from, to] = this.#range(file);
    const fop = this.#random.chance(0.5) ? "discard" : "zerofill";
    const range = { offset: from * CELL_BYTES, size: (to - from) * CELL_BYTES };
    await this.#change(
      `${fop} ${file.name} [${from},${to})`,
      (change) => file.write(change, from, to, EMPTY),
      async () => {
        await this.#edge.top[fop](this.#edge.call, { fd, ...range });
        return true;
      },
    );
  }

  async #chmod(): Promise<void> {
    const { file, fd } = await this.#file();
    const mode = 0o600 + this.#random.int(0, 0o77);
    await this.#change(
      `chmod ${file.name} ${modeText(mode)}`,
      (change) => file.mode.write(change, modeText(mode)),
      async () => {
        await this.#edge.setattr(fd.inode, SETATTR.MODE, { mode });
        return true;
      },
    );
  }

  async #setxattr(): Promise<void> {
    const { file, fd } = await this.#file();
    const value = `x${this.#numbers.next++}`;
    await this.#change(
      `setxattr ${file.name} ${value}`,
      (change) => file.xattr.write(change, value),
      async () => {
        await this.#edge.setxattr(fd.inode, XATTR, value);
        return true;
      },
    );
  }

  /** Mode and xattr of a file. */
  async #look(): Promise<void> {
    const { file, fd } = await this.#file();
    const startTick = this.#model.tick();
    const { mode } = await this.#edge.refresh(fd.inode);
    if (this.#abandoned) return;
    this.#model.judge(`${this.client.name}: mode of ${file.name}`, file.mode, modeText(mode), startTick);
    const second = this.#model.tick();
    if (this.#plan.freshReads) await this.#edge.refresh(fd.inode);
    const value = await this.#edge.getxattr(fd.inode, XATTR).catch(whenMissing("ENODATA"));
    if (this.#abandoned) return;
    this.#note(`look at ${file.name}: ${modeText(mode)} ${value}`);
    this.#model.judge(`${this.client.name}: xattr of ${file.name}`, file.xattr, value, second);
  }

  /** A directory and a name in it. `mine`: one in which this client alone changes names. */
  async #place(
    mine: boolean,
  ): Promise<{ dir: Inode; name: string; register: Register<string>; path: string }> {
    const dirName = mine || this.#random.chance(0.4) ? `own-${this.client.name}` : SHARED;
    const name = this.#random.pick(NAMES);
    const path = `${dirName}/${name}`;
    return { dir: await this.#dir(dirName), name, path, register: this.#model.name(path) };
  }

  async #dir(name: string): Promise<Inode> {
    const known = this.#dirs.get(name);
    if (known) return known;
    const { inode } = await this.#edge.lookup(this.#edge.root, name);
    this.#dirs.set(name, inode);
    return inode;
  }

  async #create(): Promise<void> {
    const { dir, name, register, path } = await this.#place(false);
    const gfid = this.#edge.newGfid();
    const directory = this.#random.chance(0.2);
    await this.#change(
      `${directory ? "mkdir" : "create"} ${path} ${shortId(gfid)}`,
      (change) => register.write(change, shortId(gfid)),
      async () => {
        if (directory) await this.#edge.mkdir(dir, name, gfid);
        else await this.#edge.close(await this.#edge.create(dir, name, gfid));
        return true;
      },
    );
  }

  async #unlink(): Promise<void> {
    const { dir, name, register, path } = await this.#place(false);
    const { inode } = await this.#edge.lookup(dir, name);
    const directory = inode.type === S_IFDIR;
    await this.#change(
      `${directory ? "rmdir" : "unlink"} ${path}`,
      (change) => register.write(change, ABSENT),
      async () => {
        if (directory) await this.#edge.rmdir(dir, name);
        else await this.#edge.unlink(dir, name);
        return true;
      },
    );
  }

  async #rename(): Promise<void> {
    const { dir, name, register, path } = await this.#place(true);
    const to = this.#random.pick(NAMES.filter((other) => other !== name));
    const { inode } = await this.#edge.lookup(dir, name);
    // Two names of one file: the kernel does nothing then.
    const there = await this.#edge.lookup(dir, to).catch(whenMissing("ENOENT"));
    if (there !== ABSENT && (there as { inode: Inode }).inode === inode) return;
    const target = this.#model.name(path.replace(/[^/]+$/, to));
    await this.#change(
      `rename ${path} to ${to}`,
      (change) => {
        register.write(change, ABSENT);
        target.write(change, shortId(inode.gfid));
      },
      async () => {
        await this.#edge.rename(dir, name, to);
        return true;
      },
    );
  }

  async #lookup(): Promise<void> {
    const path = this.#random.pick(this.#paths());
    const [dirName, name] = path.split("/") as [string, string];
    const dir = await this.#dir(dirName);
    const startTick = this.#model.tick();
    const found = await this.#edge
      .lookup(dir, name)
      .then(({ inode }) => shortId(inode.gfid), whenMissing("ENOENT"));
    if (this.#abandoned) return;
    this.#note(`lookup ${path}: ${found}`);
    this.#model.judge(`${this.client.name}: ${path}`, this.#model.name(path), found, startTick);
  }

  #paths(): string[] {
    const dirs = [SHARED, ...Array.from({ length: this.#plan.clients }, (_, i) => `own-client-${i}`)];
    return dirs.flatMap((dir) => NAMES.map((name) => `${dir}/${name}`));
  }

  async #link(): Promise<void> {
    const { dir, name, path } = await this.#place(true);
    const to = this.#random.pick(NAMES.filter((other) => other !== name));
    const { inode } = await this.#edge.lookup(dir, name);
    if (inode.type === S_IFDIR) return;
    const target = this.#model.name(path.replace(/[^/]+$/, to));
    await this.#change(
      `link ${path} to ${to}`,
      (change) => target.write(change, shortId(inode.gfid)),
      async () => {
        await this.#edge.link(inode, dir, to);
        return true;
      },
    );
  }

  async #list(): Promise<void> {
    const dirName = this.#random.chance(0.5) ? SHARED : `own-${this.client.name}`;
    const dir = await this.#dir(dirName);
    const startTick = this.#model.tick();
    if (this.#plan.freshReads) await this.#edge.refresh(dir);
    const names = await this.#edge.list(dir);
    if (this.#abandoned) return;
    this.#note(`list ${dirName}: ${names.join(" ")}`);
    for (const name of NAMES) {
      const path = `${dirName}/${name}`;
      this.#model.judgeListed(
        `${this.client.name}: ${path}`,
        this.#model.name(path),
        names.includes(name),
        startTick,
      );
    }
  }

  /** Takes a lock, or gives back the one it has. */
  async #lock(): Promise<void> {
    const held = this.#held;
    if (held) {
      this.#letGo();
      await this.#edge.unlock(held.fd, held.byte);
      this.#note(`unlock ${held.hold.place}`);
      return;
    }
    const { file, fd } = await this.#file();
    const byte = this.#random.int(0, LOCK_BYTES - 1);
    const wait = this.#random.chance(0.3);
    const place = `${file.name} byte ${byte}`;
    const hold = { client: this.client.name, place, sinceMs: this.#cluster.clock.nowMs() };
    await this.#edge.lock(fd, byte, wait);
    if (this.#abandoned) return;
    this.#note(`lock ${place}`);
    this.#held = { fd, byte, hold };
    this.#locks.granted(hold);
  }

  /** The lock counts as given back; the brick may hear of that later. */
  #letGo(): void {
    if (this.#held) this.#locks.released(this.#held.hold);
    this.#held = undefined;
  }

  async #reopen(): Promise<void> {
    const number = this.#random.int(0, this.#model.files.length - 1);
    const fd = this.#fds[number];
    this.#fds[number] = undefined;
    if (this.#held?.fd === fd) this.#letGo();
    if (fd) await this.#edge.close(fd);
    this.#note(`close file-${number}`);
  }
}

function whenMissing(code: ErrnoName): (error: unknown) => string {
  return (error) => {
    if (error instanceof FopError && error.code === code) return ABSENT;
    throw error;
  };
}

/** Enough of a gfid to know it by. */
export function shortId(gfid: Parameters<typeof gfidText>[0]): string {
  return gfidText(gfid).slice(0, 8);
}
