/** What the parts of features/shard share, and few words that several of them need. */

import type { Env } from "../../../src/core/env.ts";
import { type ErrnoName, FopError } from "../../../src/core/errors.ts";
import type { FopName } from "../../../src/core/fops.ts";
import type { Fd } from "../../../src/core/inode.ts";
import type { Logger } from "../../../src/core/log.ts";
import { O_ACCMODE, O_RDONLY, O_WRONLY } from "../../../src/core/open-flags.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import type { Files } from "./file.ts";
import type { ShardOptions } from "./options.ts";
import type { Shards } from "./shards.ts";

export interface Context {
  /** Instance name; also the lock domain that GlusterFS' shard uses. */
  readonly name: string;
  readonly below: XlatorBase;
  readonly env: Env;
  readonly log: Logger;
  readonly files: Files;
  readonly shards: Shards;
  options(): ShardOptions;
}

/** Fops on many blocks that run at a time. */
export const PARALLEL = 32;

/**
 * Runs `task` on every item, PARALLEL at a time; the first failure is the result, when all that began ended.
 */
export async function eachOf<T>(
  items: readonly T[],
  task: (item: T) => Promise<void>,
  parallel = PARALLEL,
): Promise<void> {
  let next = 0;
  let failure: unknown;
  const work = async (): Promise<void> => {
    while (next < items.length && failure === undefined) {
      const item = items[next++]!;
      try {
        await task(item);
      } catch (error) {
        failure ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, items.length) }, work));
  if (failure !== undefined) throw failure;
}

export function refusal({ name }: Context, fop: FopName, code: ErrnoName, message: string = code): FopError {
  return new FopError(code, { fop, xlator: name, message });
}

/** EBADF for an fd that was not opened for this; blocks are reached by fds that may do everything. */
export function checkReadable(context: Context, fop: FopName, fd: Fd): void {
  if ((fd.flags & O_ACCMODE) === O_WRONLY) throw refusal(context, fop, "EBADF");
}

export function checkWritable(context: Context, fop: FopName, fd: Fd): void {
  if ((fd.flags & O_ACCMODE) === O_RDONLY) throw refusal(context, fop, "EBADF");
}
