/**
 * The health check: a trial write and read in the brick every so often (spec translators.md 2.9). When one
 * fails or does not return, the brick says child-down once and for good: what a failing disk still answers is
 * not to be trusted until a restart.
 */

import type { Env, Timer } from "../../../src/core/env.ts";
import { FopError, toFopError } from "../../../src/core/errors.ts";
import { O_CREAT, O_RDONLY, O_TRUNC, O_WRONLY } from "../../../src/core/open-flags.ts";
import type { DiskIo } from "../../../src/os/disk-io.ts";
import { close, open } from "../../../src/os/files.ts";

const FILE_MODE = 0o644;

export interface HealthCheckInit {
  /** The file that is written, `.glusterfs/health_check`. */
  readonly path: string;
  readonly io: DiskIo;
  readonly env: Env;
  /** Read before each check, because options may be reconfigured. */
  readonly seconds: () => { interval: number; timeout: number };
  readonly onFailure: (error: FopError) => void;
}

export class HealthCheck {
  readonly #init: HealthCheckInit;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(init: HealthCheckInit) {
    this.#init = init;
  }

  /** The first check comes after one interval; an interval of 0 means none, until `start` is called again. */
  start(): void {
    this.#timer?.cancel();
    const { interval } = this.#init.seconds();
    if (this.#stopped || interval === 0) return;
    this.#timer = this.#init.env.clock.after(interval * 1000, () => void this.#round());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #round(): Promise<void> {
    try {
      await this.#withTimeout(this.check());
      this.start();
    } catch (error) {
      if (!this.#stopped) this.#init.onFailure(toFopError(error, { fop: "health-check" }));
      this.stop();
    }
  }

  /** One check. Rejects when the disk does not keep what it was given. */
  async check(): Promise<void> {
    const { path, env, io } = this.#init;
    const { sec, nsec } = env.clock.wall();
    const text = Buffer.from(new Date(sec * 1000 + Math.floor(nsec / 1e6)).toISOString());
    await onFile(path, O_CREAT | O_WRONLY | O_TRUNC, (fd) => io.writev(fd, [text], 0));
    const back = Buffer.alloc(text.length);
    await onFile(path, O_RDONLY, (fd) => io.readv(fd, [back], 0));
    if (!back.equals(text)) throw new FopError("EIO", { message: "health check: other bytes came back" });
  }

  #withTimeout(work: Promise<void>): Promise<void> {
    const { timeout } = this.#init.seconds();
    if (timeout === 0) return work;
    return new Promise((resolve, reject) => {
      const timer = this.#init.env.clock.after(timeout * 1000, () =>
        reject(new FopError("ETIMEDOUT", { message: `health check: no answer in ${timeout} s` })),
      );
      work.then(resolve, reject).finally(() => timer.cancel());
    });
  }
}

async function onFile(path: string, flags: number, work: (fd: number) => Promise<unknown>): Promise<void> {
  const fd = await open(path, flags, FILE_MODE);
  try {
    await work(fd);
  } finally {
    await close(fd);
  }
}
