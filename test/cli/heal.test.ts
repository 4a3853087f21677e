/** `mortar heal` without a volume: its words, its lists as GlusterFS prints them, its progress line. */

import { describe, expect, it } from "vitest";
import { type BrickInfo, bytesToHeal, renderInfo, renderInfoJson } from "../../src/cli/heal-info.ts";
import { durationText, ProgressTable, progressText, sizeText } from "../../src/cli/heal-progress.ts";
import { describeObject, describeTotals, type HealedObject, isDone } from "../../src/cli/heal-run.ts";
import { parseHealWords } from "../../src/cli/heal-words.ts";
import { healText } from "../../src/cli/status-line.ts";
import { gfidText } from "../../src/core/gfid.ts";
import { parseHealInfo } from "../support/heal-info.ts";
import { gfid, listedObject } from "../support/listed-object.ts";

describe("the words of mortar heal", () => {
  it.each([
    [[], { kind: "index" }],
    [["full"], { kind: "full" }],
    [["info"], { kind: "info", part: "all" }],
    [["info", "summary"], { kind: "info", part: "summary" }],
    [["info", "split-brain"], { kind: "info", part: "split-brain" }],
    [["/a b", "/c"], { kind: "files", files: ["/a b", "/c"] }],
    [["/info"], { kind: "files", files: ["/info"] }],
    [["<gfid:12>"], { kind: "files", files: ["gfid:12"] }],
    [
      ["split-brain", "bigger-file", "/a", "gfid:12"],
      { kind: "split-brain", policy: { kind: "bigger-file" }, files: ["/a", "gfid:12"] },
    ],
    [["split-brain", "majority", "/a"], { kind: "split-brain", policy: { kind: "majority" }, files: ["/a"] }],
    [
      ["split-brain", "source-brick", "host:/b"],
      { kind: "split-brain", policy: { kind: "source-brick", brick: "host:/b" }, files: [] },
    ],
  ])("%j", (words, request) => {
    expect(parseHealWords(words)).toEqual(request);
  });

  it.each([
    [["image"], /^heal: "image": is neither a verb .* like \/image$/],
    [["/a", "full"], /^heal: "full": is neither/],
    [["info", "all"], /^heal: info: "all": is neither summary nor split-brain$/],
    [["info", "summary", "x"], /^heal: info: "x": /],
    [["full", "/a"], /^heal: full: takes no "\/a"$/],
    [["split-brain"], /^heal: split-brain: say which copy stays: one of bigger-file, /],
    [["split-brain", "biggest", "/a"], /^heal: split-brain: "biggest": is none of bigger-file, /],
    [["split-brain", "bigger-file"], /^heal: split-brain: bigger-file needs a FILE$/],
    [["split-brain", "source-brick"], /^heal: split-brain: source-brick needs a BRICK/],
    [["split-brain", "latest-mtime", "a"], /^heal: "a": is neither/],
  ])("refuses %j", (words, message) => {
    expect(() => parseHealWords(words)).toThrow(message);
  });
});

const LISTED: readonly BrickInfo[] = [
  {
    brick: "vm:/b0",
    child: "v-client-0",
    connected: true,
    objects: [
      listedObject(1, "/d/f", "heal", 10),
      listedObject(2, undefined, "split-brain", 20),
      listedObject(3, "/img", "possibly-healing", 30),
    ],
  },
  { brick: "vm:/b1", child: "v-client-1", connected: true, objects: [listedObject(1, "/d/f", "heal", 10)] },
  { brick: "vm:/b2", child: "v-client-2", connected: false, objects: [] },
];

/** "/img" stands for a block here. */
function imageOf(path: string | undefined): object | undefined {
  return path === "/img" ? { image: "/vm1.qcow2", block: 3 } : undefined;
}

describe("heal info", () => {
  it("prints what gluster volume heal info prints, blanks included", () => {
    expect(renderInfo(LISTED, "all")).toBe(
      [
        "Brick vm:/b0",
        "/d/f ",
        `<gfid:${gfidText(gfid(2))}> - Is in split-brain`,
        "/img - Possibly undergoing heal",
        "Status: Connected",
        "Number of entries: 3",
        "",
        "Brick vm:/b1",
        "/d/f ",
        "Status: Connected",
        "Number of entries: 1",
        "",
        "Brick vm:/b2",
        "Status: Transport endpoint is not connected",
        "Number of entries: -",
        "",
        "",
      ].join("\n"),
    );
  });

  it("is read by what reads GlusterFS' list", () => {
    expect(parseHealInfo(renderInfo(LISTED, "all")).map(({ brick, count }) => [brick, count])).toEqual([
      ["vm:/b0", 3],
      ["vm:/b1", 1],
      ["vm:/b2", undefined],
    ]);
  });

  it("lists split brains alone, without words behind them", () => {
    expect(renderInfo(LISTED.slice(0, 1), "split-brain")).toBe(
      `Brick vm:/b0\n<gfid:${gfidText(gfid(2))}>\nStatus: Connected\nNumber of entries in split-brain: 1\n\n`,
    );
  });

  it("sums up by status", () => {
    expect(renderInfo([LISTED[0]!, LISTED[2]!], "summary")).toBe(
      [
        "Brick vm:/b0",
        "Status: Connected",
        "Total Number of entries: 3",
        "Number of entries in heal pending: 1",
        "Number of entries in split-brain: 1",
        "Number of entries possibly healing: 1",
        "",
        "Brick vm:/b2",
        "Status: Transport endpoint is not connected",
        "Total Number of entries: -",
        "Number of entries in heal pending: -",
        "Number of entries in split-brain: -",
        "Number of entries possibly healing: -",
        "",
        "",
      ].join("\n"),
    );
  });

  it("counts bytes of an object once, however many bricks list it", () => {
    expect(bytesToHeal(LISTED)).toBe(60);
  });

  it("says the same and more as JSON", () => {
    const document = JSON.parse(renderInfoJson("vm:/v", LISTED, "all", imageOf));
    expect(document).toMatchObject({ source: "vm:/v", bytesToHeal: 60 });
    expect(document.bricks[0]).toMatchObject({
      brick: "vm:/b0",
      status: "connected",
      counts: { total: 3, healPending: 1, splitBrain: 1, possiblyHealing: 1 },
      bytesToHeal: 60,
    });
    expect(document.bricks[0].entries[1]).toEqual({
      path: null,
      gfid: gfidText(gfid(2)),
      status: "split-brain",
      heals: ["data"],
      splitBrain: ["data"],
      bytesToHeal: 20,
    });
    expect(document.bricks[0].entries[2]).toMatchObject({ path: "/img", image: "/vm1.qcow2", block: 3 });
    expect(document.bricks[2]).toEqual({
      brick: "vm:/b2",
      child: "v-client-2",
      status: "not-connected",
      counts: null,
      bytesToHeal: null,
      entries: [],
    });
    expect(JSON.parse(renderInfoJson("s", LISTED, "split-brain", imageOf)).bricks[0].entries).toHaveLength(1);
    expect(JSON.parse(renderInfoJson("s", LISTED, "summary", imageOf)).bricks[0].entries).toBeUndefined();
  });
});

