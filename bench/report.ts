/**
 * Measurements as a table for the terminal, as markdown and as JSON, and how they compare with what the
 * project promises.
 *
 * Ratios are speeds: above 1 is faster than the row compared with, for latencies too. Medians are compared,
 * never best runs.
 */

import Table from "cli-table3";
import type { Machine } from "../src/compare/machine.ts";
import { type Summary, shortNumber, summarize } from "../src/compare/stats.ts";
import { describeLoads, type Load, type Scale } from "./loads.ts";
import {
  BASE_ROW,
  PEER_ROW,
  REPLICA_ONE_PEER_ROW,
  REPLICA_PEER_ROW,
  type Row,
  VIRT_ONE_PEER_ROW,
  VIRT_PEER_ROW,
} from "./rows.ts";

export interface Results {
  readonly machine: Machine;
  readonly command: string;
  readonly scale: Scale;
  readonly rounds: number;
  /** ISO time of the start. */
  readonly startedAt: string;
  /** Load average before the first measurement. */
  readonly loadBefore: number;
  readonly peerOptions: readonly string[];
  readonly rows: readonly Pick<Row, "id" | "title" | "peer">[];
  readonly loads: readonly Pick<Load, "id" | "title" | "unit" | "lowerIsBetter">[];
  /** Values of each row and load in the order of the rounds. */
  readonly values: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
  /** Whether O_DIRECT reached the brick; undefined for the bare directory. */
  readonly direct: Readonly<Record<string, boolean | undefined>>;
}

/** One promise and what was measured; `ratio` undefined when a row was left out. */
export interface Goal {
  readonly text: string;
  readonly wanted: number;
  readonly ratio: number | undefined;
}

/** A load average above this means that others used the machine. */
const BUSY_LOAD = 1;

/** Row `row` against row `than` on each of `loads`: at least `wanted` times as fast. */
interface Promised {
  readonly row: string;
  readonly than: string;
  readonly loads: readonly string[];
  readonly wanted: number;
}

const GOALS: readonly Promised[] = [
  { row: "embedded", than: "fuse-native", loads: ["4k-read", "4k-write"], wanted: 2 },
  { row: "embedded", than: PEER_ROW, loads: ["seq-write", "seq-read"], wanted: 1.5 },
  { row: "embedded", than: BASE_ROW, loads: ["seq-read", "4k-read", "4k-write"], wanted: 0.8 },
  { row: "embedded", than: BASE_ROW, loads: ["seq-write"], wanted: 0.4 },
  { row: "tcp", than: PEER_ROW, loads: ["seq-write", "seq-read"], wanted: 1 },
  { row: "tcp", than: PEER_ROW, loads: ["4k-read", "4k-write"], wanted: 1.5 },
  ...replicaGoals("replica-tcp", REPLICA_PEER_ROW),
  ...replicaGoals("replica-one", REPLICA_PEER_ROW),
  ...replicaGoals("replica-one", REPLICA_ONE_PEER_ROW),
  { row: "replica-embedded", than: REPLICA_PEER_ROW, loads: ["seq-write"], wanted: 2 },
  ...virtGoals("virt-tcp", VIRT_PEER_ROW),
  ...virtGoals("virt-one", VIRT_PEER_ROW),
  ...virtGoals("virt-one", VIRT_ONE_PEER_ROW),
  { row: "virt-writeback", than: BASE_ROW, loads: ["dd"], wanted: 0.5 },
  { row: "virt-mixed", than: VIRT_PEER_ROW, loads: ["seq-write", "seq-read"], wanted: 1 },
];

/** Over TCP, whether the bricks are a process each or share one. */
function replicaGoals(row: string, than: string): Promised[] {
  return [
    { row, than, loads: ["seq-write"], wanted: 1.3 },
    { row, than, loads: ["seq-read"], wanted: 1 },
    { row, than, loads: ["4k-write"], wanted: 2 },
  ];
}

function virtGoals(row: string, than: string): Promised[] {
  return [
    { row, than, loads: ["seq-write"], wanted: 1.5 },
    { row, than, loads: ["seq-read"], wanted: 1.3 },
    { row, than, loads: ["4k-write", "dd"], wanted: 2.5 },
    { row, than, loads: ["4k-read"], wanted: 1.5 },
  ];
}

/** Undefined where the row was not measured with the load. */
export function summaryOf(results: Results, row: string, load: string): Summary | undefined {
  const values = results.values[row]?.[load];
  return values && values.length > 0 ? summarize(values) : undefined;
}

