/**
 * The conformance suite: what every graph that claims to be a file system must do. Cases are data, a file a
 * subject; expectations come from POSIX and from shared/spec, and the POSIX ones are run on a plain directory
 * first, which proves them.
 *
 * A case gets two sessions: two clients of the same files, on graphs with a wire with a connection each. What
 * a graph cannot do is not skipped case by case but stated once, as features that it lacks, with the reason
 * (graph-kinds.ts).
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FopError } from "../../src/core/errors.ts";
import { InodeTable } from "../../src/core/inode.ts";
import type { Session, SessionOptions } from "../support/session.ts";

/**
 * What a case may need beyond POSIX. "brick": GlusterFS' rules for gfids, xdata and xattrop. "locks": lk,
 * inodelk and entrylk. "direct-io": alignment rules of O_DIRECT. "anonymous-fds": I/O by gfid without an
 * open. "write-attributes": replies to writes tell the attributes before and after. "fd-checks": an fd that
 * was never opened is refused by every fop. "one-place": all names of an inode are on one brick.
 * "counted-room": room that was made beyond the end of a file counts as soon as the file reaches so far.
 */
export type Feature =
  | "brick"
  | "locks"
  | "direct-io"
  | "anonymous-fds"
  | "write-attributes"
  | "fd-checks"
  | "one-place"
  | "counted-room";

export interface Context {
  readonly a: Session;
  readonly b: Session;
}

export interface Case {
  readonly name: string;
  readonly needs?: readonly Feature[];
  run(context: Context): Promise<void>;
}

export interface Subject {
  readonly name: string;
  readonly cases: readonly Case[];
}

/** A running graph. */
export interface Made extends AsyncDisposable {
  /** A session of a new client: on a graph with a wire `which` picks the connection. */
  session(which: "a" | "b", options?: SessionOptions): Session;
  /** Rules between layers that were broken so far, in order (debug/contract). */
  breaches(): readonly string[];
}

export interface GraphKind {
  readonly name: string;
  /** Features that it lacks, each with the reason. */
  readonly lacks: Readonly<Partial<Record<Feature, string>>>;
  make(): Promise<Made>;
}

/**
 * Starting and removing a brick is hundreds of small files; on a machine that is busy that takes its time.
 */
const HOOK_TIMEOUT_MS = 120_000;

/**
 * Registers all cases that the graph is able to run. One graph serves them all; each case has a directory of
 * its own.
 */
export function runSuite(kind: GraphKind, subjects: readonly Subject[]): void {
  describe(kind.name, () => {
    let made: Made | undefined;
    let directories = 0;
    beforeAll(async () => {
      made = await kind.make();
    }, HOOK_TIMEOUT_MS);
    afterAll(() => made?.[Symbol.asyncDispose](), HOOK_TIMEOUT_MS);
    for (const { name, cases } of subjects) {
      const able = cases.filter(({ needs = [] }) => !needs.some((feature) => feature in kind.lacks));
      if (able.length === 0) continue;
      describe(name, () => {
        for (const one of able) it(one.name, () => runCase(made!, one, `case${directories++}`));
      });
    }
  });
}

async function runCase(made: Made, one: Case, directory: string): Promise<void> {
  const before = made.breaches().length;
  await made.session("a").mkdir(directory);
  const [a, b] = await Promise.all((["a", "b"] as const).map((which) => within(made, which, directory)));
  try {
    await one.run({ a: a!, b: b! });
  } finally {
    await a!.end();
    await b!.end();
  }
  expect(made.breaches().slice(before)).toEqual([]);
}

/** A session in a directory of the volume. */
async function within(made: Made, which: "a" | "b", directory: string): Promise<Session> {
  const table = new InodeTable();
  const outside = made.session(which, { table });
  return made.session(which, { table, root: await outside.inode(directory) });
}

/**
 * The errno that a fop rejected with, "ok" when it did not; anything but a FopError is a bug and passed on.
 */
export async function outcome(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "ok";
  } catch (error) {
    if (error instanceof FopError) return error.code;
    throw error;
  }
}
