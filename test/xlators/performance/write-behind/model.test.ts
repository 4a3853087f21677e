/**
 * performance/write-behind against a model, with random histories: writes that overlap, reads, truncations,
 * syncs and closes of several programs at once, calls held back below, failures and a power cut.
 *
 * The model knows for each byte which values a read may give: the last one acknowledged before the read
 * began, and those of calls that were under way with it. A byte of a call that failed may have either. What
 * an fsync or a close without an error covered must be on the disk after the power cut.
 *
 * Some writes come from the kernel's page cache, and where a byte of the model stands for a page, their
 * payloads are borrowed if they are large.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FopError } from "../../../../src/core/errors.ts";
import type { Fd } from "../../../../src/core/inode.ts";
import type { Lease, Lender } from "../../../../src/core/iovec.ts";
import { O_RDWR, O_SYNC } from "../../../../src/core/open-flags.ts";
import type { Hold } from "../../../../xlators/debug/delay-gen.ts";
import { settle } from "../../../support/fake-env.ts";
import { type Rig, rig } from "./rig.ts";

/** Bytes of the file that histories touch; small, so that much overlaps. */
const FILE_BYTES = 64;
const PROGRAMS = 3;

type Step =
  | {
      readonly kind: "write";
      readonly program: number;
      readonly offset: number;
      readonly size: number;
      readonly sync: boolean;
      readonly cached: boolean;
    }
  | { readonly kind: "read"; readonly program: number; readonly offset: number; readonly size: number }
  | { readonly kind: "truncate"; readonly program: number; readonly offset: number }
  | { readonly kind: "fsync" | "flush" | "size"; readonly program: number }
  /** Of what is held back below, so many go on. */
  | { readonly kind: "let-go"; readonly count: number }
  | { readonly kind: "full"; readonly isFull: boolean };

const program = fc.integer({ min: 0, max: PROGRAMS - 1 });
const offset = fc.integer({ min: 0, max: FILE_BYTES - 1 });
const size = fc.integer({ min: 1, max: 24 });
const STEP: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      program,
      offset,
      size,
      sync: fc.nat(5).map((n) => n === 0),
      cached: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("read" as const), program, offset, size }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("truncate" as const), program, offset }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("fsync" as const, "flush" as const, "size" as const),
      program,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("let-go" as const), count: fc.integer({ min: 1, max: 3 }) }),
  },
);
const FAULTS: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: STEP },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("truncate" as const), program, offset }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("full" as const), isFull: fc.boolean() }) },
);
const OPTIONS = fc.record({
  "trickling-writes": fc.constantFrom("on", "off"),
  "strict-write-ordering": fc.constantFrom("on", "off", "off"),
  "flush-behind": fc.constantFrom("on", "off"),
  "aggregate-size": fc.constantFrom("4KB", "128KB"),
});

const PAGE = 4096;
const SCALE = fc.constantFrom(1, PAGE);
/** Bytes on loan, and under way: as many as there are, or so few that writes wait for them. */
const BOUNDS = fc.constantFrom(undefined, 16 * PAGE, 48 * PAGE);

/** A payload whose owner uses its memory again as soon as he may. */
class Payload implements Lender {
  readonly data: [Buffer];
  #users = 1;

  constructor(size: number, value: number) {
    this.data = [Buffer.alloc(size, value)];
  }

  lend(): Lease {
    this.#users++;
    return { release: () => this.end() };
  }

  /** The call was answered, or a lease is released. */
  end(): void {
    if (--this.#users === 0) this.data[0].fill(0xff);
  }
}

/** A change, from its call to its answer. */
interface Change {
  readonly value: number;
  readonly begun: number;
  /** When it was answered; Infinity while it was not, or when it failed: it may come to pass or not. */
  answered: number;
  covers(byte: number): boolean;
}

class Model {
  /** Time that ticks at each call and each answer. */
  clock = 0;
  readonly #changes: Change[] = [];
  #values = 0;

