/**
 * debug/trace: what passes here, to the log and into a history (GlusterFS xlators/debug/trace).
 *
 * Each fop makes two events, a call and its outcome, each life-cycle step and hook one. The history is a ring
 * of `history-size`. Payloads and xattr values are told by their size only.
 */

import type { Call } from "../../src/core/call.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import type { Fd, Inode } from "../../src/core/inode.ts";
import { bool, int, type OptionTable } from "../../src/core/options.ts";
import {
  type ChildEvent,
  defineXlator,
  exactly,
  type ParentEvent,
  wind,
  type XlatorBase,
} from "../../src/core/xlator.ts";
import { Around } from "./around.ts";
import { describe } from "./describe.ts";
import { fopList } from "./fop-list.ts";

const options = {
  "include-ops": fopList({ aliases: ["include"], describe: "Fops to trace; none named: all." }),
  "exclude-ops": fopList({ aliases: ["exclude"], describe: "Fops not to trace." }),
  "history-size": int({ default: 1024, min: 1, live: true, describe: "Events that the history keeps." }),
  "log-file": bool({ default: false, live: true, describe: "Write events to the log." }),
  "log-history": bool({ default: true, live: true, describe: "Keep events in the history." }),
} as const satisfies OptionTable;

export const trace = defineXlator({
  type: "debug/trace",
  children: exactly(1),
  options,
  create: (init) => new Trace(init),
});

export interface TraceEvent {
  readonly atMs: number;
  /** A fop's name, a hook's, or a life-cycle step's. */
  readonly what: string;
  readonly stage: "call" | "reply" | "error" | "event";
  /** Number of the fop, the same for its call and its outcome; 0 for events. */
  readonly sequence: number;
  readonly detail: string;
}

export class Trace extends Around<typeof options> {
  readonly #history: TraceEvent[] = [];
  #sequence = 0;

  get history(): readonly TraceEvent[] {
    return this.#history;
  }

  clear(): void {
    this.#history.length = 0;
  }

  override async init(): Promise<void> {
    this.#event("init");
  }
  override async fini(): Promise<void> {
    this.#event("fini");
  }
  override onParentEvent(event: ParentEvent): void {
    this.#event(event.type);
    super.onParentEvent(event);
  }
  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    this.#event(event.type);
    super.onChildEvent(event, from);
  }
  override release(fd: Fd): Promise<void> {
    this.#event("release");
    return super.release(fd);
  }
  override releasedir(fd: Fd): Promise<void> {
    this.#event("releasedir");
    return super.releasedir(fd);
  }
  override forget(inode: Inode): void {
    this.#event("forget");
    super.forget(inode);
  }
  override clientDisconnect(client: NonNullable<Call["client"]>): void {
    this.#event("clientDisconnect", client.id);
    super.clientDisconnect(client);
  }

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const include = this.options["include-ops"];
    const isWanted = include.length === 0 || include.includes(fop);
    if (!isWanted || this.options["exclude-ops"].includes(fop)) return wind(this.child, fop, call, args);
    return this.#traced(fop, call, args);
  }

  async #traced<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const sequence = ++this.#sequence;
    this.#add({ what: fop, stage: "call", sequence, detail: describe(args) });
    try {
      const reply = await wind(this.child, fop, call, args);
      this.#add({ what: fop, stage: "reply", sequence, detail: describe(reply) });
      return reply;
    } catch (error) {
      const detail = error instanceof FopError ? error.code : String(error);
      this.#add({ what: fop, stage: "error", sequence, detail });
      throw error;
    }
  }

  #event(what: string, detail = ""): void {
    this.#add({ what, stage: "event", sequence: 0, detail });
  }

  #add(event: Omit<TraceEvent, "atMs">): void {
    if (this.options["log-file"]) this.log.info("trace", event);
    if (!this.options["log-history"]) return;
    this.#history.push({ atMs: this.env.clock.nowMs(), ...event });
    if (this.#history.length > this.options["history-size"]) this.#history.shift();
  }
}
