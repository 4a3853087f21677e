/**
 * The last line of a terminal while a volume serves: how full it is, for how long it is up, what is being
 * healed. Nothing on other outputs.
 */

import type { WriteStream } from "node:tty";
import type { RunningMount } from "../../mount/main.ts";
import type { RunningHeal } from "../../xlators/cluster/replicate/crawl/heal-queue.ts";
import { internalCall } from "../core/call.ts";
import type { Statfs } from "../core/fops.ts";
import { InodeTable } from "../core/inode.ts";
import { sizeText } from "./heal-progress.ts";
import { columnsOf } from "./output.ts";

const EVERY_MS = 2000;
const GIB = 2 ** 30;

export class StatusLine {
  readonly #out: WriteStream;
  readonly #mount: RunningMount;
  readonly #heals: () => readonly RunningHeal[];
  readonly #startedMs = performance.now();
  readonly #root = new InodeTable().root;
  readonly #timer: NodeJS.Timeout | undefined;
  #ended = false;

  /** `heals`: what is being healed inside this process. */
  constructor(out: WriteStream, mount: RunningMount, heals: () => readonly RunningHeal[] = () => []) {
    this.#out = out;
    this.#mount = mount;
    this.#heals = heals;
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
      const { statfs } = await this.#mount.graph.statfs(call, { loc: { inode: this.#root } });
      if (!this.#ended) this.#out.write(`\r\x1b[K${this.#text(statfs).slice(0, columnsOf(this.#out) - 1)}`);
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
    const heals = healText(this.#heals());
    return `${mountpoint}: serving for ${seconds} s, ${free} (${percent}%) free, ${heals}Ctrl-C ends`;
  }
}

/** `healing /vm1.qcow2 40% of 1.0 GiB, `; nothing when nothing is. */
export function healText(heals: readonly RunningHeal[]): string {
  const [first] = heals;
  if (!first) return "";
  const { path = "an object without a name", progress } = first;
  const others = heals.length > 1 ? ` and ${heals.length - 1} more` : "";
  const share = progress && progress.total > 0 ? Math.floor((100 * progress.done) / progress.total) : 0;
  const far = progress ? ` ${share}% of ${sizeText(progress.total)}` : "";
  return `healing ${path}${far}${others}, `;
}
