/**
 * The disk under a simulated brick: a layer right above storage/memory that makes fops take time, fail with
 * chosen errors and write short; and the loss of power, which keeps some of the unsynced pages and sectors.
 *
 * Calls that are under way at the same time may overtake each other, as they do in a brick with threads. What
 * a dead machine had under way never happens. Names, attributes and xattrs are on disk at once and in order.
 */

import type { Call } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import { type ErrnoName, FopError } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { iovSize, iovSlice } from "../../src/core/iovec.ts";
import {
  defineXlator,
  exactly,
  wind,
  type XlatorDefinition,
  type XlatorInit,
} from "../../src/core/xlator.ts";
import { Around } from "../../xlators/debug/around.ts";
import { describe } from "../../xlators/debug/describe.ts";
import type { MemoryDisk } from "../../xlators/storage/memory/disk.ts";
import type { Prng } from "../support/prng.ts";
import type { Trace } from "./trace.ts";

/** Fops that fail together. */
export type FaultClass = "data" | "read" | "sync" | "names" | "metadata" | "xattrop";

const CLASS_OF: Partial<Record<FopName, FaultClass>> = {
  writev: "data",
  truncate: "data",
  ftruncate: "data",
  fallocate: "data",
  discard: "data",
  zerofill: "data",
  readv: "read",
  rchecksum: "read",
  fsync: "sync",
  create: "names",
  mknod: "names",
  mkdir: "names",
  symlink: "names",
  link: "names",
  unlink: "names",
  rmdir: "names",
  rename: "names",
  setattr: "metadata",
  fsetattr: "metadata",
  setxattr: "metadata",
  fsetxattr: "metadata",
  removexattr: "metadata",
  fremovexattr: "metadata",
  xattrop: "xattrop",
  fxattrop: "xattrop",
};

/** Fops that need room on the disk. */
const NEEDS_ROOM: ReadonlySet<FopName> = new Set([
  ...(["writev", "fallocate", "zerofill", "create", "mknod", "mkdir", "symlink", "setxattr"] as const),
  ...(["fsetxattr", "xattrop", "fxattrop"] as const),
]);

/** What is wrong with a disk now; the cluster's faults change it while it runs. */
export interface DiskFaults {
  latencyMs: number;
  jitterMs: number;
  /** Share of the calls of a class that fail, and with what. */
  fail:
    | { readonly classes: readonly FaultClass[]; readonly share: number; readonly code: ErrnoName }
    | undefined;
  full: boolean;
}

export function healthyDisk(latencyMs: number, jitterMs: number): DiskFaults {
  return { latencyMs, jitterMs, fail: undefined, full: false };
}

/** The layer's type for one brick. */
export function diskOver(init: {
  readonly brick: string;
  readonly faults: DiskFaults;
  readonly random: Prng;
  readonly trace: Trace;
}): XlatorDefinition {
  return defineXlator({
    type: "sim/disk",
    children: exactly(1),
    options: {},
    create: (base) => new SimDisk(base, init),
  });
}

type DiskInit = Parameters<typeof diskOver>[0];

class SimDisk extends Around {
  readonly #init: DiskInit;

  constructor(base: XlatorInit, init: DiskInit) {
    super(base);
    this.#init = init;
  }

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    return this.#late(fop, call, args);
  }

  async #late<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const { brick, trace } = this.#init;
    await this.#pause();
    try {
      this.#maybeFail(fop);
      const reply = await wind(this.child, fop, call, this.#maybeShort(fop, args));
      trace.detail(brick, () => `${fop} ${describe(args)} -> ok ${describe(reply)}${marksIn(args, reply)}`);
      return reply;
    } catch (error) {
      trace.detail(brick, () => `${fop} ${describe(args)} -> ${(error as FopError).code}`);
      throw error;
    } finally {
      await this.#pause();
    }
  }

  #pause(): Promise<void> {
    const { faults, random } = this.#init;
    return new Promise((resolve) => {
      this.env.clock.after((faults.latencyMs + random.float() * faults.jitterMs) / 2, resolve);
    });
  }

  #maybeFail(fop: FopName): void {
    const { faults, random, brick } = this.#init;
    if (faults.full && NEEDS_ROOM.has(fop)) throw new FopError("ENOSPC", { fop, xlator: brick });
    const { fail } = faults;
    const kind = CLASS_OF[fop];
    if (fail === undefined || kind === undefined || !fail.classes.includes(kind)) return;
    if (random.chance(fail.share)) throw new FopError(fail.code, { fop, xlator: brick });
  }

  /**
   * While data writes fail, some of those that do not are cut short at a sector, as by a disk that fills up.
   */
  #maybeShort<F extends FopName>(fop: F, args: Args<F>): Args<F> {
    const { faults, random } = this.#init;
    if (fop !== "writev" || !faults.fail?.classes.includes("data") || !random.chance(0.1)) return args;
    const write = args as Args<"writev">;
    const sectors = Math.floor(iovSize(write.data) / SECTOR_BYTES);
    if (sectors < 2) return args;
    const size = random.int(1, sectors - 1) * SECTOR_BYTES;
    return { ...write, data: iovSlice(write.data, 0, size) } as Args<F>;
  }
}

const MARK_KEY = /^trusted\.afr\.(?:vol-client-)?/;

/** Increments and what became of them, of calls that have any. */
function marksIn(args: object, reply: object): string {
  const asked = (args as { xattrs?: unknown }).xattrs;
  const answered = (reply as { xattrs?: unknown }).xattrs;
  if (!(asked instanceof Dict) || !(answered instanceof Dict)) return "";
  const texts = [...asked.keys()]
    .filter((key) => MARK_KEY.test(key))
    .map((key) => {
      return `${key.replace(MARK_KEY, "")}:${counts(asked.bytes(key))}=>${counts(answered.bytes(key))}`;
    });
  return ` MARKS ${texts.join(" ")}`;
}

function counts(value: Buffer | undefined): string {
  return value ? [0, 4, 8].map((at) => value.readInt32BE(at)).join(",") : "none";
}

const SECTOR_BYTES = 512;
const SECTORS_A_PAGE = 8;

/** The kernel's own writing back: some share of all unsynced pages. */
export function writeBackSome(disk: MemoryDisk, random: Prng, share: number): void {
  disk.writeBack(() => random.chance(share));
}

/** Power failure: of what was not synced each page is lost, kept or torn, as chance has it. */
export function losePower(disk: MemoryDisk, random: Prng): void {
  const keptShare = random.float();
  disk.crash(({ what }) => {
    if (random.chance(keptShare)) return true;
    if (what === "size" || random.chance(0.7)) return false;
    return random.int(1, 2 ** SECTORS_A_PAGE - 2);
  });
}
