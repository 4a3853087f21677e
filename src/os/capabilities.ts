/**
 * Capabilities of the calling thread: what the kernel copies from it in one call can be less than what the
 * process has. capget(2) and capset(2) as of version 3, two words of each set.
 */

import { declare, direct } from "./libc.ts";

/** Writes of a thread without it take set-id bits from a file. */
export const CAP_FSETID = 4;

const VERSION_3 = 0x20080522;
const SETS_BYTES = 24;

const c = {
  capget: declare("int capget(void *header, void *sets)"),
  capset: declare("int capset(void *header, const void *sets)"),
};

/** Runs a task (one turn, nothing asynchronous) without one of the first 32 capabilities. Throws FopError. */
export function withoutCapability<R>(capability: number, task: () => R): R {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(VERSION_3, 0);
  const sets = Buffer.alloc(SETS_BYTES);
  direct("capget", c.capget, header, sets);
  const effective = sets.readUInt32LE(0);
  const less = Buffer.from(sets);
  less.writeUInt32LE((effective & ~(1 << capability)) >>> 0, 0);
  direct("capset", c.capset, header, less);
  try {
    return task();
  } finally {
    direct("capset", c.capset, header, sets);
  }
}
