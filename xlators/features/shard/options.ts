/**
 * Options of features/shard, spelled, typed and defaulted as GlusterFS 10.3 has them (spec translators.md
 * 5.3).
 */

import { bool, int, type OptionTable, type OptionValues, size } from "../../../src/core/options.ts";

export const BLOCK_SIZE_MIN = 4 * 2 ** 20;
const BLOCK_SIZE_MAX = 4 * 2 ** 40;
const INT_MAX = 2 ** 31 - 1;

/** The table; tests may want smaller blocks than GlusterFS allows. */
export function optionsWith(blockSizeMin: number) {
  return {
    shard: bool({
      default: false,
      volumeKey: "features.shard",
      describe:
        "Cut files into blocks. The section being in the graph decides; this is what glusterd writes.",
    }),
    "shard-block-size": size({
      default: 64 * 2 ** 20,
      min: blockSizeMin,
      max: BLOCK_SIZE_MAX,
      live: true,
      volumeKey: "features.shard-block-size",
      describe: "Block size of files that are made from now on; files that exist keep theirs.",
    }),
    "shard-deletion-rate": int({
      default: 100,
      min: 100,
      max: INT_MAX,
      live: true,
      volumeKey: "features.shard-deletion-rate",
      describe: "Blocks that are removed at a time.",
    }),
    "shard-lru-limit": int({
      default: 16384,
      min: 20,
      max: INT_MAX,
      live: true,
      volumeKey: "features.shard-lru-limit",
      describe: "Blocks whose gfid is remembered; others are looked up when they are needed.",
    }),
  } as const satisfies OptionTable;
}

export type ShardOptionTable = ReturnType<typeof optionsWith>;
export type ShardOptions = OptionValues<ShardOptionTable>;
