/**
 * The brick's reserve: whether only reserved space is left, and what statfs tells (spec translators.md 2.9,
 * option `reserve`).
 */

import type { Env, Timer } from "../../../src/core/env.ts";
import type { Statfs } from "../../../src/core/fops.ts";
import type { PercentOrSize } from "../../../src/core/options.ts";
import { statfs } from "../../../src/os/files.ts";

/** How often the free space is looked at. */
const CHECK_INTERVAL_MS = 5000;

/** Whether the free space has come down to the reserve. */
export function isFull(fs: Statfs, reserve: PercentOrSize): boolean {
  if ("percent" in reserve) return reserve.percent > 0 && fs.bfree <= (fs.blocks * reserve.percent) / 100;
  return reserve.bytes > 0 && fs.bfree * fs.frsize <= reserve.bytes;
}

/** What users see: without the reserve, and divided among the bricks that share the file system. */
export function visibleStatfs(
  fs: Statfs,
  options: { reserve: PercentOrSize; sharedBy: number; exportSize: boolean },
): Statfs {
  const { reserve, sharedBy } = options;
  const reserved =
    "percent" in reserve
      ? Math.floor((fs.blocks * reserve.percent) / 100 + 0.5)
      : fs.frsize > 0
        ? Math.ceil(reserve.bytes / fs.frsize)
        : 0;
  const bfree = Math.max(fs.bfree - reserved, 0);
  if (!options.exportSize) return { ...fs, blocks: 0, bfree: 0, bavail: 0, files: 0, ffree: 0, favail: 0 };
  return {
    ...fs,
    blocks: Math.floor(fs.blocks / sharedBy),
    bfree: Math.floor(bfree / sharedBy),
    bavail: Math.floor(Math.min(fs.bavail, bfree) / sharedBy),
    files: Math.floor(fs.files / sharedBy),
    ffree: Math.floor(fs.ffree / sharedBy),
    favail: Math.floor(fs.favail / sharedBy),
  };
}

export class Space {
  /** Only the reserve is left, as of the last look. */
  full = false;
  readonly #base: string;
  readonly #env: Env;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(base: string, env: Env) {
    this.#base = base;
    this.#env = env;
  }

  /** Looks now. An error leaves the last answer. */
  async check(reserve: PercentOrSize): Promise<void> {
    try {
      this.full = isFull(await statfs(this.#base), reserve);
    } catch {
      this.#env.log.warn("free space not known", { directory: this.#base });
    }
  }

  /** Looks now and then until `stop`; `reserve` is read each time, because it may be reconfigured. */
  async watch(reserve: () => PercentOrSize): Promise<void> {
    if (this.#stopped) return;
    await this.check(reserve());
    if (!this.#stopped)
      this.#timer = this.#env.clock.after(CHECK_INTERVAL_MS, () => void this.watch(reserve));
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }
}
