/**
 * Figures as Prometheus reads them (text exposition format 0.0.4): counters, and histograms with buckets at
 * powers of two from 16 microseconds to 17 minutes, in seconds. A library would bring a registry of live
 * metrics; here the histograms exist already and are only printed.
 *
 * For `mortar stats --prometheus` into a file of node_exporter's textfile collector, or behind any exporter.
 */

import type { FopFigures, MeterSnapshot } from "../core/fop-meter.ts";
import { bucketEndMs, type LatencySnapshot } from "../core/latency.ts";
import type { Figures } from "./figures.ts";
import type { QuorumFigures } from "./quorum-figures.ts";

const BOUNDS_SEC = Array.from({ length: 27 }, (_, power) => (2 ** power * 16) / 1e6);

type Labels = Readonly<Record<string, string>>;

type Metric = (name: string, type: string, help: string) => void;

interface Sample {
  readonly labels: Labels;
  readonly figures: FopFigures;
}

/** The whole page, with a line break at its end. */
export function prometheusText(figures: Figures): string {
  const samples = samplesOf(figures);
  const mount = { mountpoint: figures.mountpoint };
  const lines: string[] = [];
  const metric: Metric = (name, type, help) => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
  };
  metric("mortar_fop_duration_seconds", "histogram", "How long file operations took, by place.");
  for (const { labels, figures: of } of samples) pushHistogram(lines, labels, of.latency);
  metric("mortar_fop_failures_total", "counter", "File operations that ended with an errno.");
  for (const { labels, figures: of } of samples)
    lines.push(`mortar_fop_failures_total${text(labels)} ${of.failures}`);
  metric("mortar_fop_bytes_total", "counter", "Payload of file operations that succeeded.");
  for (const { labels, figures: of } of samples)
    if (of.bytes > 0) lines.push(`mortar_fop_bytes_total${text(labels)} ${of.bytes}`);
  metric("mortar_brick_ping_seconds", "gauge", "Round trip of the last ping of a brick.");
  for (const { brick, pingMs } of figures.bricks)
    if (pingMs !== undefined)
      lines.push(`mortar_brick_ping_seconds${text({ ...mount, brick })} ${pingMs / 1000}`);
  if (figures.quorum.length > 0) pushQuorum(lines, metric, figures);
  metric("mortar_calls_in_flight", "gauge", "File operations that have not been answered.");
  lines.push(`mortar_calls_in_flight${text(mount)} ${figures.callsInFlight}`);
  metric("mortar_uptime_seconds", "gauge", "Since the volume was mounted.");
  lines.push(`mortar_uptime_seconds${text(mount)} ${figures.uptimeMs / 1000}`);
  metric("mortar_process_resident_memory_bytes", "gauge", "Memory of the mount's process.");
  lines.push(`mortar_process_resident_memory_bytes${text(mount)} ${figures.process.rssBytes}`);
  metric("mortar_process_cpu_seconds_total", "counter", "Processor time of the mount's process.");
  lines.push(`mortar_process_cpu_seconds_total${text(mount)} ${figures.process.cpuMs / 1000}`);
  return `${lines.join("\n")}\n`;
}

function pushQuorum(lines: string[], metric: Metric, { mountpoint, quorum }: Figures): void {
  const each = (name: string, type: string, help: string, value: (of: QuorumFigures) => number): void => {
    metric(name, type, help);
    for (const of of quorum) lines.push(`${name}${text({ mountpoint, replica: of.name })} ${value(of)}`);
  };
  const waiting = "Calls that wait until enough copies are up.";
  each("mortar_replica_has_quorum", "gauge", "1: enough copies are up.", (of) => (of.hasQuorum ? 1 : 0));
  each("mortar_replica_copies_up", "gauge", "Copies that are up.", (of) => of.copiesUp);
  each("mortar_replica_calls_waiting_for_quorum", "gauge", waiting, (of) => of.waiting);
  const suspended = "Calls that had to wait for quorum.";
  each("mortar_replica_calls_suspended_total", "counter", suspended, (of) => of.suspended);
}

function samplesOf({ mountpoint, edge, graph, bricks }: Figures): Sample[] {
  const of = (snapshot: MeterSnapshot, labels: Labels): Sample[] =>
    Object.entries(snapshot).map(([fop, figures]) => ({ labels: { ...labels, fop }, figures }));
  return [
    ...of(edge, { mountpoint, place: "edge" }),
    ...of(graph, { mountpoint, place: "graph" }),
    ...bricks.flatMap(({ brick, fops }) => of(fops, { mountpoint, place: "brick", brick })),
  ];
}

function pushHistogram(lines: string[], labels: Labels, latency: LatencySnapshot): void {
  const name = "mortar_fop_duration_seconds";
  const { buckets } = latency;
  let at = 0;
  let below = 0;
  for (const bound of BOUNDS_SEC) {
    // Bounds are ends of buckets, so that no bucket is cut; the factor forgives the last bit of a division.
    while (at < buckets.length && bucketEndMs(buckets[at]!) / 1000 <= bound * (1 + 1e-9)) {
      below += buckets[at + 1]!;
      at += 2;
    }
    lines.push(`${name}_bucket${text({ ...labels, le: String(bound) })} ${below}`);
  }
  lines.push(`${name}_bucket${text({ ...labels, le: "+Inf" })} ${latency.count}`);
  lines.push(`${name}_sum${text(labels)} ${latency.totalMs / 1000}`);
  lines.push(`${name}_count${text(labels)} ${latency.count}`);
}

function text(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([key, value]) => `${key}="${value.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`,
  );
  return `{${pairs.join(",")}}`;
}
