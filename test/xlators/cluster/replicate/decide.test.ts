/**
 * Verdicts as text tables: what every brick says in, what a heal would do out. A row is a brick:
 * `PENDING... | DIRTY | SIZE MTIME CTIME ATTRIBUTES`; `-` for a brick that is down.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Slot } from "../../../../xlators/cluster/replicate/changelog.ts";
import {
  allChildren,
  childrenOf,
  hasChild,
  NO_CHILDREN,
  only,
} from "../../../../xlators/cluster/replicate/child-set.ts";
import {
  type CopyStat,
  decide,
  direction,
  type Marks,
  nameSides,
  type Policy,
  type Question,
  type Resolution,
  type Verdict,
} from "../../../../xlators/cluster/replicate/decide.ts";
import { quorumCount, quorumRule } from "../../../../xlators/cluster/replicate/quorum.ts";

const REGULAR = 0o100644;
const DIRECTORY = 0o040755;

interface Setting {
  readonly slot?: Slot;
  readonly arbiter?: number;
  readonly policy?: Policy;
  readonly resolution?: Resolution;
  readonly forced?: boolean;
  readonly mode?: number;
  readonly quorum?: number;
}

function question(table: string, setting: Setting = {}): Question {
  const rows = table.trim().split("\n");
  const count = rows.length;
  let locked = allChildren(count);
  const pending: number[][] = [];
  const dirty: number[] = [];
  const attributes: string[] = [];
  const stats = rows.map((row, i): CopyStat => {
    if (row.trim() === "-") {
      locked &= ~only(i);
      pending.push(rows.map(() => 0));
      dirty.push(0);
      attributes.push("");
      return { mode: 0, size: 0, mtime: 0, mtimeNsec: 0, ctime: 0, ctimeNsec: 0 };
    }
    const [marks, dirt = "0", rest = "0 0 0 a"] = row.split("|").map((part) => part.trim());
    pending.push(marks!.split(/\s+/).map(Number));
    dirty.push(Number(dirt));
    const [size = "0", mtime = "0", ctime = "0", look = "a"] = rest.split(/\s+/);
    attributes.push(look);
    const [sec, nsec] = mtime.split(".").map(Number) as [number, number | undefined];
    return {
      mode: setting.mode ?? REGULAR,
      size: Number(size),
      mtime: sec,
      mtimeNsec: nsec ?? 0,
      ctime: Number(ctime),
      ctimeNsec: 0,
    };
  });
  return {
    slot: setting.slot ?? "data",
    marks: { pending, dirty },
    locked,
    stats,
    attributes,
    arbiter: setting.arbiter ?? -1,
    quorumCount: setting.quorum ?? quorumCount(quorumRule({ type: undefined, count: 0 }, count)),
    policy: setting.policy ?? "none",
    resolution: setting.resolution,
    forced: setting.forced ?? false,
  };
}

/** `heal 0 -> 1 2` names the source and the sinks; other kinds stand alone, with why. */
function say(verdict: Verdict): string {
  if (verdict.kind === "heal") return `heal ${verdict.source} -> ${childrenOf(verdict.sinks).join(" ")}`;
  return verdict.why ? `${verdict.kind}: ${verdict.why}` : verdict.kind;
}

function verdictOf(table: string, setting: Setting = {}): string {
  return say(decide(question(table, setting)));
}

