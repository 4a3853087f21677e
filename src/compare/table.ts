/** A comparison for the terminal: one table of all numbers, one of what FUSE costs, and notes. */

import Table from "cli-table3";
import {
  type Comparison,
  fuseShares,
  grouped,
  medianSample,
  percentOf,
  type RowInfo,
  shownPercent,
  shownSpeed,
} from "./results.ts";

/** Marks a text; picocolors' functions, or none. */
export interface Colors {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
}

const HEAD = ["", "aggrb KB/s", "minb", "maxb", "IOPS", "mean us", "p99 us", "% of Base", "% of Direct"];
const BAR_WIDTH = 30;
/** Share of the direct path's speed that FUSE is meant to reach with large requests. */
export const FUSE_GOAL_PERCENT = 90;

export function terminalTables(comparison: Comparison, colors: Colors): string {
  return [numbers(comparison, colors), shares(comparison, colors)].filter((text) => text !== "").join("\n\n");
}

function numbers(comparison: Comparison, colors: Colors): string {
  const table = new Table({
    head: HEAD,
    style: { head: [], border: [], compact: true },
    colAligns: ["left", ...HEAD.slice(1).map(() => "right" as const)],
  });
  for (const load of comparison.loads) {
    table.push([{ colSpan: HEAD.length, content: colors.bold(load.title) }]);
    for (const row of comparison.rows) {
      const cells = numberCells(comparison, row, load.id);
      if (cells) table.push([`  ${row.title}`, ...cells]);
    }
  }
  return table.toString();
}

/** The cells of a row behind its title; undefined where it was not measured. */
export function numberCells(comparison: Comparison, row: RowInfo, load: string): string[] | undefined {
  const sample = medianSample(comparison, row.id, load);
  if (!sample) return undefined;
  const { aggrb, minb, maxb, iops, meanUs, p99Us } = sample;
  return [
    ...[aggrb, minb, maxb, iops, meanUs, p99Us].map(grouped),
    shownPercent(percentOf(comparison, row.id, row.base, load)),
    shownPercent(percentOf(comparison, row.id, row.direct, load)),
  ];
}

export const NUMBER_HEAD: readonly string[] = HEAD;

function shares(comparison: Comparison, colors: Colors): string {
  const found = fuseShares(comparison);
  if (found.length === 0) return "";
  const table = new Table({
    head: ["what FUSE leaves of Direct", "Direct", "FUSE", "", ""],
    style: { head: [], border: [], compact: true },
    colAligns: ["left", "right", "right", "right", "left"],
  });
  for (const { load, direct, fuse, percent } of found) {
    const color = percent >= FUSE_GOAL_PERCENT ? colors.green : colors.red;
    const filled = Math.min(BAR_WIDTH, Math.round((percent / 100) * BAR_WIDTH));
    const bar = color("#".repeat(filled)) + colors.dim(".".repeat(BAR_WIDTH - filled));
    table.push([load.title, shownSpeed(load, direct), shownSpeed(load, fuse), shownPercent(percent), bar]);
  }
  return table.toString();
}
