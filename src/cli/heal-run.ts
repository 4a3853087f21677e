/**
 * Healing in this process, for `mortar heal`: what the indices list, everything, or single files; and what
 * came of it, object by object.
 *
 * Heals run as the heal daemon's do, beside those of any daemon: each file has one healer at a time.
 */

import { setTimeout as pause } from "node:timers/promises";
import { FullCrawl } from "../../xlators/cluster/replicate/crawl/full-crawl.ts";
import {
  type FinishedHeal,
  HealQueue,
  type RunningHeal,
} from "../../xlators/cluster/replicate/crawl/heal-queue.ts";
import { crawlIndex } from "../../xlators/cluster/replicate/crawl/index-crawl.ts";
import { listBrick } from "../../xlators/cluster/replicate/crawl/info.ts";
import { PID_HEAL_DAEMON } from "../../xlators/cluster/replicate/crawl/set-healer.ts";
import type { HealOutcome } from "../../xlators/cluster/replicate/heal/report.ts";
import { internalCall } from "../core/call.ts";
import { UserError } from "../core/errors.ts";
import { type Gfid, gfidText } from "../core/gfid.ts";
import type { OpenSet } from "../process/replicas.ts";
import { PID_HEAL_TOOL } from "./heal-info.ts";
import { ObjectNames } from "./heal-names.ts";
import { type Progress, ProgressTable, sizeText } from "./heal-progress.ts";

/** What came of one object in the end. */
export interface HealedObject {
  readonly name: string;
  readonly gfid: string;
  readonly outcome: HealOutcome;
  readonly bytesMoved: number;
  readonly why: string | undefined;
}

/** Rounds over the indices: a directory that was healed may list what it made. More than this is a loop. */
const ROUNDS_MAX = 1000;
/** How often to look whether another process has healed what it heals, e.g. a daemon. */
const OTHERS_PAUSE_MS = 1000;

export class HealRun {
  readonly #sets: readonly OpenSet[];
  readonly #queues: readonly HealQueue[];
  readonly #objects = new Map<string, HealedObject>();
  /** What another process heals at the moment. */
  readonly #busy = new Map<string, { queue: HealQueue; gfid: Gfid; path: string | undefined }>();
  readonly #table = new ProgressTable();
  readonly #names: ObjectNames;
  readonly #onObject: (object: HealedObject) => void;