/** How many times as fast `row` is as `than`. */
export function speedRatio(results: Results, row: string, than: string, load: string): number | undefined {
  const mine = summaryOf(results, row, load)?.median;
  const theirs = summaryOf(results, than, load)?.median;
  if (mine === undefined || theirs === undefined) return undefined;
  const { lowerIsBetter } = results.loads.find(({ id }) => id === load)!;
  return lowerIsBetter ? theirs / mine : mine / theirs;
}

export function goals(results: Results): Goal[] {
  return GOALS.flatMap(({ row, than, loads, wanted }) =>
    loads.map((load) => ({
      text: `${row} against ${than}, ${load}`,
      wanted,
      ratio: speedRatio(results, row, than, load),
    })),
  );
}

/** For the terminal: a cell has the median, below it the spread, below that the ratios. */
export function terminalTable(results: Results): string {
  const table = new Table({
    head: ["", ...results.loads.map(({ title, unit }) => `${title}\n${unit}`)],
    style: { head: [], border: [] },
  });
  for (const row of results.rows) {
    table.push([row.title, ...results.loads.map((load) => cellLines(results, row, load.id).join("\n"))]);
  }
  return table.toString();
}

export function markdown(results: Results): string {
  const { machine } = results;
  const head = ["", ...results.loads.map(({ title, unit }) => `${title} ${unit}`)];
  const body = results.rows.map((row) => [
    row.title,
    ...results.loads.map((load) => cellLines(results, row, load.id).join("<br>")),
  ]);
  const lines = [head, head.map(() => "---"), ...body].map((cells) => `| ${cells.join(" | ")} |`);
  return [
    "# Bench results",
    "",
    `\`${results.command}\` at commit ${machine.commit}, ${results.startedAt}`,
    "",
    ...lines,
    "",
    ...notes(results).map((line) => `- ${line}`),
    "",
    ...goalLines(results).map((line) => `- ${line}`),
    "",
  ].join("\n");
}

/** What the table does not say by itself. */
export function notes(results: Results): string[] {
  const { machine } = results;
  const direct = results.rows.filter(({ id }) => results.direct[id] === true).map(({ id }) => id);
  const hidden = results.rows.filter(({ id }) => results.direct[id] === false).map(({ id }) => id);
  return [
    `cells: median of ${results.rounds}; least to greatest; speed against base and as many copies of GlusterFS (above 1: faster)`,
    ...describeLoads(results.scale),
    `machine: ${machine.cpu}, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${machine.node}, ${machine.fio}`,
    `all rows on one file system: ${machine.fileSystem}; load average before the first run ${results.loadBefore}`,
    ...(results.loadBefore > BUSY_LOAD
      ? ["the machine was BUSY before the first run: do not quote this"]
      : []),
    ...(direct.length > 0 ? [`O_DIRECT reached the brick (seen in its fdinfo): ${direct.join(", ")}`] : []),
    ...(hidden.length > 0 ? [`O_DIRECT did NOT reach the brick, do not compare: ${hidden.join(", ")}`] : []),
    ...(results.peerOptions.length > 0
      ? [`peer: ${machine.glusterfs}; ${results.peerOptions.join("; ")}`]
      : []),
  ];
}

/** One line a promise that both its rows were measured for: reached or missed. */
export function goalLines(results: Results): string[] {
  return goals(results).flatMap(({ text, wanted, ratio }) => {
    if (ratio === undefined) return [];
    return [`${ratio >= wanted ? "reached" : "MISSED"}: ${text}: ${shortNumber(ratio)}, wanted ${wanted}`];
  });
}

function cellLines(results: Results, row: Results["rows"][number], load: string): string[] {
  const summary = summaryOf(results, row.id, load);
  if (summary === undefined) return ["-"];
  const spread = `${shortNumber(summary.min)} - ${shortNumber(summary.max)}`;
  const ratios = [
    ratioText(results, row.id, BASE_ROW, load, "base"),
    ratioText(results, row.id, row.peer, load, "peer"),
  ].filter((text) => text !== undefined);
  return [shortNumber(summary.median), spread, ...ratios];
}

function ratioText(
  results: Results,
  row: string,
  than: string,
  load: string,
  word: string,
): string | undefined {
  if (row === than) return undefined;
  const ratio = speedRatio(results, row, than, load);
  return ratio === undefined ? undefined : `${shortNumber(ratio)} x ${word}`;
}