describe("data: who is good", () => {
  it.each<[string, string, string]>([
    ["nothing marked, equal sizes", "0 0 0 | 0 | 4\n0 0 0 | 0 | 4\n0 0 0 | 0 | 4", "clean"],
    ["two blame the third", "0 0 1 | 0 | 4\n0 0 1 | 0 | 4\n0 0 0 | 0 | 4", "heal 0 -> 2"],
    ["one blames two", "0 1 1 | 0 | 4\n0 0 0 | 0 | 9\n0 0 0 | 0 | 9", "heal 0 -> 1 2"],
    ["HEAL-01: an empty copy that blames a full one", "0 1 | 0 | 0\n0 0 | 0 | 4", "heal 0 -> 1"],
    ["HEAL-02: no marks, the bigger one wins", "0 0 | 0 | 4\n0 0 | 0 | 5", "heal 1 -> 0"],
    ["HEAL-02: even with a dirty mark on the smaller", "0 0 | 1 | 4\n0 0 | 0 | 5", "heal 1 -> 0"],
    ["HEAL-04a: a fool cannot accuse", "0 1 | 0 | 4\n1 1 | 0 | 4", "heal 0 -> 1"],
    ["HEAL-04b: two fools, equal: the newest ctime", "1 1 | 0 | 4 0 7\n1 1 | 0 | 4 0 6", "heal 0 -> 1"],
    ["HEAL-04b: of equal ctimes the later brick", "1 1 | 0 | 4 0 7\n1 1 | 0 | 4 0 7", "heal 1 -> 0"],
    ["HEAL-04c: the greater witness", "2 2 | 0 | 4\n1 1 | 0 | 4", "heal 0 -> 1"],
    ["HEAL-04d: size before witness", "2 2 | 0 | 4\n1 1 | 0 | 5", "heal 1 -> 0"],
    ["HEAL-04e: own blame alone is a witness", "0 0 | 0 | 4\n0 1 | 0 | 4", "heal 1 -> 0"],
    ["dirty alone: largest witness", "0 0 0 | 1 | 4\n0 0 0 | 2 | 4\n0 0 0 | 1 | 4", "heal 1 -> 0 2"],
    [
      "dirty equally: newest ctime",
      "0 0 0 | 1 | 4 0 1\n0 0 0 | 1 | 4 0 9\n0 0 0 | 1 | 4 0 2",
      "heal 1 -> 0 2",
    ],
    ["SB-11a: two against one", "0 1 0 | 0 | 4\n1 0 1 | 0 | 4\n0 1 0 | 0 | 4", "heal 0 -> 1"],
    ["SB-11b: cyclic, dirty", "0 1 0 | 1 | 3\n0 0 1 | 1 | 5\n1 0 0 | 1 | 4", "heal 1 -> 0 2"],
    [
      "cyclic, equal sizes, not dirty: one of them",
      "0 1 0 | 0 | 4 0 9\n0 0 1 | 0 | 4\n1 0 0 | 0 | 4",
      "heal 0 -> 1 2",
    ],
    [
      "two that blame each other and the third",
      "0 1 1 | 0 | 4 0 1\n1 0 1 | 0 | 4 0 2\n0 0 0 | 0 | 4 0 3",
      "heal 1 -> 0 2",
    ],
    [
      "EAG-02: stale and dirty, the good one unblamed",
      "0 0 0 | 1 | 4\n0 0 0 | 1 | 4\n1 1 0 | 0 | 9",
      "heal 2 -> 0 1",
    ],
    ["everybody blames everybody", "0 1 1 | 0 | 4\n1 0 1 | 0 | 5\n1 1 0 | 0 | 6", "split-brain"],
    ["replica 2, each blames the other", "0 1 | 0 | 4\n1 0 | 0 | 4", "split-brain"],
    ["each blames the other, all empty", "0 1 | 0 | 0\n1 0 | 0 | 0", "heal 0 -> 1"],
    ["10.x: one is down", "0 0 1 | 0 | 4\n0 0 1 | 0 | 4\n-", "unavailable"],
    [
      "metadata heal of GlusterFS marks in host order",
      "0 0 16777216 | 0 | 4\n0 0 16777216 | 0 | 4\n0 0 0 | 0 | 4",
      "heal 0 -> 2",
    ],
  ])("%s", (_name, table, expected) => {
    expect(verdictOf(table)).toBe(expected);
  });

  it("accepts copies accused by fewer than the fixed quorum", () => {
    const table = "0 1 | 0 | 4 0 5\n1 0 | 0 | 4 0 6";
    expect(verdictOf(table, { quorum: 2 })).toBe("heal 1 -> 0");
    expect(verdictOf(table, { quorum: 1 })).toBe("split-brain");
  });
});

