/**
 * Deliberate bugs, to show that the simulation finds such: each is put into the graphs from outside, as a
 * layer or as a changed field of a built translator, so that production code has no hooks for it.
 */

import type { Graph } from "../../src/graph/graph.ts";
import { Replicate } from "../../xlators/cluster/replicate/replicate.ts";
import type { Sabotage } from "./cluster.ts";
import {
  answersEntrylk,
  answersFsync,
  answersInodelk,
  answersUnlinks,
  answersWrites,
  badBrick,
  blamesNobody,
  dropsHalfOfChanges,
  loosePostOp,
  neverDirty,
  seesNoBlame,
  shiftsBlame,
  skipsPostOp,
} from "./mutant-layers.ts";
import {
  cutsNoBlock,
  firstSizeOnly,
  forgetsBlocks,
  hidesFailures,
  keepsBlocks,
  keepsSizes,
  marksNothing,
  overtakes,
  syncsLater,
} from "./mutant-stack-layers.ts";
import type { Shape, Stack } from "./plan.ts";

export interface Mutant {
  readonly name: string;
  /** What is wrong. */
  readonly about: string;
  /** Clusters that can show it. */
  readonly shapes: readonly Shape[];
  /** Clients that can show it. */
  readonly stacks: readonly Stack[];
  sabotage(): Sabotage;
}

const ONE_BRICK: readonly Shape[] = ["one brick"];
const ARBITER: readonly Shape[] = ["arbiter"];
const COPIES: readonly Shape[] = ["replica 3", "arbiter"];
const SHARDED: readonly Stack[] = ["shard", "virt"];
const PROMISING: readonly Stack[] = ["write-behind", "virt"];
/** A heal daemon without the layer of its clients. */
const HONEST_HEALER = { healer: [] };

const OF_COPIES: readonly Omit<Mutant, "stacks">[] = [
  {
    name: "brick-drops-writes",
    about: "a brick acknowledges one write in fifty without doing it",
    shapes: ONE_BRICK,
    sabotage: () => ({ brick: [badBrick.dropsWrites] }),
  },
  {
    name: "brick-forgets-fsync",
    about: "a brick acknowledges fsync without doing it",
    shapes: ONE_BRICK,
    sabotage: () => ({ brick: [badBrick.forgetsFsync] }),
  },
  {
    name: "skip-post-op",
    about: "marks of the pre-op are never taken back",
    shapes: COPIES,
    sabotage: () => ({ client: [skipsPostOp], ...HONEST_HEALER }),
  },
  {
    name: "skip-pre-op",
    about: "copies are written without a dirty mark",
    shapes: COPIES,
    sabotage: () => ({ client: [neverDirty], ...HONEST_HEALER }),
  },
  {
    name: "blame-nobody",
    about: "a copy that missed a write is not marked",
    shapes: COPIES,
    sabotage: () => ({ client: [blamesNobody], ...HONEST_HEALER }),
  },
  {
    name: "arbiter-is-data",
    about: "the arbiter counts as a copy with data",
    shapes: ARBITER,
    sabotage: () => ({ onClient: patched((set) => Object.assign(set, { arbiter: -1 })) }),
  },
  {
    name: "no-quorum",
    about: "writes are acknowledged with any number of copies",
    shapes: COPIES,
    sabotage: () => ({ onClient: patched((set) => Object.assign(set, { hasQuorum: () => true })) }),
  },
  {
    name: "acknowledge-early",
    about: "a write counts as done on a copy before the copy has answered",
    shapes: COPIES,
    sabotage: () => ({ client: [answersWrites(0)], ...HONEST_HEALER }),
  },
  {
    name: "read-unreadable",
    about: "reads do not look at who is blamed",
    shapes: COPIES,
    sabotage: () => ({ client: [seesNoBlame], ...HONEST_HEALER }),
  },
  {
    name: "no-fsync-before-post-op",
    about: "marks are taken back before the data is on disk",
    shapes: COPIES,
    sabotage: () => ({ client: [answersFsync], ...HONEST_HEALER }),
  },
  {
    name: "no-locks",
    about: "writers do not lock the file",
    shapes: COPIES,
    sabotage: () => ({ client: [answersInodelk], ...HONEST_HEALER }),
  },
  {
    name: "clear-marks-early",
    about: "the post-op takes back marks of copies that failed as well",
    shapes: COPIES,
    sabotage: () => ({ client: [loosePostOp], ...HONEST_HEALER }),
  },
  {
    name: "drop-changed-ranges",
    about: "the brick is told of half of the ranges that a copy missed",
    shapes: COPIES,
    sabotage: () => ({ client: [dropsHalfOfChanges], ...HONEST_HEALER }),
  },
  {
    name: "heal-from-sink",
    about: "the heal daemon blames the wrong copies, so that it heals from a sink",
    shapes: COPIES,
    sabotage: () => ({ client: [], healer: [shiftsBlame] }),
  },
  {
    name: "heal-clears-early",
    about: "the heal daemon takes marks back before what it copied is written",
    shapes: COPIES,
    sabotage: () => ({ client: [], healer: [answersWrites(2_000)] }),
  },
  {
    name: "heal-without-locks",
    about: "the heal daemon copies without locking out writers",
    shapes: COPIES,
    sabotage: () => ({ client: [], healer: [answersInodelk] }),
  },
  {
    name: "heal-keeps-removed-names",
    about: "the heal daemon does not remove names that were removed elsewhere",
    shapes: COPIES,
    sabotage: () => ({ client: [], healer: [answersUnlinks] }),
  },
  {
    name: "names-without-locks",
    about: "operations on names do not lock them",
    shapes: COPIES,
    sabotage: () => ({ client: [answersEntrylk], ...HONEST_HEALER }),
  },
];

