/**
 * Locks of a heal on all children at once (spec translators.md 4.9): byte ranges and names, in the domain of
 * I/O and in that of healers.
 *
 * First every child without waiting. When somebody else has it somewhere: "wait" gives back what it got and
 * asks again, now waiting, child after child in order, as transactions do, so that nobody waits in a circle;
 * "majority" does so only if it got more than half, else it leaves the inode to the other healer; "try" never
 * waits, for who holds other locks that the other one may wait for. A heal has one lk-owner: its own locks
 * never stand in its way.
 */

import type { Call } from "../../../../src/core/call.ts";
import { fanout } from "../../../../src/core/concurrency.ts";
import { type FopError, toFopError } from "../../../../src/core/errors.ts";
import type { EntrylkCommand, LkCommand } from "../../../../src/core/fops.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { RANGE_END } from "../../../../src/core/ranges.ts";
import { type ChildSet, childrenOf, countChildren, NO_CHILDREN, withChild } from "../child-set.ts";
import type { ReplicaSet } from "../replica-set.ts";

/** `range`: bytes of a file, `len` 0 to its end. `name`: one name of a directory, undefined all of them. */
export type Wanted = { readonly inode: Inode; readonly domain: string } & (
  | { readonly kind: "range"; readonly start: bigint; readonly len: bigint }
  | { readonly kind: "name"; readonly name: string | undefined }
);

/** Start of the range that stands for metadata; bricks keep it in a domain of its own (gotcha 17). */
const METADATA_START = RANGE_END - 1n;

export function wholeFile(inode: Inode, domain: string): Wanted {
  return { kind: "range", inode, domain, start: 0n, len: 0n };
}

export function byteRange(inode: Inode, domain: string, start: number, size: number): Wanted {
  return { kind: "range", inode, domain, start: BigInt(start), len: BigInt(size) };
}

export function metadataOf(inode: Inode, domain: string): Wanted {
  return { kind: "range", inode, domain, start: METADATA_START, len: 0n };
}

export function namesOf(inode: Inode, domain: string, name?: string): Wanted {
  return { kind: "name", inode, domain, name };
}

/** A lock that is held on some children; whoever gets one releases it. */
export class HeldLock {
  /** Where it is held; NO_CHILDREN after `release`. */
  children: ChildSet;
  /** Somebody else had it, or waited for it, when it was asked for. */
  readonly contended: boolean;
  /** Of a child that did not grant it. */
  readonly error: FopError | undefined;
  readonly #set: ReplicaSet;
  readonly #call: Call;
  readonly #wanted: Wanted;

  constructor(
    set: ReplicaSet,
    call: Call,
    wanted: Wanted,
    got: { children: ChildSet; contended: boolean; error: FopError | undefined },
  ) {
    this.#set = set;
    this.#call = call;
    this.#wanted = wanted;
    this.children = got.children;
    this.contended = got.contended;
    this.error = got.error;
  }

  get onAll(): boolean {
    return this.children === this.#set.all;
  }

  /** Never rejects: a child that is gone has dropped its locks. */
  async release(): Promise<void> {
    const children = childrenOf(this.children);
    this.children = NO_CHILDREN;
    await giveBack(this.#set, this.#call, this.#wanted, children);
  }
}

/** The heal's call with an lk-owner of its own; bricks refuse locks without one (gotcha 18). */
export function withOwner(set: ReplicaSet, call: Call): Call {
  const owner = set.env.random.bytes(16);
  owner[0]! |= 1;
  return { ...call, lkOwner: owner };
}

/** Resolves with what was granted, which may be nothing. Rejects with EINTR when the call's signal fires. */
export async function lockAll(
  set: ReplicaSet,
  call: Call,
  wanted: Wanted,
  mode: "wait" | "majority" | "try",
): Promise<HeldLock> {
  const children = childrenOf(set.up);
  const outcomes = await fanout(children, (child) => request(set, call, wanted, child, "try"));
  let granted = NO_CHILDREN;
  let contended = false;
  let error: FopError | undefined;
  for (const [at, outcome] of outcomes.entries()) {
    if (outcome.ok) granted = withChild(granted, children[at]!);
    else {
      contended ||= outcome.error.code === "EAGAIN";
      error = outcome.error;
    }
  }
  const most = countChildren(granted) * 2 > set.count;
  const wait = contended && (mode === "wait" || (mode === "majority" && most));
  if (!wait) return new HeldLock(set, call, wanted, { children: granted, contended, error });
  await giveBack(set, call, wanted, childrenOf(granted));
  return waitForEach(set, call, wanted);
}

async function waitForEach(set: ReplicaSet, call: Call, wanted: Wanted): Promise<HeldLock> {
  let granted = NO_CHILDREN;
  let failure: FopError | undefined;
  for (const child of childrenOf(set.up)) {
    try {
      await request(set, call, wanted, child, "wait");
      granted = withChild(granted, child);
    } catch (error) {
      failure = toFopError(error);
      if (failure.code !== "EINTR") continue;
      await giveBack(set, call, wanted, childrenOf(granted));
      throw failure;
    }
  }
  return new HeldLock(set, call, wanted, { children: granted, contended: true, error: failure });
}

async function giveBack(
  set: ReplicaSet,
  call: Call,
  wanted: Wanted,
  children: readonly number[],
): Promise<void> {
  // The unlock must go out even when whoever asked for the heal gave up.
  const { signal: _, ...steadfast } = call;
  const outcomes = await fanout(children, (child) => request(set, steadfast, wanted, child, "unlock"));
  for (const [at, outcome] of outcomes.entries())
    if (!outcome.ok && outcome.error.code !== "ENOTCONN")
      set.log.warn("a lock of a heal was not taken back", { child: children[at], error: outcome.error });
}

type Step = "try" | "wait" | "unlock";
const RANGE_COMMAND: Readonly<Record<Step, LkCommand>> = { try: "setlk", wait: "setlkw", unlock: "setlk" };
const NAME_COMMAND: Readonly<Record<Step, EntrylkCommand>> = {
  try: "lock-nb",
  wait: "lock",
  unlock: "unlock",
};

function request(set: ReplicaSet, call: Call, wanted: Wanted, child: number, step: Step): Promise<unknown> {
  const brick = set.children[child]!;
  const { inode, domain: volume } = wanted;
  if (wanted.kind === "name") {
    const { name } = wanted;
    return brick.entrylk(call, { loc: { inode }, volume, name, cmd: NAME_COMMAND[step], type: "wrlck" });
  }
  const { start, len } = wanted;
  const type = step === "unlock" ? "unlck" : "wrlck";
  const flock = { type, whence: 0, start, len, pid: call.pid, lkOwner: call.lkOwner } as const;
  return brick.inodelk(call, { loc: { inode }, volume, cmd: RANGE_COMMAND[step], flock });
}