  begin(covers: (byte: number) => boolean, cuts = false): Change {
    const value = cuts ? 0 : 1 + (this.#values++ % 255);
    const change: Change = { value, begun: ++this.clock, answered: Number.POSITIVE_INFINITY, covers };
    this.#changes.push(change);
    return change;
  }

  end(change: Change): void {
    change.answered = ++this.clock;
  }

  /** Values that a look at a byte from `from` until `until` may give; 0 is a hole, or behind the end. */
  allowed(byte: number, from: number, until: number): Set<number> {
    const touching = this.#changes.filter((change) => change.begun < until && change.covers(byte));
    // A change is out of sight when one that was called after it was answered before the look.
    const settled = touching.filter(({ answered }) => answered < from);
    const hidden = (one: Change) => settled.some((other) => other.begun > one.begun);
    const values = touching.filter((one) => !hidden(one)).map(({ value }) => value);
    return new Set(settled.length === 0 ? [0, ...values] : values);
  }
}

class History {
  readonly rig: Rig;
  readonly fds: readonly Fd[];
  readonly model = new Model();
  readonly #pending: Promise<void>[] = [];
  readonly #hold: Hold;
  /** Bytes of the file for one of the model. */
  readonly #scale: number;
  #isFull = false;

  constructor(r: Rig, fds: readonly Fd[], scale: number) {
    this.rig = r;
    this.#scale = scale;
    this.fds = fds;
    this.#hold = r.delays.hold("writev");
    r.errors.failWhere((fop) => (fop === "writev" && this.#isFull ? "ENOSPC" : undefined));
  }

  start(step: Step): void {
    if (step.kind === "let-go") this.#hold.release(step.count);
    else if (step.kind === "full") this.#isFull = step.isFull;
    else this.#pending.push(this.#run(step));
  }

  /** Nothing is held or refused any more, and all calls have ended. */
  async finish(): Promise<void> {
    this.#isFull = false;
    this.rig.delays.unhold(this.#hold);
    let isOver = false;
    const all = Promise.all(this.#pending).then(() => {
      isOver = true;
    });
    for (let turn = 0; turn < 20 && !isOver; turn++) await settle();
    expect(isOver, "a call does not end").toBe(true);
    await all;
  }

  async #run(step: Exclude<Step, { kind: "let-go" | "full" }>): Promise<void> {
    const { session, top } = this.rig;
    const { model } = this;
    const scale = this.#scale;
    const fd = this.fds[step.program]!;
    const call = { ...session.call, lkOwner: Buffer.from(`program-${step.program}`) };
    switch (step.kind) {
      case "write": {
        const change = model.begin((byte) => byte >= step.offset && byte < step.offset + step.size);
        const payload = new Payload(step.size * scale, change.value);
        const flags = step.sync ? O_SYNC : 0;
        const args = { fd, data: payload.data, offset: step.offset * scale, flags };
        const answer = await answered(
          top.writev(call, { ...args, cached: step.cached ? payload : undefined }),
        );
        payload.end();
        if (answer !== undefined) model.end(change);
        return;
      }
      case "truncate": {
        const change = model.begin((byte) => byte >= step.offset, true);
        if (await answered(top.ftruncate(call, { fd, offset: step.offset * scale }))) model.end(change);
        return;
      }
      case "read": {
        const begun = ++model.clock;
        const range = { offset: step.offset * scale, size: step.size * scale };
        const reply = await answered(top.readv(call, { fd, ...range, flags: 0 }));
        if (reply) this.check(Buffer.concat(reply.data as Buffer[]), step.offset, step.size, begun);
        return;
      }
      case "size":
        await top.fstat(call, { fd });
        return;
      case "fsync":
        await answered(top.fsync(call, { fd, datasync: true }));
        return;
      default:
        await answered(top.flush(call, { fd }));
    }
  }

  /** Every byte of a look that began at `begun` and ends now is one it may have seen. */
  check(bytes: Buffer, offset: number, size: number, begun: number): void {
    const until = ++this.model.clock;
    const scale = this.#scale;
    for (let at = 0; at < size; at++) {
      const allowed = this.model.allowed(offset + at, begun, until);
      for (const byte of new Set([at * scale, (at + 1) * scale - 1])) {
        const seen = bytes[byte] ?? 0;
        expect(allowed, `byte ${offset * scale + byte} was ${seen}`).toContain(seen);
      }
    }
  }

  /** The file from its beginning, and beyond. */
  read(): Promise<Buffer> {
    return this.rig.session.read(this.fds[0]!, 0, 2 * FILE_BYTES * this.#scale);
  }

  /** The same, from the disk. */
  onDisk(): Buffer {
    return this.rig.disk.find(this.fds[0]!.inode.gfid)!.data!.read(0, 2 * FILE_BYTES * this.#scale);
  }
}

/** The reply, or undefined for an errno. */
async function answered<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof FopError) return undefined;
    throw error;
  }
}

async function run(
  steps: readonly Step[],
  pauses: readonly boolean[],
  scale: number,
  bound: number | undefined,
  options: Record<string, string>,
) {
  const r = await rig(options);
  if (bound !== undefined) {
    r.host.loans.bytesMax = bound;
    r.host.underWayMax = bound / 2;
  }
  const fds: Fd[] = [await r.session.create("f")];
  while (fds.length < PROGRAMS) fds.push(await r.session.open(fds[0]!.inode, O_RDWR));
  const history = new History(r, fds, scale);
  for (const [index, step] of steps.entries()) {
    history.start(step);
    if (pauses[index % pauses.length]) await settle();
  }
  return { r, fds, history };
}

const RUNS = { numRuns: 80 };

describe("write-behind and its model", () => {
  it("agree on what reads see, whatever is held back and in whatever order", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(STEP, { minLength: 1, maxLength: 40 }),
        fc.array(fc.boolean(), { minLength: 3, maxLength: 7 }),
        SCALE,
        BOUNDS,
        OPTIONS,
        async (steps, pauses, scale, bound, options) => {
          const { r, fds, history } = await run(steps, pauses, scale, bound, options);
          await using _ = r;
          await history.finish();
          const begun = ++history.model.clock;
          const last = await history.read();
          history.check(last, 0, 2 * FILE_BYTES, begun);
          for (const fd of fds) await r.session.close(fd);
          expect(history.onDisk().equals(last)).toBe(true);
        },
      ),
      RUNS,
    );
  });

