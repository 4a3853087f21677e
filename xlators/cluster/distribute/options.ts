/** Options of cluster/distribute, spelled as GlusterFS spells them (dht-shared.c). */

import {
  Bad,
  bool,
  choice,
  int,
  type OptionSpec,
  type OptionTable,
  type OptionValues,
  percent,
  percentOrSize,
  string,
} from "../../../src/core/options.ts";

/** Switches a pattern off. */
const NO_PATTERN = "none";

/** A POSIX extended expression with a group, as text. */
function pattern(common: { default: string; describe: string; volumeKey: string }): OptionSpec<string> {
  const parse = (text: string): string | Bad => {
    try {
      new RegExp(text);
      return text;
    } catch {
      return new Bad("is no regular expression");
    }
  };
  return { ...string({ ...common, live: true }), kind: "regular expression", parse };
}

/** The expressions that names are tried against, in that order. */
export function hashPatterns(given: DistributeOptions): readonly RegExp[] {
  const texts = [given["extra-hash-regex"], given["rsync-hash-regex"]];
  return texts.filter((text) => text !== NO_PATTERN).map((text) => new RegExp(text));
}

const LOOKUP_WORDS = ["auto", "yes", "no", "enable", "disable", "1", "0", "on", "off"] as const;

/** `all`, or a number, as the volume option is spelled; the volfile has the number. */
const spread = int({
  default: 0,
  min: 0,
  live: true,
  volumeKey: "cluster.subvols-per-directory",
  describe: "How many subvolumes a new directory spreads over; 0: all.",
});

export const options = {
  "lookup-unhashed": choice(LOOKUP_WORDS, {
    default: "on",
    live: true,
    volumeKey: "cluster.lookup-unhashed",
    describe: "As in GlusterFS 10, without effect: a file is looked for everywhere unless lookup-optimize.",
  }),
  "lookup-optimize": bool({
    default: true,
    live: true,
    volumeKey: "cluster.lookup-optimize",
    describe:
      "Trust a directory's commit hash when a name is not where it belongs. Shards are never trusted.",
  }),
  "min-free-disk": percentOrSize({
    default: { percent: 10 },
    live: true,
    volumeKey: "cluster.min-free-disk",
    describe: "New files go elsewhere when a subvolume has less free space.",
  }),
  "min-free-inodes": percent({
    default: 5,
    live: true,
    volumeKey: "cluster.min-free-inodes",
    describe: "New files go elsewhere when a subvolume has fewer free inodes.",
  }),
  "unhashed-sticky-bit": bool({
    default: false,
    live: true,
    describe: "Show files that lie elsewhere with the sticky bit.",
    unused: "where a file lies is nothing for its users",
  }),
  "use-readdirp": bool({
    default: true,
    live: true,
    volumeKey: "cluster.use-readdirp",
    describe: "Lists with attributes; Mortar always does, as only they tell linkto files.",
  }),
  "assert-no-child-down": bool({
    default: false,
    live: true,
    volumeKey: "cluster.assert-no-child-down",
    describe: "Serve only while all subvolumes are up.",
  }),
  "directory-layout-spread": spread,
  "decommissioned-bricks": string({
    default: "",
    live: true,
    describe: "Subvolumes that are being removed, comma-separated: no new directory counts on them.",
  }),
  "readdir-optimize": bool({
    default: false,
    live: true,
    volumeKey: "cluster.readdir-optimize",
    describe: "List directories from the first subvolume only.",
  }),
  "rsync-hash-regex": pattern({
    // Temporary files of rsync, `.name.XXXXXX`.
    default: "^\\.(.+)\\.[^.]+$",
    volumeKey: "cluster.rsync-hash-regex",
    describe: "Names that match hash as the first group; none: off.",
  }),
  "extra-hash-regex": pattern({
    default: NO_PATTERN,
    volumeKey: "cluster.extra-hash-regex",
    describe: "The same, tried first.",
  }),
  "xattr-name": string({
    default: "trusted.glusterfs.dht",
    volumeKey: "cluster.dht-xattr-name",
    describe: "How xattrs of this layer begin.",
  }),
  "weighted-rebalance": bool({
    default: true,
    live: true,
    volumeKey: "cluster.weighted-rebalance",
    describe: "Shares of new directories follow the sizes of subvolumes.",
  }),
  "randomize-hash-range-by-gfid": bool({
    default: false,
    live: true,
    volumeKey: "cluster.randomize-hash-range-by-gfid",
    describe: "Which subvolume comes first in a new directory follows its gfid, not its path.",
  }),
  "rebal-throttle": string({
    default: "normal",
    live: true,
    volumeKey: "cluster.rebal-throttle",
    describe: "Of the rebalance process: how fast it moves files.",
    unused: "files are moved by GlusterFS' rebalance process alone",
  }),
  "lock-migration": bool({
    default: false,
    live: true,
    volumeKey: "cluster.lock-migration",
    describe: "Of the rebalance process: locks move with files.",
    unused: "files are moved by GlusterFS' rebalance process alone",
  }),
  "force-migration": bool({
    default: false,
    live: true,
    volumeKey: "cluster.force-migration",
    describe: "Of the rebalance process: moves files that somebody writes, too.",
    unused: "files are moved by GlusterFS' rebalance process alone",
  }),
  "ensure-durability": bool({
    default: true,
    live: true,
    volumeKey: "rebalance.ensure-durability",
    describe: "Of the rebalance process: syncs files that it has moved.",
    unused: "files are moved by GlusterFS' rebalance process alone",
  }),
} as const satisfies OptionTable;

export type DistributeOptions = OptionValues<typeof options>;
