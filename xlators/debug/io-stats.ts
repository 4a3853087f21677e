/**
 * debug/io-stats: counts fops, bytes and, when asked, times (GlusterFS xlators/debug/io-stats). It stands at
 * the top of every volfile that glusterd writes.
 *
 * With `count-fop-hits` and `latency-measurement` off, which is the default, everything passes through at the
 * cost of one test. The other options are GlusterFS' own log and thread settings, which glusterd puts here;
 * Mortar has them elsewhere or not at all.
 */

import type { Call } from "../../src/core/call.ts";
import { type Args, FOP_NAMES, type FopName, type Reply } from "../../src/core/fops.ts";
import type { Fd } from "../../src/core/inode.ts";
import { bool, type OptionTable, string } from "../../src/core/options.ts";
import { type Dump, defineXlator, exactly, wind, type XlatorInit } from "../../src/core/xlator.ts";
import { Around } from "./around.ts";

const options = {
  "count-fop-hits": bool({
    default: false,
    live: true,
    volumeKey: "diagnostics.count-fop-hits",
    describe: "Count calls, failures and bytes.",
  }),
  "latency-measurement": bool({
    default: false,
    live: true,
    volumeKey: "diagnostics.latency-measurement",
    describe: "Measure how long each fop takes; counts as well.",
  }),
  "volume-id": string({ default: "", describe: "Uuid of the volume; not used." }),
  "unique-id": string({ default: "", describe: "Name of the brick for GlusterFS' dumps; not used." }),
} as const satisfies OptionTable;

export const ioStats = defineXlator({
  type: "debug/io-stats",
  children: exactly(1),
  options,
  create: (init) => new IoStats(init),
});

/** What was counted of one fop. Times are in milliseconds, of the calls that were measured. */
export interface FopCount {
  readonly calls: number;
  readonly failures: number;
  readonly measured: number;
  readonly totalMs: number;
  readonly minMs: number;
  readonly maxMs: number;
}

export interface IoStatsSnapshot {
  /** Fops that were called at least once. */
  readonly fops: Readonly<Partial<Record<FopName, FopCount>>>;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

type Counter = { -readonly [K in keyof FopCount]: FopCount[K] };

export class IoStats extends Around<typeof options> {
  readonly #fops = new Map<FopName, Counter>();
  #bytesRead = 0;
  #bytesWritten = 0;
  #counting: boolean;
  #measuring: boolean;

  constructor(init: XlatorInit<typeof options>) {
    super(init);
    this.#measuring = this.options["latency-measurement"];
    this.#counting = this.#measuring || this.options["count-fop-hits"];
  }

  override reconfigure(values: typeof this.options): void {
    super.reconfigure(values);
    this.#measuring = values["latency-measurement"];
    this.#counting = this.#measuring || values["count-fop-hits"];
  }

  override localFile(fd: Fd): number | undefined {
    return this.#counting ? undefined : this.child.localFile(fd);
  }

  /** What was counted since the start. */
  snapshot(): IoStatsSnapshot {
    const fops: Partial<Record<FopName, FopCount>> = {};
    for (const fop of FOP_NAMES) {
      const counter = this.#fops.get(fop);
      if (counter) fops[fop] = { ...counter };
    }
    return { fops, bytesRead: this.#bytesRead, bytesWritten: this.#bytesWritten };
  }

  override dump(): Dump {
    return { ...this.snapshot() };
  }

  /** Spelled out, though `around` would do it: the two that decide throughput. */
  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    return this.#counting ? this.#counted("readv", call, args) : this.child.readv(call, args);
  }
  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    return this.#counting ? this.#counted("writev", call, args) : this.child.writev(call, args);
  }

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    return this.#counting ? this.#counted(fop, call, args) : wind(this.child, fop, call, args);
  }

  async #counted<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const counter = this.#counterOf(fop);
    counter.calls++;
    const beganMs = this.#measuring ? this.env.clock.nowMs() : undefined;
    try {
      const reply = await wind(this.child, fop, call, args);
      if (fop === "readv") this.#bytesRead += (reply as Reply<"readv">).size;
      else if (fop === "writev") this.#bytesWritten += (reply as Reply<"writev">).size;
      return reply;
    } catch (error) {
      counter.failures++;
      throw error;
    } finally {
      if (beganMs !== undefined) measure(counter, this.env.clock.nowMs() - beganMs);
    }
  }

  #counterOf(fop: FopName): Counter {
    let counter = this.#fops.get(fop);
    if (!counter) {
      counter = { calls: 0, failures: 0, measured: 0, totalMs: 0, minMs: Number.POSITIVE_INFINITY, maxMs: 0 };
      this.#fops.set(fop, counter);
    }
    return counter;
  }
}

function measure(counter: Counter, tookMs: number): void {
  counter.measured++;
  counter.totalMs += tookMs;
  counter.minMs = Math.min(counter.minMs, tookMs);
  counter.maxMs = Math.max(counter.maxMs, tookMs);
}
