/**
 * debug/error-gen: fails fops on purpose, before they reach the child (GlusterFS xlators/debug/error-gen).
 *
 * By options: a share of the calls, chosen by the Env's random numbers. By script, for tests: `failNext` and
 * `failWhere`. A script is asked first. Hooks (release, forget, disconnect) never fail.
 */

import type { Call } from "../../src/core/call.ts";
import { ERRNO, type ErrnoName, FopError } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { iovSize, iovSlice } from "../../src/core/iovec.ts";
import { Bad, bool, type OptionTable, percent, string } from "../../src/core/options.ts";
import { defineXlator, exactly, wind } from "../../src/core/xlator.ts";
import { Around } from "./around.ts";
import { fopList } from "./fop-list.ts";

/** What `error-no` also takes: writes take half of the data only. */
const SHORT_WRITE = "GF_ERROR_SHORT_WRITE";

const options = {
  failure: percent({ default: 10, live: true, describe: "Share of the calls that fail." }),
  "error-no": {
    ...string({
      default: "",
      live: true,
      describe: `Errno to fail with, or ${SHORT_WRITE}; otherwise a likely one.`,
    }),
    parse: (text: string): string | Bad =>
      text in ERRNO || text === SHORT_WRITE ? text : new Bad("is no errno that Mortar knows"),
  },
  "random-failure": bool({
    default: false,
    live: true,
    describe: "Fail at irregular intervals instead of with a constant probability.",
  }),
  enable: fopList({ aliases: ["error-fops"], describe: "Fops that may fail; none named: all." }),
} as const satisfies OptionTable;

/** Errors that callers have to be ready for anywhere. */
const LIKELY: readonly ErrnoName[] = ["EIO", "ENOENT", "EACCES", "ENOMEM", "EINTR", "EAGAIN"];
/** With random-failure: the next failure comes after at most this many calls. */
const RANDOM_INTERVAL_MAX = 10;

export const errorGen = defineXlator({
  type: "debug/error-gen",
  children: exactly(1),
  options,
  create: (init) => new ErrorGen(init),
});

/** Decides for one call: undefined lets it pass. */
export type Script = (fop: FopName, call: Call, args: unknown) => ErrnoName | undefined;

export class ErrorGen extends Around<typeof options> {
  readonly #scripts = new Set<Script>();
  #callsUntilFailure = 0;

  /** Fails the next `times` calls of a fop. */
  failNext(fop: FopName, code: ErrnoName, times = 1): void {
    const script: Script = (name) => {
      if (name !== fop) return undefined;
      if (--times <= 0) this.#scripts.delete(script);
      return code;
    };
    this.#scripts.add(script);
  }

  /** Asks the script at each call until the returned function is called. */
  failWhere(script: Script): () => void {
    this.#scripts.add(script);
    return () => this.#scripts.delete(script);
  }

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const failure = this.#scripted(fop, call, args) ?? this.#chosen(fop);
    if (failure === undefined) return wind(this.child, fop, call, args);
    if (failure === SHORT_WRITE) return this.#shortWrite(fop, call, args);
    return Promise.reject(new FopError(failure as ErrnoName, { fop, xlator: this.name }));
  }

  #scripted(fop: FopName, call: Call, args: unknown): ErrnoName | undefined {
    for (const script of [...this.#scripts]) {
      const code = script(fop, call, args);
      if (code !== undefined) return code;
    }
    return undefined;
  }

  #chosen(fop: FopName): string | undefined {
    const { enable, failure } = this.options;
    if (failure === 0 || (enable.length > 0 && !enable.includes(fop))) return undefined;
    if (!(this.options["random-failure"] ? this.#isDue() : this.env.random.float() * 100 < failure))
      return undefined;
    return this.options["error-no"] || LIKELY[Math.floor(this.env.random.float() * LIKELY.length)];
  }

  #isDue(): boolean {
    if (this.#callsUntilFailure-- > 0) return false;
    this.#callsUntilFailure = Math.floor(this.env.random.float() * RANDOM_INTERVAL_MAX);
    return true;
  }

  #shortWrite<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    if (fop !== "writev") return wind(this.child, fop, call, args);
    const write = args as Args<"writev">;
    const data = iovSlice(write.data, 0, Math.ceil(iovSize(write.data) / 2));
    return wind(this.child, fop, call, { ...write, data } as Args<F>);
  }
}
