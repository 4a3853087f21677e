/** Layers of mutants around features/shard and performance/write-behind: each does one thing wrong. */

import { Dict } from "../../src/core/dict.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { gfidEquals, gfidKey, parseGfid } from "../../src/core/gfid.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";
import { iovSize } from "../../src/core/iovec.ts";
import { FILE_SIZE_KEY } from "../../xlators/features/shard/attributes.ts";
import { SHARD_DIR_GFID } from "../../xlators/features/shard/directories.ts";
import { type Passing, tamper } from "./tamper.ts";

const UNCHANGED = { pre: ZERO_IATT, post: ZERO_IATT };
const NO_PARENTS = { preParent: ZERO_IATT, postParent: ZERO_IATT };
const REMOVED_DIR_GFID = parseGfid("77dd5a45-dbf5-4592-b31b-b440382302e9")!;
/** How late something happens that was answered early. */
const LATE_MS = 300;
/** Spread of writes that overtake each other. */
const SPREAD_MS = 30;

/** Below shard: half of the blocks are not synced. */
export const forgetsBlocks = tamper("forgets-blocks", {
  fsync: ({ args, env, next }) =>
    args.fd.anonymous && env.random.float() < 0.5 ? Promise.resolve(UNCHANGED) : next(),
});

/** Below shard: what a client was first told of a file's size is what it is told ever after. */
export function firstSizeOnly(): ReturnType<typeof tamper> {
  const told = new WeakMap<object, Map<string, Buffer>>();
  const stale = <R extends { readonly stat: { readonly gfid: Buffer }; readonly xdata?: Dict | undefined }>(
    { env }: Passing,
    reply: R,
  ): R => {
    const size = reply.xdata?.bytes(FILE_SIZE_KEY);
    if (size === undefined) return reply;
    const sizes = told.get(env) ?? new Map<string, Buffer>();
    told.set(env, sizes);
    const key = gfidKey(reply.stat.gfid as Parameters<typeof gfidKey>[0]);
    if (!sizes.has(key)) sizes.set(key, size);
    return { ...reply, xdata: reply.xdata!.clone().setBytes(FILE_SIZE_KEY, sizes.get(key)!) };
  };
  return tamper("first-size-only", {
    lookup: async (passing) => stale(passing as unknown as Passing, await passing.next()),
    stat: async (passing) => stale(passing as unknown as Passing, await passing.next()),
    fstat: async (passing) => stale(passing as unknown as Passing, await passing.next()),
  });
}

/** Below shard: a third of the sizes never reach the disk. */
export const keepsSizes = tamper("keeps-sizes", {
  fxattrop: ({ args, env, next }) =>
    args.xattrs.has(FILE_SIZE_KEY) && env.random.float() < 0.3
      ? Promise.resolve({ xattrs: new Dict() })
      : next(),
});

/** Below shard: the last name of a file goes without a marker for its blocks. */
export const marksNothing = tamper("marks-nothing", {
  mknod: ({ args, next }) =>
    isIn(args, REMOVED_DIR_GFID) ? Promise.resolve({ stat: ZERO_IATT, ...NO_PARENTS }) : next(),
});

/** Below shard: the last block of a file that is cut stays as it is. */
export const cutsNoBlock = tamper("cuts-no-block", { truncate: () => Promise.resolve(UNCHANGED) });

/** Below shard: blocks beyond the end of a file that is cut are taken for gone. */
export const keepsBlocks = tamper("keeps-blocks", {
  unlink: ({ args, next }) =>
    isIn(args, SHARD_DIR_GFID) ? Promise.reject(new FopError("ENOENT", { fop: "unlink" })) : next(),
});

function isIn({ loc }: Args<"mknod"> | Args<"unlink">, directory: typeof SHARD_DIR_GFID): boolean {
  return loc.parent !== undefined && gfidEquals(loc.parent.gfid, directory);
}

/** Above write-behind: fsync and close are answered at once and done later. */
export const syncsLater = tamper("syncs-later", {
  fsync: ({ env, next }) => {
    env.clock.after(LATE_MS, () => void next().catch(() => {}));
    return Promise.resolve(UNCHANGED);
  },
  flush: ({ env, next }) => {
    env.clock.after(LATE_MS, () => void next().catch(() => {}));
    return Promise.resolve({});
  },
});

/** Below write-behind: failures of writes are kept from it. */
export const hidesFailures = tamper("hides-failures", {
  writev: ({ args, next }) =>
    next().catch((): Reply<"writev"> => ({ size: iovSize(args.data), ...UNCHANGED })),
});

/** Below write-behind: writes of one file overtake each other; whoever looks or syncs waits for all. */
export function overtakes(): ReturnType<typeof tamper> {
  const underWay = new WeakMap<object, Set<Promise<unknown>>>();
  const of = ({ env }: { readonly env: object }): Set<Promise<unknown>> => {
    const known = underWay.get(env) ?? new Set();
    underWay.set(env, known);
    return known;
  };
  const afterAll = async <R>(passing: { readonly env: object; next(): Promise<R> }): Promise<R> => {
    await Promise.all(of(passing));
    return passing.next();
  };
  return tamper("overtakes", {
    writev: async ({ args, env, next }) => {
      const copy = { ...args, data: args.data.map((part) => Buffer.from(part)) };
      const done = new Promise<void>((resolve) => {
        env.clock.after(env.random.float() * SPREAD_MS, resolve);
      })
        .then(() => next(copy))
        .catch(() => {});
      of({ env }).add(done);
      void done.finally(() => of({ env }).delete(done));
      return { size: iovSize(args.data), ...UNCHANGED };
    },
    readv: afterAll,
    fsync: afterAll,
    flush: afterAll,
    ftruncate: afterAll,
    fallocate: afterAll,
    discard: afterAll,
    zerofill: afterAll,
    lookup: afterAll,
  });
}
