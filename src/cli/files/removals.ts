/**
 * The end of a command that removed files: their blocks go in the background, and what is left when the
 * volume is closed stays on the bricks until the next client comes. So the command waits, for a while.
 */

import type { Volume } from "../../api/volume.ts";
import { ProgressBar, type ProgressOptions } from "./progress.ts";

const LOOK_MS = 200;

export interface RemovalsOptions extends Pick<ProgressOptions, "enabled"> {
  /** How long at most. */
  readonly seconds: number;
  /** The user wants an end. */
  readonly signal: AbortSignal;
  readonly out?: NodeJS.WriteStream;
}

/** False when blocks are left to the next client. Rejects with the signal's reason. */
export async function waitForRemovals(
  volumes: readonly Volume[],
  { seconds, signal, enabled = true, out = process.stderr }: RemovalsOptions,
): Promise<boolean> {
  const deadlineMs = performance.now() + seconds * 1000;
  let isDone = false;
  const done = Promise.all(volumes.map((volume) => volume.afterworkDone())).then(() => {
    isDone = true;
  });
  const bar = new ProgressBar(out, { enabled, unit: "blocks of removed files" });
  let [found, gone] = [0, 0];
  try {
    // The first look comes when what there is to do may have been done at once.
    for (let pauseMs = 0; ; pauseMs = LOOK_MS) {
      await Promise.race([done, pause(Math.min(pauseMs, deadlineMs - performance.now()), signal)]);
      signal.throwIfAborted();
      if (isDone) return true;
      const now = volumes.map(({ afterwork }) => afterwork);
      const [foundNow, goneNow] = [total(now, "found"), total(now, "done")];
      bar.expect(foundNow - found);
      bar.add(goneNow - gone);
      [found, gone] = [foundNow, goneNow];
      if (performance.now() >= deadlineMs) return false;
    }
  } finally {
    bar.end();
  }
}

function total(of: readonly Volume["afterwork"][], what: "found" | "done"): number {
  return of.reduce((sum, one) => sum + one[what], 0);
}

/** Over when the time is, or when `signal` is. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(end, Math.max(0, ms));
    signal.addEventListener("abort", end, { once: true });
    function end(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    }
  });
}