  /**
   * `onObject` hears of each object that was worth a word: when it is healed, once when another process turns
   * out to heal it, and at the end of the run of what is not healed: an object may have to wait for its
   * directory.
   */
  constructor(sets: readonly OpenSet[], onObject: (object: HealedObject) => void = () => {}) {
    this.#sets = sets;
    this.#names = new ObjectNames(sets);
    this.#onObject = onObject;
    const call = internalCall(PID_HEAL_DAEMON);
    this.#queues = sets.map(({ set }) => {
      const onFinished = (finished: FinishedHeal): void => this.#finished(queue, finished);
      const queue: HealQueue = new HealQueue(set, call, { onFinished });
      return queue;
    });
  }

  get progress(): Progress {
    const running: RunningHeal[] = this.#queues.flatMap((queue) => queue.running);
    return this.#table.at(running, this.#busy.size, this.#names.of);
  }

  /** Those that needed something, in the order in which they were first met. */
  get objects(): readonly HealedObject[] {
    return [...this.#objects.values()];
  }

  /** Ends at the next step; what is left stays marked. */
  async stop(): Promise<void> {
    await Promise.all(this.#queues.map((queue) => queue.stop()));
  }

  /**
   * Heals what the indices list until a round heals nothing, and waits for what another process heals
   * meanwhile. Throws UserError when a brick is away.
   */
  async index(): Promise<void> {
    requireAllBricks(this.#sets);
    await this.#estimate();
    await this.#rounds();
    while (this.#busy.size > 0) {
      await pause(OTHERS_PAUSE_MS);
      if (this.#queues.some(({ signal }) => signal.aborted)) break;
      await Promise.all([...this.#busy.values()].map(({ queue, gfid, path }) => queue.heal(gfid, path)));
    }
    for (const object of this.#objects.values()) if (isLeft(object)) this.#onObject(object);
  }

  async #rounds(): Promise<void> {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const counts = await Promise.all(
        this.#queues.flatMap((queue) => queue.set.children.map((_, child) => crawlIndex(queue, child))),
      );
      if (counts.every(({ healed }) => healed.size === 0)) return;
    }
  }

  /** Walks all copies, then heals what the indices list by then. Throws UserError when a brick is away. */
  async full(onLook: (path: string) => void): Promise<void> {
    requireAllBricks(this.#sets);
    await this.#estimate();
    for (const queue of this.#queues) await new FullCrawl(queue, onLook).run();
    await this.index();
  }

  /** How much there is to do and what it is called, for the progress line. */
  async #estimate(): Promise<void> {
    for (const { set } of this.#sets)
      for (const child of set.children.keys()) {
        const objects = await listBrick(set, child, internalCall(PID_HEAL_TOOL)).catch(() => []);
        await this.#names.learn(objects.map(({ path }) => path));
        for (const { gfid, inspection } of objects)
          if (inspection.status !== "split-brain") this.#table.expect(gfidText(gfid), inspection.bytesToHeal);
      }
  }

  #finished(queue: HealQueue, { gfid, path, report }: FinishedHeal): void {
    const key = gfidText(gfid);
    const { outcome, why } = report;
    if (outcome === "busy") this.#busy.set(key, { queue, gfid, path });
    else this.#busy.delete(key);
    const before = this.#objects.get(key);
    if (before?.outcome === "busy" && isSilent(outcome)) this.#table.finishElsewhere(key);
    else if (outcome !== "busy") this.#table.finish(key, report.bytesTotal);
    if (isSilent(outcome)) {
      // A later round that finds nothing to do does not take back what an earlier one did.
      if (before?.outcome === "busy") this.#objects.delete(key);
      return;
    }
    const bytesMoved = (before?.bytesMoved ?? 0) + report.bytesMoved;
    const object = { name: this.#names.of(path, gfid), gfid: key, outcome, bytesMoved, why };
    this.#objects.set(key, object);
    if (outcome === "healed" || (outcome === "busy" && before?.outcome !== "busy")) this.#onObject(object);
  }
}

function isSilent(outcome: HealOutcome): boolean {
  return outcome === "clean" || outcome === "not-needed" || outcome === "gone";
}

/** Not healed, and that was not told yet. */
function isLeft({ outcome }: HealedObject): boolean {
  return outcome !== "healed" && outcome !== "busy";
}

/** A heal needs all copies (spec translators.md 4.8). Throws UserError that names those that are away. */
export function requireAllBricks(sets: readonly OpenSet[]): void {
  const away = sets.flatMap(({ set, bricks }) => bricks.filter((_, child) => !set.isUp(child)));
  if (away.length === 0) return;
  const names = away.map((brick) => `"${brick}"`).join(", ");
  throw new UserError(
    `heal: ${away.length === 1 ? `brick ${names} is` : `bricks ${names} are`} not connected: ` +
      "a heal needs all copies; " +
      `start ${away.length === 1 ? "it" : "them"}, then try again`,
  );
}

/** Whether an object is as it should be now. */
export function isDone(outcome: HealOutcome): boolean {
  return outcome === "healed" || isSilent(outcome);
}

const WORDS: Readonly<Partial<Record<HealOutcome, string>>> = {
  healed: "healed",
  partial: "healed in part",
  "split-brain": "in split brain",
  busy: "another process heals it",
  unavailable: "not healed: a brick did not take part",
  "arbiter-only": "not healed: only the arbiter's copy is good, and it has no data",
  failed: "not healed",
};

/** One line for people. */
export function describeObject({ name, outcome, bytesMoved, why }: HealedObject): string {
  const moved = bytesMoved > 0 ? `, ${sizeText(bytesMoved)} moved` : "";
  return `${name}: ${WORDS[outcome] ?? outcome}${moved}${why === undefined ? "" : `: ${why}`}`;
}

/** The line at the end. */
export function describeTotals(objects: readonly HealedObject[]): string {
  const healed = objects.filter(({ outcome }) => outcome === "healed").length;
  const splitBrain = objects.filter(({ outcome }) => outcome === "split-brain").length;
  const left = objects.length - healed - splitBrain;
  if (objects.length === 0) return "nothing to heal";
  const moved = objects.reduce((sum, { bytesMoved }) => sum + bytesMoved, 0);
  return `${healed} healed, ${splitBrain} in split brain, ${left} not healed; ${sizeText(moved)} moved`;
}