describe("data with an arbiter", () => {
  it.each<[string, string, string]>([
    ["its zero size says nothing", "0 0 0 | 0 | 4\n0 0 0 | 0 | 4\n0 0 0 | 0 | 0", "clean"],
    ["blamed: marks only", "0 0 1 | 0 | 4\n0 0 1 | 0 | 4\n0 0 0 | 0 | 0", "heal 0 -> 2"],
    ["blames with a data brick", "0 1 0 | 0 | 4\n0 0 0 | 0 | 3\n0 1 0 | 0 | 0", "heal 0 -> 1"],
    ["ARB-02: it alone is good", "0 1 0 | 0 | 4\n1 0 0 | 0 | 3\n1 1 0 | 0 | 0", "arbiter-only"],
    ["a copy that it alone blames is good", "0 1 0 | 0 | 4\n0 0 0 | 0 | 3\n1 1 0 | 0 | 0", "heal 0 -> 1 2"],
    [
      "alone good, but there is nothing to lose",
      "0 1 0 | 0 | 0\n0 0 0 | 0 | 0\n1 1 0 | 0 | 0",
      "heal 0 -> 1 2",
    ],
    [
      "never the source of dirty copies",
      "0 0 0 | 1 | 0 0 1\n0 1 0 | 0 | 0 0 1\n0 1 0 | 1 | 0 0 9",
      "heal 0 -> 1 2",
    ],
  ])("%s", (_name, table, expected) => {
    expect(verdictOf(table, { arbiter: 2 })).toBe(expected);
  });

  it("does not heal data from it, whoever asks", () => {
    const table = "0 1 1 | 0 | 4 1\n1 0 1 | 0 | 4 2\n1 1 0 | 0 | 0 9";
    const asked: Resolution = { kind: "source-brick", child: 2 };
    expect(verdictOf(table, { arbiter: 2, resolution: asked })).toBe(
      "unresolved: the arbiter has no data to heal from",
    );
    expect(verdictOf(table, { arbiter: 2, policy: "mtime" })).toBe("heal 1 -> 0 2");
    expect(verdictOf(table, { arbiter: 2, resolution: { kind: "latest-mtime" } })).toBe("heal 1 -> 0 2");
  });
});

describe("metadata: who is good", () => {
  it.each<[string, string, string]>([
    ["nothing marked, all alike", "0 0 0\n0 0 0\n0 0 0", "clean"],
    ["HEAL-05: blamed", "0 0 1 | 0 | 0 0 0 b\n0 0 1 | 0 | 0 0 0 b\n0 0 0", "heal 0 -> 2"],
    ["no marks, one looks different", "0 0 0\n0 0 0 | 0 | 0 0 0 b\n0 0 0", "heal 0 -> 1"],
    ["the first witness", "0 0 0\n0 0 0 | 1 | 0 0 0 b\n0 0 0 | 3 | 0 0 0 c", "heal 1 -> 0 2"],
    ["sources that differ from the first", "0 0 1\n0 0 1 | 0 | 0 0 0 b\n0 0 0", "heal 0 -> 1 2"],
    ["cyclic blame, all alike: marks go", "0 1 0\n0 0 1\n1 0 0", "heal 0 -> 1 2"],
    ["cyclic blame, one different", "0 1 0\n0 0 1 | 0 | 0 0 0 b\n1 0 0", "heal 0 -> 1"],
    ["each blames the other, alike", "0 1\n1 0", "heal 0 -> 1"],
    ["each blames the other, different", "0 1\n1 0 | 0 | 0 0 0 b", "split-brain"],
  ])("%s", (_name, table, expected) => {
    expect(verdictOf(table, { slot: "metadata" })).toBe(expected);
  });

  it("takes any copy of a split brain when forced", () => {
    const table = "0 1\n1 0 | 0 | 0 0 0 b";
    expect(verdictOf(table, { slot: "metadata", forced: true })).toBe("heal 0 -> 1");
  });
});

