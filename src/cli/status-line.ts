/**
 * The last line of a terminal while a volume serves: how full it is and for how long it is up. Nothing on
 * other outputs.
 */

import type { WriteStream } from "node:tty";
import type { RunningMount } from "../../mount/main.ts";
import { internalCall } from "../core/call.ts";
import type { Statfs } from "../core/fops.ts";
import { InodeTable } from "../core/inode.ts";

const EVERY_MS = 2000;
const GIB = 2 ** 30;

export class StatusLine {
  readonly #out: WriteStream;
  readonly #mount: RunningMount;
  readonly #startedMs = performance.now();
  readonly #root = new InodeTable().root;
  readonly #timer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(out: WriteStream, mount: RunningMount) {
    this.#out = out;
    this.#mount = mount;
    if (!out.isTTY) return;
    this.#timer = setInterval(() => void this.#draw(), EVERY_MS);
    void this.#draw();
  }

  /** Removes the line. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#timer);
    if (this.#out.isTTY) this.#out.write("\r\x1b[K");
  }

  async #draw(): Promise<void> {
    try {
      const call = internalCall();
      const { statfs } = await this.#mount.graph.top.statfs(call, { loc: { inode: this.#root } });
      if (!this.#ended) this.#out.write(`\r\x1b[K${this.#text(statfs)}`);
    } catch {
      // A brick that is full or gone says so to whoever uses it; the line just stays as it is.
    }
  }

  #text(statfs: Statfs): string {
    const seconds = Math.floor((performance.now() - this.#startedMs) / 1000);
    const { mountpoint } = this.#mount.edge;
    const { bavail, frsize, blocks } = statfs;
    const free = `${((bavail * frsize) / GIB).toFixed(1)} GiB`;
    const percent = blocks > 0 ? Math.round((100 * bavail) / blocks) : 0;
    return `${mountpoint}: serving for ${seconds} s, ${free} (${percent}%) free, Ctrl-C ends`;
  }
}
