/** The layers that mutants put between two translators: each does one thing wrong. */

import { ChangedRanges, decodeChange, encodeChange } from "../../src/core/changed-ranges.ts";
import { Dict } from "../../src/core/dict.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";
import { iovSize } from "../../src/core/iovec.ts";
import { CHANGED_RANGES_KEY } from "../../src/core/keys.ts";
import { type Passing, type Tampering, tamper } from "./tamper.ts";

const DIRTY = "trusted.afr.dirty";
const PENDING = /^trusted\.afr\.vol-client-(\d+)$/;
const UNCHANGED = { pre: ZERO_IATT, post: ZERO_IATT };
const COUNTERS = [0, 4, 8] as const;
/** How late the brick gets a write that was answered for it. */
const BACKGROUND_MS = 5;

export const badBrick = {
  dropsWrites: tamper("drops-writes", {
    writev: ({ args, env, next }) =>
      env.random.float() < 0.02 ? Promise.resolve({ size: iovSize(args.data), ...UNCHANGED }) : next(),
  }),
  forgetsFsync: tamper("forgets-fsync", { fsync: () => Promise.resolve(UNCHANGED) }),
};

/** Does the same to xattrop and fxattrop. */
function onXattrop(
  change: (passing: Passing<"xattrop" | "fxattrop">) => Promise<Reply<"xattrop">>,
): Tampering {
  return {
    xattrop: (passing) => change(passing as unknown as Passing<"xattrop" | "fxattrop">),
    fxattrop: (passing) => change(passing as unknown as Passing<"xattrop" | "fxattrop">),
  };
}

type XattropArgs = Args<"xattrop" | "fxattrop">;

/** The request with some of its increments changed. */
function withIncrements(args: XattropArgs, change: (key: string, value: Buffer) => Buffer): XattropArgs {
  const xattrs = new Dict();
  for (const key of args.xattrs.keys()) xattrs.setBytes(key, change(key, args.xattrs.bytes(key)!));
  return { ...args, xattrs };
}

function clipped(value: Buffer, keep: (count: number) => boolean): Buffer {
  const out = Buffer.alloc(value.length);
  for (const at of COUNTERS) {
    const count = value.readInt32BE(at);
    if (keep(count)) out.writeInt32BE(count, at);
  }
  return out;
}

export const skipsPostOp = tamper(
  "skips-post-op",
  onXattrop(({ args, next }) =>
    next(withIncrements(args, (key, value) => (key === DIRTY ? clipped(value, (n) => n > 0) : value))),
  ),
);

export const neverDirty = tamper(
  "never-dirty",
  onXattrop(({ args, next }) =>
    next(withIncrements(args, (key, value) => (key === DIRTY ? Buffer.alloc(value.length) : value))),
  ),
);

export const blamesNobody = tamper(
  "blames-nobody",
  onXattrop(({ args, next }) =>
    next(withIncrements(args, (key, value) => (key === DIRTY ? value : clipped(value, (n) => n < 0)))),
  ),
);

/** Blame on disk is overwritten by the next lowering of dirty: whoever was blamed counts as clean again. */
export const loosePostOp = tamper(
  "loose-post-op",
  onXattrop(async (passing) => {
    const { args, next } = passing;
    const lowers = args.xattrs.bytes(DIRTY)?.some((byte) => byte === 0xff) ?? false;
    const reply = await next();
    if (!lowers) return reply;
    await next(
      withIncrements({ ...args, xdata: undefined }, (key) => {
        const now = reply.xattrs.bytes(key);
        return PENDING.test(key) && now ? negated(now) : Buffer.alloc(12);
      }),
    );
    return reply;
  }),
);

function negated(value: Buffer): Buffer {
  const out = Buffer.alloc(value.length);
  for (const at of COUNTERS) out.writeInt32BE(-value.readInt32BE(at) | 0, at);
  return out;
}

/** Answers writes at once; the brick gets them a little later, and nobody hears how that ended. */
export function answersWrites(afterMs: number): ReturnType<typeof tamper> {
  return tamper(`answers-writes-${afterMs}`, {
    writev: async ({ args, env, next }) => {
      const copy = { ...args, data: args.data.map((part) => Buffer.from(part)) };
      env.clock.after(afterMs + BACKGROUND_MS, () => void next(copy).catch(() => {}));
      return { size: iovSize(args.data), pre: ZERO_IATT, post: ZERO_IATT };
    },
  });
}