describe("entry: who is good", () => {
  it.each<[string, string, string]>([
    ["two blame the third", "0 0 1\n0 0 1\n0 0 0", "heal 0 -> 2"],
    ["a rename counts twice", "0 0 2\n0 0 2\n0 0 0", "heal 0 -> 2"],
    ["nobody blames: union of names", "0 0 0\n0 0 0\n0 0 0", "merge"],
    ["SB-07: each added names", "0 1\n1 0", "merge"],
    ["cyclic blame is no fallback here", "0 1 0\n0 0 1\n1 0 0", "merge"],
    ["an unfinished operation", "0 0 1 | 1\n0 0 1\n0 0 0", "merge"],
    ["HEAL-07: the only source blames itself", "1 1 | 0\n0 0 | 0", "merge"],
    ["blamed by a bad copy only", "0 1 0\n0 0 1\n0 0 0", "heal 0 -> 1 2"],
    ["down", "0 0 1\n0 0 1\n-", "unavailable"],
  ])("%s", (_name, table, expected) => {
    expect(verdictOf(table, { slot: "entry", mode: DIRECTORY })).toBe(expected);
  });

  it("trusts the directory's sources for a single name, after a crash those that missed nothing for sure", () => {
    const marks = (table: string): Marks => question(table).marks;
    const sides = (table: string, acknowledgers: number): readonly number[] => {
      const { sources, trusted } = nameSides(
        marks(table),
        (1 << table.split("\n").length) - 1,
        acknowledgers,
      );
      return [sources, trusted];
    };
    expect(sides("0 0 1\n0 0 1\n0 0 0", 2)).toEqual([0b011, NO_CHILDREN]);
    expect(sides("0 0 0\n0 0 0\n0 0 0", 2)).toEqual([0b111, NO_CHILDREN]);
    expect(sides("0 0 1 | 1\n0 0 1\n0 0 0", 2)).toEqual([NO_CHILDREN, 0b011]);
    expect(sides("0 0 1\n1 0 1\n0 1 0 | 1", 2)).toEqual([NO_CHILDREN, 0b011]);
    expect(sides("0 0 1 | 1\n0 0 1\n0 0 0", 0)).toEqual([NO_CHILDREN, NO_CHILDREN]);
    expect(sides("0 1\n1 0", 1)).toEqual([NO_CHILDREN, NO_CHILDREN]);
  });
});

describe("split brain, settled", () => {
  const three = "0 1 1 | 0 | 4 9 1\n1 0 1 | 0 | 5 7 3\n1 1 0 | 0 | 4 9 2";

  it.each<[Policy, string]>([
    ["none", "split-brain"],
    ["size", "heal 1 -> 0 2"],
    ["mtime", "heal 0 -> 1 2"],
    ["ctime", "heal 1 -> 0 2"],
    ["majority", "heal 0 -> 1 2"],
  ])("by favorite-child-policy %s", (policy, expected) => {
    expect(verdictOf(three, { policy })).toBe(expected);
  });

  it.each<[string, Policy]>([
    ["0 1 | 0 | 4\n1 0 | 0 | 4", "size"],
    ["0 1 | 0 | 4 1\n1 0 | 0 | 5 2", "majority"],
  ])("not by a policy that does not choose", (table, policy) => {
    expect(verdictOf(table, { policy })).toBe("split-brain");
  });

  it("not by size for directories", () => {
    const table = "0 1 | 0 | 4 0 0 a\n1 0 | 0 | 5 0 0 b";
    expect(verdictOf(table, { slot: "metadata", policy: "size", mode: DIRECTORY })).toBe("split-brain");
  });

  it.each<[Resolution, string]>([
    [{ kind: "bigger-file" }, "heal 1 -> 0 2"],
    [{ kind: "latest-mtime" }, "unresolved: no difference in mtime: the newest is not unique"],
    [{ kind: "majority" }, "heal 0 -> 1 2"],
    [{ kind: "source-brick", child: 2 }, "heal 2 -> 0 1"],
    [{ kind: "source-brick", child: 7 }, "unresolved: no such brick, or it is not up"],
  ])("by a person: %o", (resolution, expected) => {
    expect(verdictOf(three, { resolution })).toBe(expected);
  });

  it("compares nanoseconds of mtime", () => {
    const table = "0 1 | 0 | 4 9.1\n1 0 | 0 | 4 9.2";
    expect(verdictOf(table, { resolution: { kind: "latest-mtime" } })).toBe("heal 1 -> 0");
  });

  it("refuses sizes and times for metadata, but takes a brick or the majority's", () => {
    const table = "0 1 1 | 0 | 0 0 0 x\n1 0 1 | 0 | 0 0 0 y\n1 1 0 | 0 | 0 0 0 y";
    const by = (resolution: Resolution): string => verdictOf(table, { slot: "metadata", resolution });
    expect(by({ kind: "bigger-file" })).toMatch(/^unresolved: .*source-brick/);
    expect(by({ kind: "latest-mtime" })).toMatch(/^unresolved: .*source-brick/);
    expect(by({ kind: "source-brick", child: 0 })).toBe("heal 0 -> 1 2");
    expect(by({ kind: "majority" })).toBe("heal 1 -> 0 2");
  });

  it("leaves alone what is in no split brain", () => {
    const resolution: Resolution = { kind: "source-brick", child: 2 };
    const table = "0 0 1 | 0 | 4\n0 0 1 | 0 | 4\n0 0 0 | 0 | 4";
    expect(verdictOf(table, { resolution })).toBe("not-split-brain");
    expect(verdictOf(table, { slot: "entry", resolution })).toBe("not-split-brain");
  });
});

