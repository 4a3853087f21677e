/**
 * A running volume that can be asked and told: the volfile it came with, the settings made on top of it, and
 * the live graph that has both.
 *
 * Settings survive a new volfile of the server, and end with the mount, unless `keep` writes them down. A
 * change that has to wait (a lock, a file that cannot be opened again) is refused when somebody asked for it
 * just now, and tried again every few seconds when it came from the server or the volfile's own file.
 */

import type { Env, Timer } from "../core/env.ts";
import { UserError } from "../core/errors.ts";
import type { Graph, Registry } from "../graph/graph.ts";
import { type LiveChange, LiveGraph } from "../graph/live-graph.ts";
import { SwitchBusy } from "../graph/move-open.ts";
import type { Volfile } from "../graph/volfile.ts";
import { findKey, type Target, whyUnused } from "./keys.ts";
import type { Setting } from "./profiles.ts";
import { warningsOf } from "./rules.ts";
import {
  applySettings,
  checkSetting,
  keptValue,
  type Settings,
  type Shown,
  showAll,
  showOne,
} from "./settings.ts";

const RETRY_MS = 5_000;

/** Where a volume's volfile comes from. */
export interface VolfileOrigin {
  /** As it is at its source now. Rejects with UserError. */
  load(): Promise<Volfile>;
}

export interface TunedInit {
  readonly registry: Registry;
  readonly env: Env;
  readonly top?: string;
  readonly beside?: readonly string[];
  readonly settings?: Settings;
  readonly startTimeoutMs?: number;
  readonly origin?: VolfileOrigin;
  /**
   * Writes settings down, for the next start and for who else uses the volume; without it they end with the
   * mount. Rejects with UserError.
   */
  readonly keep?: (settings: Settings) => Promise<void>;
}

/** What became of one setting. */
export interface SetOutcome {
  readonly key: string;
  readonly value: string;
  /** "unused": it is kept and changes nothing. */
  readonly outcome: "set" | "unchanged" | "skipped" | "unused";
  /** Why it was skipped or changes nothing, or how it took effect. */
  readonly note?: string;
}

export interface SetReport {
  readonly outcomes: readonly SetOutcome[];
  /** What the option does, where one was named. */
  readonly describe?: string;
  readonly warnings: readonly string[];
  /** The settings are there after the next start as well. */
  readonly kept: boolean;
  /** Why they are not, though they should be: one line. They hold until the end of this mount. */
  readonly notKept?: string;
  /** A new graph took over, rather than options of the running one. */
  readonly switched: boolean;
}

export class TunedVolume {
  readonly live: LiveGraph;
  readonly #init: TunedInit;
  #base: Volfile;
  #settings: Settings;
  #retry: Timer | undefined;
  /** Changes run one after the other, also those that look at the settings first. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(live: LiveGraph, base: Volfile, settings: Settings, init: TunedInit) {
    this.live = live;
    this.#base = base;
    this.#settings = settings;
    this.#init = init;
    live.onStop(() => this.#retry?.cancel());
  }

  /** Builds and starts the volume with its settings. Rejects with UserError. */
  static async start(base: Volfile, init: TunedInit): Promise<TunedVolume> {
    const { registry, env, top, beside, startTimeoutMs, settings = new Map() } = init;
    const volfile = applySettings(base, settings, registry);
    const live = await LiveGraph.start(volfile, {
      registry,
      env,
      ...(top === undefined ? {} : { top }),
      ...(beside === undefined ? {} : { beside }),
      ...(startTimeoutMs === undefined ? {} : { startTimeoutMs }),
    });
    return new TunedVolume(live, base, settings, init);
  }

  get graph(): Graph {
    return this.live.graph;
  }

  /** What was set on top of the volfile. */
  get settings(): Settings {
    return this.#settings;
  }

  /** Whether settings are there after the next start. */
  get keeps(): boolean {
    return this.#init.keep !== undefined;
  }

  /** The volfile of now, settings included. */
  get volfile(): Volfile {
    return this.live.graph.volfile;
  }

  /** Warnings about the values as they are. */
  warnings(): string[] {
    return warningsOf(valuesOf(this.all()));
  }

  /** Every key with its value. */
  all(): Shown[] {
    return showAll(this.volfile, this.#settings, this.#init.registry);
  }

  /** One key, by any of its names; several lines where sections differ. Throws UserError. */
  get(key: string): Shown[] {
    return showOne(key, this.volfile, this.#settings, this.#init.registry);
  }

  /** Sets one option. Rejects with UserError: unknown, read-only, a bad value, or not possible now. */
  set(key: string, value: string): Promise<SetReport> {
    return this.#inTurn(async () => {
      const target = checkSetting(key, value, this.volfile, this.#init.registry);
      if (target.kind === "refused") throw new UserError(`${key}: ${target.why}`);
      const report = await this.#settle([{ key, value, target }], []);
      return target.kind === "option" ? { ...report, describe: target.option.spec.describe } : report;
    });
  }

  /** Takes an option back to what the volfile says. Rejects with UserError. */
  reset(key: string): Promise<SetReport> {
    return this.#inTurn(async () => {
      const target = checkKey(key, this.volfile, this.#init.registry);
      const name = nameOf(target, key);
      if (!this.#settings.has(name)) throw new UserError(`${key}: was not set on this mount`);
      const settings = new Map(this.#settings);
      settings.delete(name);
      const change = await this.#taken(key, settings);
      const value = this.all().find((one) => one.key === name)?.value ?? "";
      return await this.#report(
        [{ key: name, value, outcome: "set", note: "as the volfile says" }],
        [name],
        change,
      );
    });
  }

  /**
   * Sets many together; what is not for this mount to change is skipped with a note. Rejects with UserError.
   */
  setAll(settings: readonly Setting[]): Promise<SetReport> {
    return this.#inTurn(() => {
      const now = valuesOf(this.all());
      const skipped: SetOutcome[] = [];
      const wanted: Wanted[] = [];
      for (const [key, value] of settings) {
        const target = checkSetting(key, value, this.volfile, this.#init.registry, "lenient");
        if (target.kind !== "refused") wanted.push({ key, value, target });
        else if (now(key) === value) skipped.push({ key, value, outcome: "unchanged" });
        else skipped.push({ key, value, outcome: "skipped", note: target.why });
      }
      return this.#settle(wanted, skipped);
    });
  }

