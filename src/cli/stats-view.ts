/**
 * `mortar stats` as a table: the busiest fops first, each at the three places, so that the share of FUSE,
 * graph, network and disk can be read off a column.
 */

import Table from "cli-table3";
import type { Figures } from "../control/figures.ts";
import { quorumLines } from "../control/quorum-figures.ts";
import type { FopFigures, MeterSnapshot } from "../core/fop-meter.ts";
import type { FopName } from "../core/fops.ts";
import { percentileMs } from "../core/latency.ts";

const HEAD = ["fop", "place", "calls", "/s", "failed", "MB/s", "p50", "p99", "p99.9", "max"];
const MB = 1e6;

interface Place {
  readonly name: string;
  readonly fops: MeterSnapshot;
}

/** The figures of a whole mount, or of what happened between two askings. */
export function statsText(figures: Figures): string {
  const { mountpoint, source, pid, uptimeMs, callsInFlight, process: used } = figures;
  const seconds = uptimeMs / 1000;
  const memory = `${Math.round(used.rssBytes / 2 ** 20)} MiB`;
  const cpu = `${Math.round((used.cpuMs / Math.max(uptimeMs, 1)) * 100)}% of a processor`;
  const head =
    `${source} on ${mountpoint}, process ${pid}: ${seconds.toFixed(1)} s, ` +
    `${callsInFlight} calls in flight, ${memory}, ${cpu}`;
  const places = placesOf(figures);
  const names = busiest(places);
  if (names.length === 0)
    return `${[head, "nothing was asked", ...quorumLines(figures.quorum)].join("\n")}\n`;
  const table = new Table({
    head: HEAD,
    colAligns: HEAD.map((_, index) => (index < 2 ? "left" : "right")),
    style: { head: [], border: [], compact: true },
    chars: BARE,
  });
  for (const fop of names) {
    let first = true;
    for (const { name, fops } of places) {
      const of = fops[fop];
      if (of === undefined) continue;
      table.push([first ? fop : "", name, ...cells(of, seconds)]);
      first = false;
    }
  }
  return `${[head, table.toString(), ...pings(figures), ...quorumLines(figures.quorum)].join("\n")}\n`;
}

/** No lines: columns are enough, and can be cut by other programs. */
const BARE = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: " ",
};

function placesOf({ edge, graph, bricks }: Figures): Place[] {
  return [
    { name: "kernel edge", fops: edge },
    { name: "graph", fops: graph },
    ...bricks.map(({ brick, kind, fops }) => ({ name: `${kind} ${brick}`, fops })),
  ];
}

/** Fops that took most of the time, at whichever place. */
function busiest(places: readonly Place[]): FopName[] {
  const total = new Map<FopName, number>();
  for (const { fops } of places)
    for (const [fop, { latency }] of Object.entries(fops) as [FopName, FopFigures][])
      total.set(fop, Math.max(total.get(fop) ?? 0, latency.totalMs));
  return [...total].sort(([, a], [, b]) => b - a).map(([fop]) => fop);
}

function cells({ calls, failures, bytes, latency }: FopFigures, seconds: number): string[] {
  return [
    String(calls),
    rate(calls / seconds),
    failures > 0 ? String(failures) : "",
    bytes > 0 ? rate(bytes / MB / seconds) : "",
    ...[0.5, 0.99, 0.999].map((share) => durationText(percentileMs(latency, share))),
    durationText(latency.maxMs),
  ];
}

function rate(value: number): string {
  return value >= 100 ? String(Math.round(value)) : value.toFixed(1);
}

/** Three digits and a unit; `12.3ms`. */
export function durationText(ms: number): string {
  if (Number.isNaN(ms)) return "";
  if (ms < 1) return `${Math.round(ms * 1000)}us`;
  if (ms < 1000) return `${Number(ms.toPrecision(3))}ms`;
  return `${Number((ms / 1000).toPrecision(3))}s`;
}

function pings({ bricks }: Figures): string[] {
  return bricks
    .filter(({ pingMs }) => pingMs !== undefined)
    .map(({ brick, pingMs }) => `ping of ${brick}: ${durationText(pingMs!)} (network and an idle brick)`);
}
