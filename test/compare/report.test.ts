/** What a comparison shows: ratios, the terminal's tables, the HTML page, and the space it asks for. */

import { describe, expect, it } from "vitest";
import { escapeText } from "../../src/compare/chart.ts";
import { type FioJob, parseFio, sequentialArguments } from "../../src/compare/fio.ts";
import { htmlPage } from "../../src/compare/html.ts";
import {
  bytesNeeded,
  COMPARE_LOADS,
  COMPARE_SCALES,
  type Sample,
  sampleOfDd,
  sampleOfFio,
  spaceFor,
} from "../../src/compare/loads.ts";
import {
  type Comparison,
  fuseShares,
  grouped,
  medianSample,
  percentOf,
  rowInfos,
} from "../../src/compare/results.ts";
import { type Colors, terminalTables } from "../../src/compare/table.ts";

const PLAIN: Colors = {
  bold: (text) => text,
  dim: (text) => text,
  red: (text) => text,
  green: (text) => text,
};

function sample(aggrb: number, meanUs = 100): Sample {
  return { aggrb, minb: aggrb / 4, maxb: aggrb / 2, iops: aggrb / 4, meanUs, p99Us: 2 * meanUs };
}

function comparison(change: Partial<Comparison> = {}): Comparison {
  return {
    format: "mortar-compare-1",
    source: "host:/images & <b>more</b>",
    command: "mortar compare host:/images",
    startedAt: "2026-11-21T20:00:00.000Z",
    machine: {
      ...{ commit: "abc", cpu: "2 x CPU", memoryGiB: 24, kernel: "6.1", node: "v20", fio: "fio-3.33" },
      ...{ glusterfs: undefined, fileSystem: "ext4 /dev/vda" },
    },
    loadBefore: 0.1,
    graph: ["images debug/io-stats", "images-client-0 protocol/client"],
    scale: COMPARE_SCALES.quick,
    rounds: 3,
    openMs: { volumeMs: 40, imageMs: 1.5 },
    rows: rowInfos(
      [
        { id: "base", title: "Base" },
        { id: "direct", title: "Direct" },
        { id: "fuse", title: "FUSE" },
      ],
      true,
    ),
    loads: COMPARE_LOADS.filter(({ id }) => ["seq-write", "4k-read"].includes(id)),
    samples: {
      base: { "seq-write": [sample(1000), sample(1200), sample(900)], "4k-read": [sample(1, 50)] },
      direct: { "seq-write": [sample(500)], "4k-read": [sample(1, 100)] },
      fuse: { "seq-write": [sample(480)], "4k-read": [sample(1, 200)] },
      "base-fio": { "seq-write": [sample(2000)] },
      "fuse-fio": { "seq-write": [sample(400)] },
    },
    notes: ["as measured"],
    ...change,
  };
}

describe("ratios", () => {
  it("are speeds: of medians, for times the other way round", () => {
    const all = comparison();
    expect(medianSample(all, "base", "seq-write")).toMatchObject({ aggrb: 1000, minb: 250 });
    expect(percentOf(all, "direct", "base", "seq-write")).toBe(50);
    expect(percentOf(all, "direct", "base", "4k-read")).toBe(50);
    expect(percentOf(all, "base-fio", "direct", "4k-read")).toBeUndefined();
    expect(fuseShares(all).map(({ load, percent }) => [load.id, percent])).toEqual([
      ["seq-write", 96],
      ["4k-read", 50],
    ]);
  });

  it("compare a tool with itself, and the library with nothing but the generator", () => {
    expect(comparison().rows).toEqual([
      { id: "base", title: "Base", tool: "mortar" },
      { id: "base-fio", title: "Base, fio and dd", tool: "fio" },
      { id: "direct", title: "Direct", tool: "mortar", base: "base" },
      { id: "fuse", title: "FUSE", tool: "mortar", base: "base", direct: "direct" },
      { id: "fuse-fio", title: "FUSE, fio and dd", tool: "fio", base: "base-fio" },
    ]);
    expect(rowInfos([{ id: "direct", title: "Direct" }], true)).toEqual([
      { id: "direct", title: "Direct", tool: "mortar" },
    ]);
  });
});