  /** Asks for the volfile again, as SIGHUP wants it. Rejects with UserError. */
  async reload(): Promise<LiveChange> {
    const { origin } = this.#init;
    if (origin === undefined) return { kind: "unchanged" };
    const fresh = await origin.load();
    return this.#inTurn(() => this.#take(fresh, this.#settings));
  }

  /** The source has a new volfile: it is taken over, now or as soon as that is possible. Never rejects. */
  async rebase(fresh: Volfile): Promise<void> {
    this.#retry?.cancel();
    this.#retry = undefined;
    const { log, clock } = this.#init.env;
    try {
      const change = await this.#inTurn(() => this.#take(fresh, this.#settings));
      if (change.kind === "reconfigured") log.info("options changed", { changed: change.changed });
      else if (change.kind === "switched") log.info("the volume changed", { how: change.why });
    } catch (error) {
      if (error instanceof SwitchBusy) {
        log.warn("the changed volume has to wait", { why: error.message });
        this.#retry = clock.after(RETRY_MS, () => void this.rebase(fresh));
      } else log.error("the changed volume is not taken over", { error });
    }
  }

  #inTurn<R>(task: () => Promise<R>): Promise<R> {
    const run = this.#turn.then(task);
    this.#turn = run.catch(() => {});
    return run;
  }

  async #settle(wanted: readonly Wanted[], skipped: readonly SetOutcome[]): Promise<SetReport> {
    const before = valuesOf(this.all());
    const settings = new Map(this.#settings);
    for (const { key, value, target } of wanted) {
      const name = nameOf(target, key);
      // A setting for one section stands behind the one for all of them, so that it counts.
      settings.delete(name);
      settings.set(name, keptValue(target, value));
    }
    const change = await this.#taken(wanted.length === 1 ? wanted[0]!.key : "group", settings);
    const after = valuesOf(this.all());
    const outcomes = wanted.map(({ key, value, target }): SetOutcome => {
      const name = nameOf(target, key);
      const now = after(name);
      const kept = keptValue(target, value);
      const unused = whyUnused(target, this.volfile, this.#init.registry);
      if (unused !== undefined) return { key: name, value: kept, outcome: "unused", note: unused };
      if (now === undefined && target.kind === "option" && target.section === undefined)
        return {
          key: name,
          value: kept,
          outcome: "set",
          note: `takes effect when ${target.option.type} is on`,
        };
      return { key: name, value: kept, outcome: before(name) === kept ? "unchanged" : "set" };
    });
    const changed = outcomes.filter(({ outcome }) => outcome === "set").map(({ key }) => key);
    return this.#report([...outcomes, ...skipped], changed, change);
  }

  /** Of settings that the graph has: they are written down now, as only those that it took may be. */
  async #report(
    outcomes: readonly SetOutcome[],
    changed: readonly string[],
    change: LiveChange,
  ): Promise<SetReport> {
    const warnings = warningsOf(valuesOf(this.all()), changed);
    const report = { outcomes, warnings, switched: change.kind === "switched" };
    try {
      await this.#init.keep?.(this.#settings);
      return { ...report, kept: this.keeps };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      return { ...report, kept: false, notKept: error.message };
    }
  }

  /** Takes settings that somebody asked for. Rejects with UserError that begins with what was asked. */
  async #taken(what: string, settings: Settings): Promise<LiveChange> {
    try {
      return await this.#take(this.#base, settings);
    } catch (error) {
      if (!(error instanceof UserError) || error instanceof SwitchBusy) throw error;
      throw new UserError(`${what}: ${error.message}`, { cause: error });
    }
  }

  /** The settings count only once the graph has them. */
  async #take(base: Volfile, settings: Settings): Promise<LiveChange> {
    const volfile = applySettings(base, settings, this.#init.registry);
    const change = await this.live.take(volfile);
    this.#base = base;
    this.#settings = settings;
    return change;
  }
}

interface Wanted {
  readonly key: string;
  readonly value: string;
  readonly target: Target;
}

/** The name that a setting is kept under, whichever of its names it was given by. */
function nameOf(target: Target, key: string): string {
  if (target.kind !== "option") return key;
  return target.section === undefined ? target.option.name : `${target.section}.${target.option.key}`;
}

function checkKey(key: string, volfile: Volfile, registry: Registry): Target {
  const target = findKey(key, volfile, registry);
  if (target.kind === "refused") throw new UserError(`${key}: ${target.why}`);
  return target;
}

function valuesOf(shown: readonly Shown[]): (key: string) => string | undefined {
  const values = new Map(shown.map(({ key, value }) => [key, value]));
  return (key) => values.get(key);
}
