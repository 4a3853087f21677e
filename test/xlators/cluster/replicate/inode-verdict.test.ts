/** What an operation came to, by who did it: the table of spec translators.md 4.4. */

import { describe, expect, it } from "vitest";
import { type ChildSet, countChildren } from "../../../../xlators/cluster/replicate/child-set.ts";
import { inodeVerdict } from "../../../../xlators/cluster/replicate/inode-verdict.ts";

/** "101": children 0 and 2. */
function set(text: string): ChildSet {
  return [...text].reduce((all, bit, child) => (bit === "1" ? all | (1 << child) : all), 0);
}

const majority = (children: ChildSet): boolean => countChildren(children) > 1;
const anyone = (children: ChildSet): boolean => countChildren(children) > 0;

describe("the verdict about an operation", () => {
  it.each([
    // asked, succeeded, sources, refused alike, quorum rule, verdict, failed
    ["111", "111", "111", false, majority, "done", "000"],
    ["111", "110", "111", false, majority, "done", "001"],
    ["110", "110", "110", false, majority, "done", "000"],
    ["111", "100", "111", false, majority, "no-quorum", "011"],
    ["110", "100", "110", false, majority, "no-quorum", "010"],
    ["111", "000", "111", true, majority, "refused", "111"],
    ["111", "000", "111", false, majority, "unknown", "111"],
    ["111", "110", "001", false, majority, "last-source", "001"],
    ["111", "011", "110", false, majority, "done", "100"],
    // The third is an arbiter, and so no source.
    ["111", "001", "110", false, anyone, "last-source", "110"],
    ["111", "101", "010", false, majority, "last-source", "010"],
    // Two copies without a rule of quorum.
    ["110", "100", "110", false, anyone, "done", "010"],
    ["100", "100", "100", false, anyone, "done", "000"],
  ] as const)(
    "asked %s, done by %s, good %s",
    (asked, succeeded, sources, refusedAlike, rule, kind, failed) => {
      const outcome = { asked: set(asked), succeeded: set(succeeded), sources: set(sources), refusedAlike };
      expect(inodeVerdict({ ...outcome, hasQuorum: rule })).toEqual({ kind, failed: set(failed) });
    },
  );
});
