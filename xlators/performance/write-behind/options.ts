/**
 * Options of performance/write-behind, as GlusterFS 10.3 has them (spec translators.md 7.1;
 * performance/write-behind/src/write-behind.c), all of them live.
 *
 * One default differs: `resync-failed-syncs-after-fsync` is on. GlusterFS forgets a write once an fsync has
 * reported it; QEMU's default answer to ENOSPC is to stop the guest and to repeat the fsync alone, which
 * would then succeed without the data.
 */

import { bool, formatSize, type OptionTable, type OptionValues, size } from "../../../src/core/options.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

export const WRITE_BEHIND_OPTIONS = {
  "cache-size": size({
    default: MIB,
    min: 512 * KIB,
    max: 1024 * MIB,
    aliases: ["window-size"],
    volumeKey: "performance.write-behind-window-size",
    live: true,
    describe: "Bytes of one file that may be acknowledged before the bricks have them.",
  }),
  "aggregate-size": size({
    default: 128 * KIB,
    min: 4 * KIB,
    volumeKey: "performance.aggregate-size",
    live: true,
    describe: "Consecutive small writes go down as one of at most this size; not above the window.",
  }),
  "flush-behind": bool({
    default: true,
    volumeKey: "performance.flush-behind",
    live: true,
    describe: "A close is answered when all writes before it are settled, not when the bricks answered it.",
  }),
  "trickling-writes": bool({
    default: true,
    volumeKey: "performance.write-behind-trickling-writes",
    live: true,
    describe: "Send a small write at once while nothing of its file is under way; off: gather until full.",
  }),
  "strict-O_DIRECT": bool({
    default: false,
    volumeKey: "performance.strict-o-direct",
    live: true,
    describe: "Writes with O_DIRECT are answered by the bricks; off: they may be acknowledged early too.",
  }),
  "strict-write-ordering": bool({
    default: false,
    volumeKey: "performance.strict-write-ordering",
    live: true,
    describe: "No write overtakes an earlier one of its file, also where they do not overlap.",
  }),
  "resync-failed-syncs-after-fsync": bool({
    default: true,
    volumeKey: "performance.resync-failed-syncs-after-fsync",
    live: true,
    describe:
      "Keep an acknowledged write that failed, and try it again, until its file is closed; off (as in " +
      "GlusterFS): forget it once an fsync or a close has reported it.",
  }),
  "pass-through": bool({
    default: false,
    volumeKey: "performance.write-behind-pass-through",
    live: true,
    describe: "Acknowledge nothing early.",
  }),
} as const satisfies OptionTable;

export type WriteBehindOptions = OptionValues<typeof WRITE_BEHIND_OPTIONS>;

/** What is wrong with options that are right each by itself; undefined when nothing is. */
export function optionsFault(options: WriteBehindOptions): string | undefined {
  const { "aggregate-size": aggregate, "cache-size": window } = options;
  if (aggregate <= window) return undefined;
  return (
    `option aggregate-size: "${formatSize(aggregate)}" is above the window: ` +
    `at most cache-size, which is ${formatSize(window)}; make performance.write-behind-window-size larger first`
  );
}
