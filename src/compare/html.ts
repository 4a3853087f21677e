/**
 * A comparison as one HTML page that needs nothing else: what FUSE costs first, then every load, then
 * numbers.
 */

import { type Bar, barChart, escapeText } from "./chart.ts";
import {
  BASE,
  type Comparison,
  DIRECT,
  FUSE,
  FUSE_NATIVE,
  fuseShares,
  medianSample,
  percentOf,
  type RowInfo,
  shownPercent,
  shownSpeed,
} from "./results.ts";
import { FUSE_GOAL_PERCENT, NUMBER_HEAD, numberCells } from "./table.ts";

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --dim: #66707b; --line: #d5dae0;
  --base: #9aa4af; --direct: #2f7d4f; --fuse: #c2631b; --native: #7a4fb0; --good: #2f7d4f; --bad: #c0392b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --paper: #14171a; --dim: #98a2ad;
  --line: #343b43; --base: #6b7682; --direct: #4caf7a; --fuse: #e08a3c; --native: #a685d6;
  --good: #4caf7a; --bad: #e5695a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 920px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; } p, li { color: var(--dim); } code { font-size: .9em; }
svg { max-width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: var(--ink);
  dominant-baseline: central; } svg .marked { fill: var(--dim); font-size: 11px; }
.base { fill: var(--base); } .direct { fill: var(--direct); } .fuse { fill: var(--fuse); }
.fuse-native { fill: var(--native); } .good { fill: var(--good); } .bad { fill: var(--bad); }
.fio { opacity: .55; } .whisker { stroke: var(--ink); fill: none; opacity: .6; }
.mark { stroke: var(--dim); stroke-dasharray: 4 3; fill: none; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.load td { font-weight: 600; padding-top: .9rem; }
`;

const ROW_STYLES: readonly string[] = [BASE, DIRECT, FUSE_NATIVE, FUSE];

export function htmlPage(comparison: Comparison): string {
  const { source, command, startedAt, notes } = comparison;
  return [
    "<!doctype html>",
    '<html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>mortar compare ${escapeText(source)}</title><style>${STYLE}</style></head><body>`,
    `<h1>${escapeText(source)}: the directory, the library, the mount</h1>`,
    `<p><code>${escapeText(command)}</code>, ${escapeText(startedAt)}</p>`,
    costs(comparison),
    "<h2>Every load</h2>",
    ...comparison.loads.map((load) => loadChart(comparison, load)),
    "<h2>All numbers</h2>",
    numbers(comparison),
    "<h2>How it was measured</h2>",
    `<ul>${notes.map((note) => `<li>${escapeText(note)}</li>`).join("")}</ul>`,
    `<p>Translators, from the top: ${comparison.graph.map((one) => `<code>${escapeText(one)}</code>`).join(", ")}</p>`,
    "</body></html>",
    "",
  ].join("\n");
}

/** The first thing to see: how much of the direct path's speed the mount has. */
function costs(comparison: Comparison): string {
  const shares = fuseShares(comparison);
  if (shares.length === 0) return "";
  const bars = shares.map(({ load, direct, fuse, percent }): Bar => {
    const style = percent >= FUSE_GOAL_PERCENT ? "good" : "bad";
    const numbers = `${shownSpeed(load, fuse)} of ${shownSpeed(load, direct)}`;
    return { label: load.title, value: percent, text: `${shownPercent(percent)}  ${numbers}`, style };
  });
  const title = "Speed of the FUSE mount in percent of the direct path";
  return [
    "<h2>What FUSE leaves of the direct path's speed</h2>",
    barChart({ title, bars, mark: { value: 100, text: "Direct" } }),
    `<p>Green from ${FUSE_GOAL_PERCENT}%. Rates: more is faster; times of single requests: less is.</p>`,
  ].join("\n");
}

function loadChart(comparison: Comparison, load: Comparison["loads"][number]): string {
  const bars = comparison.rows.flatMap((row): Bar[] => {
    const sample = medianSample(comparison, row.id, load.id);
    if (!sample) return [];
    const key = load.metric === "rate" ? "aggrb" : "meanUs";
    const values = comparison.samples[row.id]![load.id]!.map((one) => one[key]);
    const ratio = percentOf(comparison, row.id, row.base, load.id);
    const text = `${shownSpeed(load, sample)}${ratio === undefined ? "" : `, ${shownPercent(ratio)} of Base`}`;
    return [
      {
        label: row.title,
        value: sample[key],
        ...(values.length > 1 ? { range: [Math.min(...values), Math.max(...values)] as const } : {}),
        text,
        style: styleOf(row),
      },
    ];
  });
  if (bars.length === 0) return "";
  const better = load.metric === "rate" ? "longer is faster" : "shorter is faster";
  return `<h3>${escapeText(load.title)} <small>(${better})</small></h3>\n${barChart({ title: load.title, bars })}`;
}

function styleOf(row: RowInfo): string {
  const kind = ROW_STYLES.find((style) => row.id === style || row.id.startsWith(`${style}-`)) ?? BASE;
  return row.tool === "fio" ? `${kind} fio` : kind;
}

function numbers(comparison: Comparison): string {
  const head = NUMBER_HEAD.map((cell) => `<th>${escapeText(cell)}</th>`).join("");
  const body = comparison.loads.flatMap((load) => [
    `<tr class="load"><td colspan="${NUMBER_HEAD.length}">${escapeText(load.title)}</td></tr>`,
    ...comparison.rows.flatMap((row) => {
      const cells = numberCells(comparison, row, load.id);
      if (!cells) return [];
      return [`<tr>${[row.title, ...cells].map((cell) => `<td>${escapeText(cell)}</td>`).join("")}</tr>`];
    }),
  ]);
  return `<div class="scroll"><table><thead><tr>${head}</tr></thead>\n<tbody>${body.join("\n")}</tbody></table></div>`;
}