const OF_STACKS: readonly Mutant[] = [
  {
    name: "shard-forgets-block",
    about: "an fsync does not reach every block that was written",
    shapes: ONE_BRICK,
    stacks: SHARDED,
    sabotage: () => ({ belowShard: [forgetsBlocks] }),
  },
  {
    name: "shard-stale-size",
    about: "the size of a file is believed for ever",
    shapes: COPIES,
    stacks: SHARDED,
    sabotage: () => ({ belowShard: [firstSizeOnly()] }),
  },
  {
    name: "shard-keeps-size",
    about: "a write is acknowledged before its size is on the disk",
    shapes: COPIES,
    stacks: SHARDED,
    sabotage: () => ({ belowShard: [keepsSizes] }),
  },
  {
    name: "shard-no-marker",
    about: "a file is removed without a marker for its blocks",
    shapes: COPIES,
    stacks: SHARDED,
    sabotage: () => ({ belowShard: [marksNothing] }),
  },
  {
    name: "shard-keeps-tail",
    about: "the last block of a file that is cut keeps its tail",
    shapes: COPIES,
    stacks: SHARDED,
    sabotage: () => ({ belowShard: [cutsNoBlock] }),
  },
  {
    name: "shard-keeps-blocks",
    about: "blocks beyond the end of a file that is cut stay",
    shapes: COPIES,
    stacks: SHARDED,
    sabotage: () => ({ belowShard: [keepsBlocks] }),
  },
  {
    name: "write-behind-syncs-later",
    about: "fsync and close are answered before the bricks have what was promised",
    shapes: COPIES,
    stacks: PROMISING,
    sabotage: () => ({ aboveAll: [syncsLater] }),
  },
  {
    name: "write-behind-hides-failures",
    about: "a write that was promised and failed is forgotten",
    shapes: COPIES,
    stacks: PROMISING,
    sabotage: () => ({ belowWriteBehind: [hidesFailures] }),
  },
  {
    name: "write-behind-overtakes",
    about: "writes of the same bytes overtake each other",
    shapes: COPIES,
    stacks: PROMISING,
    sabotage: () => ({ belowWriteBehind: [overtakes()] }),
  },
];

export const MUTANTS: readonly Mutant[] = [
  ...OF_COPIES.map((mutant) => ({ ...mutant, stacks: ["copies"] as const })),
  ...OF_STACKS,
];

/** Changes a client's replica set once the graph is built. */
function patched(change: (set: Replicate["set"]) => void): (graph: Graph) => void {
  return (graph) => {
    for (const xlator of graph.xlators) if (xlator instanceof Replicate) change(xlator.set);
  };
}
