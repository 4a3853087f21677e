/** Which copies are good, as tables: what each brick says, and what follows (spec translators.md 4.5). */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { S_IFDIR, S_IFREG, ZERO_IATT } from "../../../../src/core/iatt.ts";
import type { Outcomes } from "../../../../xlators/cluster/replicate/fan-out.ts";
import { type CopyReply, readableOf } from "../../../../xlators/cluster/replicate/readable.ts";
import type { ReplicaSet } from "../../../../xlators/cluster/replicate/replica-set.ts";
import type { Replicate } from "../../../../xlators/cluster/replicate/replicate.ts";
import { Copies } from "./three-copies.ts";

/** Of one copy: its size, and whom it blames, as "child:data,metadata,entry". */
interface Said {
  readonly size?: number;
  readonly blames?: readonly string[];
  readonly dirty?: boolean;
  readonly locks?: number;
  readonly bad?: boolean;
  readonly away?: boolean;
}

function reply({ size = 0, blames = [], dirty, locks, bad }: Said, mode: number): CopyReply {
  const xdata = new Dict();
  for (const blame of blames) {
    const [child, counts] = blame.split(":");
    const bytes = Buffer.alloc(12);
    for (const [slot, count] of counts!.split(",").entries()) bytes.writeInt32BE(Number(count), slot * 4);
    xdata.setBytes(`trusted.afr.v-client-${child}`, bytes);
  }
  if (dirty) xdata.setBytes("trusted.afr.dirty", Buffer.alloc(12, 1));
  if (locks !== undefined) xdata.setInt("glusterfs.inodelk-count", locks);
  if (bad) xdata.setInt("glusterfs.bad-inode", 1);
  return { stat: { ...ZERO_IATT, mode, size }, xdata };
}

async function setOf(options: Record<string, string>): Promise<ReplicaSet> {
  await using copies = await Copies.start({ options, contracts: false });
  return copies.graph.xlator<Replicate>("v-replicate-0").set;
}

function judge(set: ReplicaSet, said: readonly Said[], mode: number): { data: string; metadata: string } {
  const outcomes: Outcomes<CopyReply> = said.map((one) =>
    one.away ? { ok: false, error: new FopError("ENOTCONN") } : { ok: true, reply: reply(one, mode) },
  );
  const { data, metadata } = readableOf(set, outcomes);
  const names = (children: number): string => [0, 1, 2].filter((child) => children & (1 << child)).join("");
  return { data: names(data), metadata: names(metadata) };
}

type Row = readonly [what: string, said: readonly Said[], data: string, metadata: string];

const FILES: readonly Row[] = [
  ["nobody blames anybody", [{}, {}, {}], "012", "012"],
  ["one is away", [{}, { away: true }, {}], "02", "02"],
  ["one is blamed for data", [{ blames: ["2:1,0,0"] }, {}, {}], "01", "012"],
  ["one is blamed for metadata", [{}, { blames: ["0:0,3,0"] }, {}], "012", "12"],
  ["an entry count of a file means nothing", [{ blames: ["1:0,0,7"] }, {}, {}], "012", "012"],
  ["one blames itself", [{ blames: ["0:1,0,0"] }, {}, {}], "12", "012"],
  ["two blame each other", [{ blames: ["1:1,0,0"] }, { blames: ["0:1,0,0"] }, {}], "2", "012"],
  ["a host-endian one is a count too", [{ blames: ["1:0,16777216,0"] }, {}, {}], "012", "02"],
  ["the one who blames is away", [{ away: true, blames: ["1:1,0,0"] }, {}, {}], "12", "12"],
  ["dirty says nothing", [{ dirty: true }, { dirty: true }, {}], "012", "012"],
  [
    "a damaged copy is not read, yet may blame nobody",
    [{ bad: true, blames: ["1:1,0,0"] }, {}, {}],
    "12",
    "12",
  ],
  ["smaller copies of an idle file", [{ size: 9 }, { size: 8 }, { size: 9 }], "02", "012"],
  ["of a file with locks sizes may differ", [{ size: 9, locks: 1 }, { size: 8 }, { size: 9 }], "012", "012"],
  [
    "a blamed copy's size counts for nothing",
    [{ size: 5 }, { size: 9, blames: ["1:1,0,0"] }, { size: 5 }],
    "02",
    "012",
  ],
  ["all are blamed", [{ blames: ["0:1,1,0", "1:1,1,0", "2:1,1,0"] }, {}, {}], "", ""],
];

const DIRECTORIES: readonly Row[] = [
  ["names are what the entry count is about", [{ blames: ["1:0,0,1"] }, {}, {}], "02", "012"],
  ["a full heal that is due does not matter", [{ blames: ["1:1,0,0"] }, {}, {}], "012", "012"],
  ["sizes of directories do not matter", [{ size: 4096 }, { size: 10 }, { size: 0 }], "012", "012"],
];

const ARBITER: readonly Row[] = [
  ["the arbiter is never read", [{ size: 9 }, { size: 9 }, { size: 0 }], "01", "01"],
  ["the arbiter blames", [{ size: 9 }, { size: 9 }, { blames: ["1:1,1,0"] }], "0", "0"],
  ["only the arbiter is good", [{ blames: ["1:1,1,0"] }, {}, { blames: ["0:1,1,0"] }], "", ""],
];

describe("good copies", () => {
  const tables = [
    ["of a file", FILES, S_IFREG, {}],
    ["of a directory", DIRECTORIES, S_IFDIR, {}],
    ["of a file beside an arbiter", ARBITER, S_IFREG, { "arbiter-count": "1" }],
  ] as const;
  it.each(tables)("%s", async (_, rows, mode, options) => {
    const set = await setOf(options);
    for (const [what, said, data, metadata] of rows)
      expect({ what, ...judge(set, said, mode) }).toEqual({ what, data, metadata });
  });
});
