/** Free space of several children as one (GlusterFS dht_statfs_cbk). */

import type { Statfs } from "../../../src/core/fops.ts";

/** Sums; block sizes are the largest. At least one part. */
export function summed(parts: readonly Statfs[]): Statfs {
  const frsize = Math.max(...parts.map((part) => part.frsize));
  const bsize = Math.max(...parts.map((part) => part.bsize));
  const last = parts.at(-1)!;
  const total = { blocks: 0, bfree: 0, bavail: 0, files: 0, ffree: 0, favail: 0 };
  for (const part of parts) {
    const factor = part.frsize / frsize;
    total.blocks += Math.floor(part.blocks * factor);
    total.bfree += Math.floor(part.bfree * factor);
    total.bavail += Math.floor(part.bavail * factor);
    total.files += part.files;
    total.ffree += part.ffree;
    total.favail += part.favail;
  }
  return { ...last, ...total, bsize, frsize };
}