const counter = fc.constantFrom(0, 0, 0, 1, 2);
const anyQuestion = fc.integer({ min: 2, max: 4 }).chain((count) =>
  fc.record({
    slot: fc.constantFrom<Slot>("data", "metadata", "entry"),
    pending: fc.array(fc.array(counter, { minLength: count, maxLength: count }), {
      minLength: count,
      maxLength: count,
    }),
    dirty: fc.array(counter, { minLength: count, maxLength: count }),
    sizes: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: count, maxLength: count }),
    ctimes: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: count, maxLength: count }),
    looks: fc.array(fc.constantFrom("a", "b"), { minLength: count, maxLength: count }),
    arbiter: fc.boolean(),
    quorum: fc.integer({ min: 0, max: count }),
    policy: fc.constantFrom<Policy>("none", "size", "mtime", "ctime", "majority"),
  }),
);

type Any = typeof anyQuestion extends fc.Arbitrary<infer T> ? T : never;

function made(any: Any): Question {
  const count = any.dirty.length;
  const arbiter = any.arbiter && count > 2 ? count - 1 : -1;
  return {
    slot: any.slot,
    marks: { pending: any.pending, dirty: any.dirty },
    locked: allChildren(count),
    stats: any.sizes.map((size, i) => {
      const time = any.ctimes[i]!;
      const stat = { mode: REGULAR, mtime: time, mtimeNsec: 0, ctime: time, ctimeNsec: 0 };
      return { ...stat, size: i === arbiter ? 0 : size };
    }),
    attributes: any.looks,
    arbiter,
    quorumCount: any.quorum,
    policy: any.policy,
  };
}

describe("every matrix of three copies", () => {
  /** The rules as spec translators.md 4.8 words them, copy by copy, without bit sets. */
  function bySpec(pending: readonly (readonly number[])[], slot: Slot, quorum: number) {
    const copies = [0, 1, 2];
    const isFool = (i: number): boolean => pending[i]![i] !== 0;
    const accusers = (j: number): number =>
      copies.filter((i) => i !== j && !isFool(i) && pending[i]![j] !== 0).length;
    const unaccused = copies.filter((j) => accusers(j) === 0);
    const blamed = copies.filter((j) => unaccused.some((i) => !isFool(i) && pending[i]![j] !== 0));
    const few = slot === "entry" ? [] : copies.filter((j) => accusers(j) < quorum);
    const sources = unaccused.length > 0 ? unaccused : few;
    return { sources, sinks: sources.length === 0 ? copies : blamed };
  }

  it.each<[Slot, number]>([
    ["data", 2],
    ["data", 0],
    ["metadata", 1],
    ["entry", 2],
  ])("has the sources and sinks that the rules give (%s, quorum count %i)", (slot, quorum) => {
    for (let bits = 0; bits < 512; bits++) {
      const pending = [0, 1, 2].map((i) => [0, 1, 2].map((j) => (bits >> (3 * i + j)) & 1));
      const found = direction({ pending, dirty: [0, 0, 0] }, 0b111, slot, quorum);
      const expected = bySpec(pending, slot, quorum);
      const told = { sources: childrenOf(found.sources), sinks: childrenOf(found.sinks) };
      expect(told, JSON.stringify(pending)).toEqual(expected);
    }
  });
});

