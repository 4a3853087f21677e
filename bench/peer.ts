/**
 * The peer: a volume of GlusterFS as glusterd itself sets it up, one brick or three copies, loopback TCP. Its
 * performance translators are off, so that its client graph does the work that Mortar's does; or it has a
 * group of options (virt), and Mortar's row has the same. Its bricks are a process each, or with
 * cluster.brick-multiplex one for all.
 *
 * Needs root and GlusterFS 10 or newer on this machine. A glusterd that already runs is used and left
 * running; one that this bench started is stopped. The volume is stopped and deleted at the end, whatever
 * happened.
 */

import { hostname } from "node:os";
import { UserError } from "../src/core/errors.ts";
import type { Processes, Running } from "../test/support/processes.ts";
import { until } from "../test/support/wait.ts";

/** Client translators that cache, gather or read ahead: the graphs compared have none of them. */
const TRANSLATORS_OFF = [
  "write-behind",
  "open-behind",
  "quick-read",
  "io-cache",
  "read-ahead",
  "stat-prefetch",
  "readdir-ahead",
] as const;
const COMMAND_MS = 60_000;

export interface PeerInit {
  readonly name: string;
  /** Where the volume keeps its data: one directory, or one a copy. */
  readonly brickDirectories: readonly string[];
  /** Options to set, as `gluster volume set NAME group GROUP`. */
  readonly group?: string | undefined;
  /** One process for all bricks. */
  readonly together?: boolean;
}

export class Peer {
  readonly name: string;
  /** glusterd refuses volumes on "localhost". */
  readonly host = hostname();
  readonly #processes: Processes;
  readonly brickDirectories: readonly string[];
  readonly #init: PeerInit;
  #glusterd: Running | undefined;
  #made = false;

  constructor(processes: Processes, init: PeerInit) {
    this.#processes = processes;
    this.#init = init;
    this.name = init.name;
    this.brickDirectories = init.brickDirectories;
  }

  /** What a client is told to mount. */
  get source(): string {
    return `${this.host}:/${this.name}`;
  }

  async start(): Promise<void> {
    await this.#ensureGlusterd();
    const bricks = this.brickDirectories.map((directory) => `${this.host}:${directory}`);
    const copies = bricks.length > 1 ? ["replica", String(bricks.length)] : [];
    await this.#gluster("volume", "create", this.name, ...copies, ...bricks, "force");
    this.#made = true;
    const { group, together } = this.#init;
    if (group !== undefined) await this.#gluster("volume", "set", this.name, "group", group);
    else
      for (const translator of TRANSLATORS_OFF)
        await this.#gluster("volume", "set", this.name, `performance.${translator}`, "off");
    // An option of the whole cluster, which counts when bricks are started.
    if (together) await this.#gluster("volume", "set", "all", "cluster.brick-multiplex", "on");
    try {
      await this.#gluster("volume", "start", this.name);
    } finally {
      if (together) await this.#gluster("volume", "set", "all", "cluster.brick-multiplex", "off");
    }
    const processes = new Set(await this.#brickPids()).size;
    if (processes !== (together ? 1 : this.brickDirectories.length))
      throw new Error(`peer: ${this.name} has its bricks in ${processes} processes`);
  }

  /** Options as the volume has them, for the report. */
  async options(): Promise<string[]> {
    const info = await this.#gluster("volume", "info", this.name);
    return info.split("\n").filter((line) => /^[a-z-]+\.[a-z-]+:/.test(line));
  }

  /** Pid of the first brick's process. */
  async brickPid(): Promise<number> {
    const [pid] = await this.#brickPids();
    if (pid === undefined) throw new Error(`peer: glusterd does not tell the pid of a brick of ${this.name}`);
    return pid;
  }

  async #brickPids(): Promise<number[]> {
    const status = await this.#gluster("volume", "status", this.name, "--xml");
    // Heal daemons and the like have a path without a slash.
    const bricks = status.matchAll(/<path>\/[^<]*<\/path>.*?<pid>(\d+)<\/pid>/gs);
    return [...bricks].map(([, pid]) => Number(pid));
  }

  async stop(): Promise<void> {
    if (this.#made) {
      await this.#gluster("volume", "stop", this.name, "force").catch(() => {});
      await this.#gluster("volume", "delete", this.name);
      this.#made = false;
    }
    await this.#glusterd?.stop();
    this.#glusterd = undefined;
  }

  async #ensureGlusterd(): Promise<void> {
    if (process.getuid?.() !== 0) throw new UserError("bench: --peers: glusterd and its bricks need root");
    const version = await this.#processes.tryRun("glusterd", ["--version"]);
    if (version.code !== 0)
      throw new UserError("bench: --peers: GlusterFS is missing: apt-get install glusterfs-server");
    if (await this.#answers()) return;
    this.#glusterd = this.#processes.start("glusterd", ["-N"]);
    await until("glusterd answers", () => this.#answers(), { deadlineMs: COMMAND_MS });
  }

  async #answers(): Promise<boolean> {
    const { code } = await this.#processes.tryRun("gluster", ["--mode=script", "volume", "list"]);
    return code === 0;
  }

  #gluster(...args: string[]): Promise<string> {
    return this.#processes.run("gluster", ["--mode=script", ...args], { timeoutMs: COMMAND_MS });
  }
}