describe("progress of a heal", () => {
  it("adds up what was listed, what runs and what is done", () => {
    const table = new ProgressTable();
    table.expect(gfidText(gfid(1)), 100);
    table.expect(gfidText(gfid(2)), 400);
    table.finish(gfidText(gfid(1)), 60);
    const progress = table.at([
      { gfid: gfid(2), path: "/b", progress: { done: 100, total: 200, moved: 50 } },
      { gfid: gfid(3), path: undefined, progress: undefined },
    ]);
    expect(progress).toEqual({
      objectsDone: 1,
      objectsTotal: 3,
      bytesDone: 160,
      bytesTotal: 260,
      names: ["/b", `<gfid:${gfidText(gfid(3))}>`],
      elsewhere: 0,
    });
  });

  it("counts what another process heals when it is done", () => {
    const table = new ProgressTable();
    table.expect(gfidText(gfid(1)), 100);
    table.expect(gfidText(gfid(2)), 300);
    table.finishElsewhere(gfidText(gfid(1)));
    expect(table.at([], 1)).toEqual({
      objectsDone: 1,
      objectsTotal: 2,
      bytesDone: 100,
      bytesTotal: 400,
      names: [],
      elsewhere: 1,
    });
    expect(progressText(table.at([], 1), 0, 200)).toMatch(/ 25% .*another process heals 1$/);
  });

  it("is one line that fits", () => {
    const half = {
      objectsDone: 1,
      objectsTotal: 4,
      bytesDone: 2 ** 29,
      bytesTotal: 2 ** 30,
      names: ["/vm1"],
      elsewhere: 0,
    };
    expect(progressText(half, 4000, 200)).toBe(
      "[##########----------]  50%  512.0 MiB of 1.0 GiB  128.0 MiB/s  4 s to go  1/4  /vm1",
    );
    expect(progressText(half, 4000, 40)).toHaveLength(39);
    const nothing = { objectsDone: 0, objectsTotal: 0, bytesDone: 0, bytesTotal: 0, names: [], elsewhere: 0 };
    expect(progressText(nothing, 0, 80)).toBe("[--------------------]   0%  0 B of 0 B  0/0");
  });

  it("is part of the status line of npm start", () => {
    expect(healText([])).toBe("");
    const progress = { done: 2 ** 29, total: 2 ** 30, moved: 0 };
    const heals = [
      { gfid: gfid(1), path: "/vm1", progress },
      { gfid: gfid(2), path: undefined, progress: undefined },
    ];
    expect(healText(heals)).toBe("healing /vm1 50% of 1.0 GiB and 1 more, ");
    expect(healText(heals.slice(1))).toBe("healing an object without a name, ");
  });

  it("says sizes and times as people do", () => {
    expect([0, 1023, 1024, 1536 * 1024, 5 * 2 ** 40].map(sizeText)).toEqual([
      "0 B",
      "1023 B",
      "1.0 KiB",
      "1.5 MiB",
      "5.0 TiB",
    ]);
    expect([0, 1, 119_000, 120_000, 7_200_000].map(durationText)).toEqual([
      "0 s",
      "1 s",
      "119 s",
      "2 min",
      "2 h 0 min",
    ]);
  });
});

describe("what a heal says in the end", () => {
  const made = (outcome: HealedObject["outcome"], bytesMoved = 0, why?: string): HealedObject => ({
    name: "/f",
    gfid: gfidText(gfid(1)),
    outcome,
    bytesMoved,
    why,
  });

  it("is a line for each object and one for all", () => {
    expect(describeObject(made("healed", 2048))).toBe("/f: healed, 2.0 KiB moved");
    expect(describeObject(made("failed", 0, "brick full"))).toBe("/f: not healed: brick full");
    expect(describeObject(made("split-brain"))).toBe("/f: in split brain");
    expect(describeTotals([])).toBe("nothing to heal");
    expect(describeTotals([made("healed", 1024), made("split-brain"), made("failed")])).toBe(
      "1 healed, 1 in split brain, 1 not healed; 1.0 KiB moved",
    );
  });

  it("is well only when nothing is left to do", () => {
    expect((["healed", "clean", "not-needed", "gone"] as const).every(isDone)).toBe(true);
    expect(
      (["failed", "busy", "split-brain", "partial", "unavailable", "arbiter-only"] as const).some(isDone),
    ).toBe(false);
  });
});
