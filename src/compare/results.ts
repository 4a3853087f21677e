/**
 * What a comparison found, as it is saved, and the ratios that follow from it. Ratios are speeds in percent:
 * 100 is as fast as the row compared with, for latencies too; medians are compared, never best runs.
 */

import type { Load, Sample, Scale } from "./loads.ts";
import type { Machine } from "./machine.ts";
import { median } from "./stats.ts";

/** The rows by what they are. */
export const BASE = "base";
export const DIRECT = "direct";
export const FUSE = "fuse";
export const FUSE_NATIVE = "fuse-native";

/** Who made the requests. */
export type Tool = "mortar" | "fio";

export interface RowInfo {
  readonly id: string;
  readonly title: string;
  readonly tool: Tool;
  /** Row ids to compare with, by the same tool; absent where there is none. */
  readonly base?: string;
  readonly direct?: string;
}

export interface Comparison {
  readonly format: "mortar-compare-1";
  readonly source: string;
  readonly command: string;
  /** ISO time of the start. */
  readonly startedAt: string;
  readonly machine: Machine;
  /** Load average before the first measurement. */
  readonly loadBefore: number;
  /** Translators of the volume from the top down, `name type`. */
  readonly graph: readonly string[];
  readonly scale: Scale;
  readonly rounds: number;
  /** How long the library takes to open and close the volume, and an image on it; medians in ms. */
  readonly openMs: OpenTimes;
  readonly rows: readonly RowInfo[];
  readonly loads: readonly Pick<Load, "id" | "title" | "metric">[];
  /** Samples of each row and load in the order of the rounds. */
  readonly samples: Readonly<Record<string, Readonly<Record<string, readonly Sample[]>>>>;
  readonly notes: readonly string[];
}

export interface OpenTimes {
  readonly volumeMs: number;
  readonly imageMs: number;
}

/** The rows of the result: each row, and fio's beside it where it has a path. */
export function rowInfos(rows: readonly Pick<RowInfo, "id" | "title">[], useFio: boolean): RowInfo[] {
  const has = (id: string): boolean => rows.some((row) => row.id === id);
  return rows.flatMap(({ id, title }): RowInfo[] => {
    const base = id !== BASE && has(BASE) ? { base: BASE } : {};
    const direct = id !== BASE && id !== DIRECT ? { direct: DIRECT } : {};
    const own: RowInfo = { id, title, tool: "mortar", ...base, ...direct };
    if (!useFio || id === DIRECT) return [own];
    const fioBase = base.base === undefined ? {} : { base: `${BASE}-fio` };
    return [own, { id: `${id}-fio`, title: `${title}, fio and dd`, tool: "fio", ...fioBase }];
  });
}

/** Medians of each number on its own; undefined where the row was not measured with the load. */
export function medianSample(comparison: Comparison, row: string, load: string): Sample | undefined {
  const samples = comparison.samples[row]?.[load];
  if (!samples || samples.length === 0) return undefined;
  const of = (key: keyof Sample): number => median(samples.map((sample) => sample[key]));
  return {
    aggrb: of("aggrb"),
    minb: of("minb"),
    maxb: of("maxb"),
    iops: of("iops"),
    meanUs: of("meanUs"),
    p99Us: of("p99Us"),
  };
}

/** The number that counts for a load, larger is faster. */
function speed(comparison: Comparison, row: string, load: string): number | undefined {
  const sample = medianSample(comparison, row, load);
  if (!sample) return undefined;
  const { metric } = comparison.loads.find(({ id }) => id === load)!;
  return metric === "rate" ? sample.aggrb : 1 / sample.meanUs;
}

/** Speed of `row` in percent of `than`; undefined where either is missing. */
export function percentOf(
  comparison: Comparison,
  row: string,
  than: string | undefined,
  load: string,
): number | undefined {
  const mine = speed(comparison, row, load);
  const theirs = than === undefined ? undefined : speed(comparison, than, load);
  return mine === undefined || theirs === undefined ? undefined : (100 * mine) / theirs;
}

/** What FUSE leaves of the direct path's speed, load by load. */
export interface FuseShare {
  readonly load: Comparison["loads"][number];
  readonly direct: Sample;
  readonly fuse: Sample;
  readonly percent: number;
}

export function fuseShares(comparison: Comparison): FuseShare[] {
  return comparison.loads.flatMap((load) => {
    const direct = medianSample(comparison, DIRECT, load.id);
    const fuse = medianSample(comparison, FUSE, load.id);
    const percent = percentOf(comparison, FUSE, DIRECT, load.id);
    return direct && fuse && percent !== undefined ? [{ load, direct, fuse, percent }] : [];
  });
}

/** 1234567 as "1 234 567"; "-" for what is no number. */
export function grouped(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const digits = value >= 100 ? String(Math.round(value)) : value.toFixed(value >= 10 ? 1 : 2);
  return digits.replace(/\B(?=(\d{3})+(?!\d|\.))/g, " ");
}

/** The number that counts, with its unit. */
export function shownSpeed(load: Comparison["loads"][number], sample: Sample): string {
  return load.metric === "rate" ? `${grouped(sample.aggrb)} KB/s` : `${grouped(sample.meanUs)} us`;
}

export function shownPercent(percent: number | undefined): string {
  return percent === undefined ? "-" : `${Math.round(percent)}%`;
}
