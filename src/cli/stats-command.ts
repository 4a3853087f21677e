/**
 * `mortar stats`: figures of a running mount, once or again and again, for people, for programs, for
 * Prometheus.
 */

import type { Figures } from "../control/figures.ts";
import { figuresSince } from "../control/figures.ts";
import { prometheusText } from "../control/prometheus.ts";
import { ask } from "../control/socket.ts";
import { UserError } from "../core/errors.ts";
import { statsText } from "./stats-view.ts";

export interface StatsFlags {
  readonly watch?: boolean;
  readonly interval: string;
  readonly count?: string;
  readonly json?: boolean;
  readonly prometheus?: boolean;
}

export async function statsCommand(mountpoint: string, flags: StatsFlags): Promise<void> {
  if (flags.json && flags.prometheus)
    throw new UserError("stats: --json and --prometheus exclude each other");
  if (flags.watch && flags.prometheus)
    throw new UserError(
      "stats: --watch and --prometheus exclude each other: Prometheus takes the differences",
    );
  const intervalMs = numberOf("--interval", flags.interval) * 1000;
  const rounds = flags.count === undefined ? Number.POSITIVE_INFINITY : numberOf("--count", flags.count);
  const first = await ask(mountpoint, "stats", {});
  if (!flags.watch) {
    process.stdout.write(flags.prometheus ? prometheusText(first) : rendered(first, flags));
    return;
  }
  let before = first;
  for (let round = 0; round < rounds; round++) {
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
    const now = await ask(mountpoint, "stats", {});
    if (now.pid !== before.pid) throw new UserError(`${mountpoint}: was mounted anew`);
    const clear = process.stdout.isTTY && !flags.json ? "\x1b[H\x1b[2J" : "";
    process.stdout.write(clear + rendered(figuresSince(before, now), flags));
    before = now;
  }
}

/** With --watch each round is one line of JSON. */
function rendered(figures: Figures, { json, watch }: StatsFlags): string {
  if (!json) return statsText(figures);
  return `${watch ? JSON.stringify(figures) : JSON.stringify(figures, undefined, 2)}\n`;
}

function numberOf(flag: string, text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  if (value > 0 && value <= 86_400) return value;
  throw new UserError(`stats: ${flag} "${text}": is not a number above 0`);
}