describe("whatever the marks", () => {
  const isZero = ({ pending, dirty }: Marks): boolean =>
    [...pending.flat(), ...dirty].every((value) => value === 0);

  it("sources and sinks are all children and have none in common", () => {
    fc.assert(
      fc.property(anyQuestion, (any) => {
        const asked = made(any);
        const verdict = decide(asked);
        if (verdict.kind !== "heal") return;
        expect(verdict.sources & verdict.sinks).toBe(NO_CHILDREN);
        expect(verdict.sources | verdict.sinks).toBe(asked.locked);
        expect(hasChild(verdict.sources, verdict.source)).toBe(true);
        expect(verdict.sinks).not.toBe(NO_CHILDREN);
      }),
      { numRuns: 3000 },
    );
  });

  it("without fallback and split brain no source is blamed by a copy that is no fool", () => {
    fc.assert(
      fc.property(anyQuestion, (any) => {
        const asked = made(any);
        const found = direction(asked.marks, asked.locked, asked.slot, asked.quorumCount);
        const verdict = decide(asked);
        if (verdict.kind !== "heal" || found.fallback || verdict.wasSplit || verdict.source < 0) return;
        // With the arbiter alone good a data copy is chosen that is blamed by too few.
        if (asked.slot === "data" && found.sources === 1 << asked.arbiter) return;
        const { pending } = asked.marks;
        for (const j of childrenOf(verdict.sources)) {
          if (asked.slot === "data" && asked.stats.every(({ size }) => size === 0)) continue;
          for (const [i, row] of pending.entries()) expect(row[i] === 0 && row[j] !== 0).toBe(false);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it("sources blame no other source, unless their blame of each other counts for nothing", () => {
    fc.assert(
      fc.property(anyQuestion, (any) => {
        const asked = made(any);
        const verdict = decide(asked);
        if (verdict.kind !== "heal" || asked.slot !== "data") return;
        const { pending } = asked.marks;
        for (const i of childrenOf(verdict.sources))
          for (const j of childrenOf(verdict.sources)) if (i !== j) expect(pending[i]![j]).toBe(0);
      }),
      { numRuns: 3000 },
    );
  });

  it("clean means that no mark is left and the copies look alike", () => {
    fc.assert(
      fc.property(anyQuestion, (any) => {
        const asked = made(any);
        if (decide(asked).kind !== "clean") return;
        expect(isZero(asked.marks)).toBe(true);
        const data = asked.stats.filter((_, i) => i !== asked.arbiter).map(({ size }) => size);
        if (asked.slot === "data") expect(new Set(data).size).toBe(1);
        if (asked.slot === "metadata") expect(new Set(asked.attributes).size).toBe(1);
      }),
      { numRuns: 3000 },
    );
  });

  it("the arbiter is never the source of data", () => {
    fc.assert(
      fc.property(anyQuestion, (any) => {
        const asked = made(any);
        const verdict = decide(asked);
        if (asked.slot === "data" && verdict.kind === "heal" && asked.arbiter >= 0)
          expect(verdict.source).not.toBe(asked.arbiter);
      }),
      { numRuns: 3000 },
    );
  });

  it("a child that is down means that nobody heals", () => {
    fc.assert(
      fc.property(anyQuestion, fc.nat({ max: 3 }), (any, down) => {
        const asked = made(any);
        const locked = asked.locked & ~only(down % asked.stats.length);
        expect(decide({ ...asked, locked }).kind).toBe("unavailable");
      }),
    );
  });

  it("a mark that grows on the good copies does not change who is good", () => {
    fc.assert(
      fc.property(anyQuestion, (any) => {
        const asked = made(any);
        const verdict = decide(asked);
        if (verdict.kind !== "heal" || verdict.wasSplit || any.dirty.some((value) => value !== 0)) return;
        const found = direction(asked.marks, asked.locked, asked.slot, asked.quorumCount);
        if (found.fallback || found.witness.some((value) => value !== 0)) return;
        const grown = asked.marks.pending.map((row, i) =>
          hasChild(verdict.sources, i)
            ? row.map((value, j) => (hasChild(verdict.sinks, j) ? value + 1 : value))
            : row,
        );
        const again = decide({ ...asked, marks: { ...asked.marks, pending: grown } });
        if (verdict.sources !== only(verdict.source)) return;
        expect(say(again)).toBe(say(verdict));
      }),
      { numRuns: 3000 },
    );
  });
});