describe("the terminal's tables", () => {
  it("have a line for each row and load, and what FUSE leaves of the direct path", () => {
    const lines = terminalTables(comparison(), PLAIN).split("\n");
    const line = (text: string): string[] =>
      lines.filter((one) => one.includes(text)).map((one) => one.replace(/[│ ]+/g, " ").trim());
    expect(line("  Direct ")[0]).toBe("Direct 500 125 250 125 100 200 50% -");
    expect(line("FUSE, fio")[0]).toBe("FUSE, fio and dd 400 100 200 100 100 200 20% -");
    expect(line("KB/s ")).toContain("seq write 128k 500 KB/s 480 KB/s 96% #############################.");
    expect(line("4k read").at(-1)).toBe(
      "4k read, one at a time 100 us 200 us 50% ###############...............",
    );
  });

  it("leave out what was not measured", () => {
    const text = terminalTables(comparison({ samples: { direct: { "seq-write": [sample(500)] } } }), PLAIN);
    expect(text).not.toContain("FUSE, fio");
    expect(text).not.toContain("what FUSE leaves");
  });
});

describe("the HTML page", () => {
  const page = htmlPage(comparison());

  it("needs nothing from elsewhere, runs nothing, and shows what it was given as text", () => {
    expect(page).not.toMatch(/<script|<link|<img|src=|url\(|https?:/);
    expect(page).toContain(escapeText("host:/images & <b>more</b>"));
    expect(page).not.toContain("<b>more");
  });

  it("has a chart of what FUSE costs and one of each load, with their numbers", () => {
    expect(page.match(/<svg/g)).toHaveLength(3);
    expect(page.match(/<svg/g)).toHaveLength(page.match(/<\/svg>/g)!.length);
    expect(page).toContain("96%  480 KB/s of 500 KB/s");
    expect(page).toContain('class="good"');
    expect(page).toContain('class="bad"');
    expect(page).toContain('class="fuse fio"');
    expect(page).toContain('class="whisker"');
  });

  it("is one also of nothing", () => {
    expect(htmlPage(comparison({ samples: {}, rows: [], loads: [] }))).toContain("</html>");
  });
});

describe("numbers", () => {
  it.each([
    [1234567, "1 234 567"],
    [123.4, "123"],
    [12.34, "12.3"],
    [0.5, "0.50"],
    [Number.NaN, "-"],
  ])("%d is written %s", (value, text) => {
    expect(grouped(value)).toBe(text);
  });

  it("of fio come from its jobs, in KB of 1024 bytes", () => {
    const side = { io_bytes: 1024 * 1000, runtime: 500, lat_ns: { mean: 2e6 } };
    const none = { io_bytes: 0, runtime: 0, lat_ns: { mean: 0 } };
    const jobs: FioJob[] = [
      { error: 0, jobname: "a", read: none, write: side },
      { error: 0, jobname: "b", read: none, write: { ...side, runtime: 1000 } },
    ];
    expect(sampleOfFio(jobs, "write", 102_400)).toMatchObject({
      aggrb: 2000,
      minb: 1000,
      maxb: 2000,
      iops: 20,
      meanUs: 2000,
    });
    expect(() => parseFio(`warning\n{"jobs":[{"error":5,"jobname":"x"}]}`)).toThrow("job x: error 5");
    expect(sequentialArguments("read", "/d", 4).filter((one) => one.startsWith("--iodepth"))).toEqual([
      ...["--iodepth=4", "--iodepth=32", "--iodepth=8", "--iodepth=16"],
    ]);
    expect(sampleOfDd(1024 * 1024)).toMatchObject({ aggrb: 1024, iops: 1024 });
  });
});

describe("space", () => {
  it("is enough when the files fit and a twentieth stays free", () => {
    const scale = COMPARE_SCALES.quick;
    const needed = bytesNeeded(scale);
    const room = (free: number) =>
      spaceFor({ frsize: 4096, blocks: (10 * needed) / 4096, bavail: free / 4096 }, scale);
    expect(needed).toBe(68 * 2 ** 20);
    expect(room(1.5 * needed)).toMatchObject({ fits: true, neededBytes: needed, reserveBytes: needed / 2 });
    expect(room(1.5 * needed - 4096)).toMatchObject({ fits: false });
    const four = spaceFor({ frsize: 4096, blocks: needed / 409.6, bavail: needed / 1024 }, scale, 4);
    expect(four).toMatchObject({ fits: false, neededBytes: 4 * needed });
  });
});