  it("agree when writes fail now and then: nothing acknowledged is lost while its file is open", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(FAULTS, { minLength: 1, maxLength: 40 }),
        fc.array(fc.boolean(), { minLength: 3, maxLength: 7 }),
        SCALE,
        BOUNDS,
        OPTIONS,
        async (steps, pauses, scale, bound, options) => {
          const { r, fds, history } = await run(steps, pauses, scale, bound, options);
          await using _ = r;
          await history.finish();
          // There is room again: now it must be possible to sync, and to read what was acknowledged.
          await r.top.fsync(r.session.call, { fd: fds[0]!, datasync: false });
          const begun = ++history.model.clock;
          history.check(await history.read(), 0, 2 * FILE_BYTES, begun);
          for (const fd of fds) await r.session.close(fd);
        },
      ),
      RUNS,
    );
  });

  it("agree on what a power failure leaves after an fsync without an error", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(FAULTS, { minLength: 1, maxLength: 25 }),
        fc.array(STEP, { maxLength: 8 }),
        fc.array(fc.boolean(), { minLength: 3, maxLength: 7 }),
        SCALE,
        BOUNDS,
        OPTIONS,
        async (before, after, pauses, scale, bound, options) => {
          const { r, fds, history } = await run(before, pauses, scale, bound, options);
          await history.finish();
          await r.top.fsync(r.session.call, { fd: fds[1]!, datasync: true });
          const begun = ++history.model.clock;
          for (const step of after) history.start(step);
          await history.finish();
          await r.session.end();
          await r.graph.graph.stop();
          r.disk.crash();
          history.check(history.onDisk(), 0, 2 * FILE_BYTES, begun);
        },
      ),
      RUNS,
    );
  });
});
