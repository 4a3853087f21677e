/** What is marked after an operation on names, as a table (spec translators.md 4.4). */

import { describe, expect, it } from "vitest";
import type { ErrnoName } from "../../../../src/core/errors.ts";
import { S_IFBLK, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK } from "../../../../src/core/iatt.ts";
import { entryVerdict, newEntryCounts } from "../../../../xlators/cluster/replicate/entry-verdict.ts";
import { hasQuorum } from "../../../../xlators/cluster/replicate/quorum.ts";

const ALL = 0b111;

/**
 * By child: "+" did it, "-" was not asked, else the errno. Then: dirty was raised, the caller hears of
 * success, who is blamed on whom, and what is added to dirty there.
 */
type Row = readonly [
  answers: readonly [string, string, string],
  dirtied: boolean,
  ok: boolean,
  blamed: number,
  markOn: number,
  dirty: number,
];

const WITH_QUORUM: readonly Row[] = [
  [["+", "+", "+"], false, true, 0, 0, 0],
  [["+", "+", "+"], true, true, 0, ALL, -1],
  [["+", "+", "-"], true, true, 0b100, 0b011, -1],
  [["+", "+", "EIO"], false, true, 0b100, 0b011, 0],
  [["+", "+", "EIO"], true, true, 0b100, 0b011, -1],
  [["+", "EEXIST", "+"], false, true, 0b010, 0b101, 0],
  [["+", "+", "ENOTCONN"], false, true, 0b100, 0b011, 0],
  [["EEXIST", "EEXIST", "EEXIST"], false, false, 0, 0, 0],
  [["EEXIST", "EEXIST", "EEXIST"], true, false, 0, ALL, -1],
  [["EEXIST", "EEXIST", "-"], true, false, 0, 0b011, -1],
  [["ENOTCONN", "ENOTCONN", "ENOTCONN"], true, false, 0, 0, 0],
  [["EEXIST", "ENOSPC", "EACCES"], true, false, 0, ALL, -1],
  [["ENOENT", "ENOENT", "EIO"], true, false, 0b100, 0b011, -1],
  [["ENOSPC", "ENOTCONN", "ENOSPC"], false, false, 0b010, 0b101, 0],
  [["+", "ENOSPC", "EROFS"], false, false, 0b001, 0b110, 0],
  [["+", "ENOSPC", "ENOSPC"], true, false, 0b001, 0b110, -1],
  [["+", "ENOSPC", "EIO"], false, false, 0, 0b001, 1],
  [["ENOSPC", "EIO", "-"], true, false, 0, 0, 0],
  [["+", "EIO", "EIO"], false, false, 0, 0b001, 1],
  [["+", "EIO", "EIO"], true, false, 0, 0, 0],
  [["+", "EIO", "-"], true, false, 0, 0, 0],
  [["+", "ENOTEMPTY", "+"], false, true, 0b010, 0b101, 0],
  [["+", "ENOTEMPTY", "ENOTEMPTY"], false, false, 0b001, 0b110, 0],
  [["ENOTEMPTY", "ENOTEMPTY", "ENOTEMPTY"], true, false, 0, ALL, -1],
];

/** Those that did it had missed what the others refuse it for. */
const OVERRULED: readonly Row[] = [
  [["+", "EEXIST", "EEXIST"], false, false, 0b001, 0b110, 0],
  [["+", "EEXIST", "-"], true, false, 0b001, 0b010, -1],
  [["+", "+", "ENOENT"], true, false, 0b011, 0b100, -1],
  [["+", "ENOENT", "EIO"], false, false, 0b101, 0b010, 0],
];

const WITHOUT: readonly Row[] = [
  [["+", "EIO", "EIO"], false, true, 0b110, 0b001, 0],
  [["+", "EIO", "-"], true, true, 0b110, 0b001, -1],
  [["+", "ENOTEMPTY", "+"], false, true, 0, 0, 0],
  [["EIO", "ENOSPC", "-"], true, false, 0, 0, 0],
];

function judge(row: Row, type: "auto" | "none", isOverruled = false): Row {
  const [answers, dirtied] = row;
  const errors = new Map<number, ErrnoName>();
  let succeeded = 0;
  let asked = 0;
  for (const [child, answer] of answers.entries()) {
    if (answer !== "-") asked |= 1 << child;
    if (answer === "+") succeeded |= 1 << child;
    else if (answer !== "-") errors.set(child, answer as ErrnoName);
  }
  const rule = { type, count: 0, childCount: 3 } as const;
  const { ok, blamed, markOn, dirty } = entryVerdict({
    all: ALL,
    asked,
    succeeded,
    overruled: isOverruled ? succeeded : 0,
    errors,
    dirtied,
    quorumRules: type !== "none",
    hasQuorum: (children) => hasQuorum(rule, children),
  });
  return [answers, dirtied, ok, blamed, markOn, dirty];
}

describe("marks after an operation on names", () => {
  it("with quorum rules", () => {
    expect(WITH_QUORUM.map((row) => judge(row, "auto"))).toEqual(WITH_QUORUM);
  });

  it("without", () => {
    expect(WITHOUT.map((row) => judge(row, "none"))).toEqual(WITHOUT);
  });

  it("when all that did it were behind", () => {
    expect(OVERRULED.map((row) => judge(row, "none", true))).toEqual(OVERRULED);
  });
});

describe("marks on a new object", () => {
  it.each([
    ["a file", S_IFREG, false, [1, 1, 0]],
    ["a directory", S_IFDIR, false, [0, 1, 1]],
    ["a directory of recorded names", S_IFDIR, true, [1, 1, 1]],
    ["a fifo", S_IFIFO, true, [0, 1, 0]],
    ["a device", S_IFBLK, true, [0, 1, 0]],
    ["a socket", S_IFSOCK, false, [0, 1, 0]],
    ["a symbolic link", S_IFLNK, false, [0, 1, 0]],
  ] as const)("%s", (_, type, granular, [data, metadata, entry]) => {
    expect(newEntryCounts(type | 0o644, granular)).toEqual({ data, metadata, entry });
  });
});