export const answersFsync = tamper("answers-fsync", {
  fsync: ({ args, next }) => (args.xdata?.has("batch-fsync") ? Promise.resolve(UNCHANGED) : next()),
});

export const answersInodelk = tamper("answers-inodelk", {
  inodelk: () => Promise.resolve({}),
  finodelk: () => Promise.resolve({}),
});

export const answersEntrylk = tamper("answers-entrylk", {
  entrylk: () => Promise.resolve({}),
  fentrylk: () => Promise.resolve({}),
});

const NO_PARENTS = { preParent: ZERO_IATT, postParent: ZERO_IATT };

/** Names stay where they are; also those that a heal would park. */
export const answersUnlinks = tamper("answers-unlinks", {
  unlink: () => Promise.resolve(NO_PARENTS),
  rmdir: () => Promise.resolve(NO_PARENTS),
  rename: () =>
    Promise.resolve({
      stat: ZERO_IATT,
      preOldParent: ZERO_IATT,
      postOldParent: ZERO_IATT,
      preNewParent: ZERO_IATT,
      postNewParent: ZERO_IATT,
    }),
});

/** Replies' pending counters, as the caller gets to see them. */
function seen(
  dict: Dict | undefined,
  see: (key: string, value: Buffer) => readonly [string, Buffer],
): Dict | undefined {
  if (dict === undefined) return undefined;
  const out = dict.clone();
  const entries = [...dict.keys()].filter((key) => PENDING.test(key));
  for (const key of entries) out.delete(key);
  for (const key of entries) out.setBytes(...see(key, dict.bytes(key)!));
  return out;
}

function onReplies(see: (key: string, value: Buffer) => readonly [string, Buffer]): Tampering {
  return {
    lookup: async ({ next }) => {
      const reply = await next();
      return { ...reply, xdata: seen(reply.xdata, see) };
    },
    fstat: async ({ next }) => {
      const reply = await next();
      return { ...reply, xdata: seen(reply.xdata, see) };
    },
  };
}

export const seesNoBlame = tamper(
  "sees-no-blame",
  onReplies((key, value) => [key, Buffer.alloc(value.length)]),
);

/** Blame of copy i reads as blame of copy i + 1 of three, and what is written to that goes back to i. */
const next = (key: string): string => moved(key, 1);
const back = (key: string): string => moved(key, 2);

function moved(key: string, by: number): string {
  return key.replace(PENDING, (_, index: string) => `trusted.afr.vol-client-${(Number(index) + by) % 3}`);
}

export const shiftsBlame = tamper("shifts-blame", {
  ...onReplies((key, value) => [next(key), value]),
  ...onXattrop(async ({ args, next: send }) => {
    const xattrs = new Dict();
    for (const key of args.xattrs.keys()) xattrs.setBytes(back(key), args.xattrs.bytes(key)!);
    const reply = await send({ ...args, xattrs });
    const answer = new Dict();
    for (const key of reply.xattrs.keys()) answer.setBytes(next(key), reply.xattrs.bytes(key)!);
    return { ...reply, xattrs: answer };
  }),
  getxattr: async ({ next: send }) => {
    const reply = await send();
    return { ...reply, xattrs: seen(reply.xattrs, (key, value) => [next(key), value])! };
  },
});

export const dropsHalfOfChanges = tamper(
  "drops-half-of-changes",
  onXattrop(({ args, next: send }) => {
    const change = decodeChange(args.xdata?.bytes(CHANGED_RANGES_KEY.CHANGE));
    if (change === undefined || change.ranges.count === 0) return send();
    const spans = change.ranges.spans();
    const half = spans.slice(0, Math.floor(spans.length / 2));
    const ranges = ChangedRanges.of(half);
    const xdata = args
      .xdata!.clone()
      .setBytes(CHANGED_RANGES_KEY.CHANGE, encodeChange({ ...change, ranges }));
    return send({ ...args, xdata });
  }),
);
