/**
 * Volfiles from GlusterFS servers: ask one, then its backups, and keep listening for changes (wire.md 3.1).
 *
 * While a graph runs its management connection stays open. When the server says that the volume changed, the
 * volfile is fetched again, and whoever watches hears of it. When the connection ends, the servers are asked
 * again in turn until one answers; I/O does not depend on any of this.
 */

import type { Env, Timer } from "../core/env.ts";
import { UserError } from "../core/errors.ts";
import { parseVolfile, type Volfile } from "../graph/volfile.ts";
import { GlusterdClient, VolfileRefused } from "../rpc/glusterd.ts";
import { type ServerAddress, type ServerSource, sourceText } from "./source.ts";

export interface FetchOptions {
  readonly env: Env;
  readonly backupServers?: readonly ServerAddress[];
  /** Rounds through all servers; 1 by default. */
  readonly attempts?: number;
}

/** How long to leave servers alone after all of them failed. */
const RETRY_MS = 3000;

/** Whether a server was there and has no such volfile, as opposed to no server that answers. */
export function isRefusal(error: unknown): boolean {
  return error instanceof VolfileRefused;
}

/** A volfile together with the connection it came by. */
export class ServerVolfile {
  readonly #source: ServerSource;
  readonly #options: FetchOptions;
  #client: GlusterdClient | undefined;
  #text = "";
  #closed = false;
  #retry: Timer | undefined;
  #onVolfile: ((volfile: Volfile) => void) | undefined;

  private constructor(source: ServerSource, options: FetchOptions) {
    this.#source = source;
    this.#options = options;
  }

  /** Fetches. Rejects with UserError: what the server said, or why none could be reached. */
  static async fetch(
    source: ServerSource,
    options: FetchOptions,
  ): Promise<{ volfile: Volfile; follow: ServerVolfile }> {
    const follow = new ServerVolfile(source, options);
    const { attempts = 1, env } = options;
    for (let attempt = 1; ; attempt++) {
      try {
        await follow.#ask();
        return { volfile: follow.#parse(), follow };
      } catch (error) {
        follow.#drop();
        if (attempt >= attempts || error instanceof VolfileRefused) throw error;
        env.log.warn("no server has the volfile yet", { attempt, error });
        await new Promise<void>((resolve) => env.clock.after(RETRY_MS, resolve));
      }
    }
  }

  /** From now on `onVolfile` hears of each new text. A text that does not parse is logged and left alone. */
  watch(onVolfile: (volfile: Volfile) => void): void {
    this.#onVolfile = onVolfile;
  }

  /** The volfile as the server has it now, without waiting for its word. Rejects with UserError. */
  async reload(): Promise<Volfile> {
    if (this.#client === undefined) await this.#ask();
    else this.#text = (await this.#client.fetchVolfile(`/${this.#source.volume}`)).text;
    return this.#parse();
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#drop();
  }

  #drop(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  #parse(): Volfile {
    return parseVolfile(this.#text, sourceText(this.#source));
  }

  /** Connects to the first server that answers and takes its volfile; all failures in one message. */
  async #ask(): Promise<void> {
    const failures: UserError[] = [];
    for (const server of [this.#source.server, ...(this.#options.backupServers ?? [])]) {
      try {
        await this.#askOne(server);
        return;
      } catch (error) {
        if (!(error instanceof UserError) || error instanceof VolfileRefused) throw error;
        failures.push(error);
      }
    }
    if (failures.length === 1) throw failures[0];
    throw new UserError(`no server answers: ${failures.map((failure) => failure.message).join("; ")}`);
  }

  async #askOne(server: ServerAddress): Promise<void> {
    const target =
      server.transport === "unix"
        ? ({ kind: "unix", path: server.path } as const)
        : ({ kind: "tcp", host: server.host, port: server.port } as const);
    const client = await GlusterdClient.connect(target, {
      env: this.#options.env,
      onVolfileChanged: () => void this.#refresh(client),
      onClose: (why) => this.#lost(client, why),
    });
    try {
      // FUSE clients ask with a leading slash, which the server takes off.
      this.#text = (await client.fetchVolfile(`/${this.#source.volume}`)).text;
    } catch (error) {
      client.close();
      throw error;
    }
    this.#client = client;
    if (this.#closed) this.#drop();
  }

  async #refresh(client: GlusterdClient): Promise<void> {
    if (client !== this.#client) return;
    const before = this.#text;
    try {
      this.#text = (await client.fetchVolfile(`/${this.#source.volume}`)).text;
      this.#announce(before);
    } catch (error) {
      this.#options.env.log.warn("the changed volfile could not be fetched", { error });
    }
  }

  #lost(client: GlusterdClient, why: string): void {
    if (client !== this.#client || this.#closed) return;
    this.#client = undefined;
    this.#options.env.log.info("the management connection ended; trying again", { why });
    this.#retryLater();
  }

  #retryLater(): void {
    this.#retry = this.#options.env.clock.after(RETRY_MS, () => void this.#askAgain());
  }

  async #askAgain(): Promise<void> {
    const before = this.#text;
    try {
      await this.#ask();
      this.#announce(before);
    } catch (error) {
      this.#options.env.log.debug("no server has the volfile yet", { error });
      if (!this.#closed) this.#retryLater();
    }
  }

  #announce(before: string): void {
    if (this.#text === before || this.#closed) return;
    try {
      this.#onVolfile?.(this.#parse());
    } catch (error) {
      this.#options.env.log.error("the changed volfile is not taken over", { error });
    }
  }
}
