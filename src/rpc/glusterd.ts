/**
 * The management connection to a glusterd: volfiles and brick ports (wire.md 2.3, 2.4, 3.1).
 *
 * It stays open after a volfile came, since glusterd calls back on it when the volume changes. It is never
 * pinged. Backup servers, retries and what to do with a new volfile are the caller's.
 */

import { Dict } from "../core/dict.ts";
import type { Env } from "../core/env.ts";
import { type ErrnoName, errnoName, UserError } from "../core/errors.ts";
import { RpcClient } from "./client.ts";
import { getspecCall, getspecReply, portByBrickCall, portByBrickReply } from "./codec-control.ts";
import {
  CALLBACK_PROC,
  CALLBACK_PROGRAM,
  HANDSHAKE_PROC,
  HANDSHAKE_PROGRAM,
  PORTMAP_PROC,
  PORTMAP_PROGRAM,
} from "./programs.ts";
import { type Connect, type ConnectTarget, targetText } from "./transport.ts";
import { connectSocket } from "./transport-tcp.ts";

export const GLUSTERD_PORT = 24007;
/** Operating versions this client understands: what 10.x sends. */
const OP_VERSION_MIN = "1";
export const OP_VERSION_MAX = "100000";
/** GETSPEC's flag of clients, who want to know the volume's other servers. */
const WANT_SERVERS = 1;
/** A glusterd that has not answered after this long will not. */
const ANSWER_TIMEOUT_MS = 30_000;

/** What GETSPEC gave. */
export interface FetchedVolfile {
  readonly text: string;
  /** `host:port` of servers that know the volume too, as the server lists them; may be empty. */
  readonly servers: readonly string[];
}

/** A server that has not got what was asked for, as opposed to one that cannot be reached. */
export class VolfileRefused extends UserError {
  readonly code: ErrnoName;
  constructor(code: ErrnoName, message: string) {
    super(message);
    this.name = "VolfileRefused";
    this.code = code;
  }
}

export interface GlusterdOptions {
  readonly env: Env;
  /** For tests; sockets by default. */
  readonly connect?: Connect;
  /** How long an answer may take; 30 s by default. */
  readonly answerTimeoutMs?: number;
  /** The volume has changed: its volfile should be fetched again. */
  onVolfileChanged?(): void;
  /** The connection ended, not by `close`. */
  onClose?(why: string): void;
}

export class GlusterdClient {
  readonly target: ConnectTarget;
  readonly #rpc: RpcClient;

  private constructor(target: ConnectTarget, rpc: RpcClient) {
    this.target = target;
    this.#rpc = rpc;
  }

  /** Connects. Rejects with UserError that names the server. */
  static async connect(target: ConnectTarget, options: GlusterdOptions): Promise<GlusterdClient> {
    const { env, connect = connectSocket, answerTimeoutMs = ANSWER_TIMEOUT_MS } = options;
    try {
      const transport = await connect(target);
      const rpc = new RpcClient(transport, {
        env,
        frameTimeoutMs: () => answerTimeoutMs,
        pingTimeoutMs: () => 0,
        onCallback: (program, procedure) => {
          if (program === CALLBACK_PROGRAM.number && procedure === CALLBACK_PROC.FETCHSPEC)
            options.onVolfileChanged?.();
        },
        onClose: (why) => {
          if (why !== undefined) options.onClose?.(why);
        },
      });
      return new GlusterdClient(target, rpc);
    } catch (error) {
      const { message } = error as Error;
      throw new UserError(`glusterd at ${message}`, { cause: error });
    }
  }

  /**
   * The volfile of a volume (or of what else glusterd has a volfile for, wire.md 3.1). Rejects with
   * VolfileRefused when the server answers no, with UserError when it does not answer.
   */
  async fetchVolfile(key: string): Promise<FetchedVolfile> {
    const who = `glusterd at ${targetText(this.target)}`;
    const xdata = new Dict()
      .setStr("min-op-version", OP_VERSION_MIN)
      .setStr("max-op-version", OP_VERSION_MAX);
    const call = { flags: WANT_SERVERS, key, xdata };
    const reply = await this.#rpc
      .request(HANDSHAKE_PROGRAM, HANDSHAKE_PROC.GETSPEC, getspecCall, call, getspecReply)
      .catch((error: Error) => {
        throw new UserError(`${who}: volume "${volumeOf(key)}": no volfile: ${error.message}`, {
          cause: error,
        });
      });
    if (reply.opRet < 0) {
      const code = errnoName(reply.opErrno);
      throw new VolfileRefused(code, `${who}: volume "${volumeOf(key)}": ${refusal(code)}`);
    }
    const servers = reply.xdata?.text("servers-list") ?? reply.xdata?.text("cluster.brick-vol-servers") ?? "";
    return { text: reply.spec, servers: servers.split(" ").filter((server) => server !== "") };
  }

  /** The port of a brick by its path; undefined when it does not run. Rejects with a FopError. */
  portByBrick(path: string): Promise<number | undefined> {
    return portByBrick(this.#rpc, path);
  }

  close(): void {
    this.#rpc.close();
  }
}

/** PORTBYBRICK on any connection to a glusterd. */
export async function portByBrick(rpc: RpcClient, path: string): Promise<number | undefined> {
  const { PORTBYBRICK } = PORTMAP_PROC;
  const reply = await rpc.request(
    PORTMAP_PROGRAM,
    PORTBYBRICK,
    portByBrickCall,
    { brick: path },
    portByBrickReply,
  );
  return reply.opRet < 0 || reply.port <= 0 ? undefined : reply.port;
}

function volumeOf(key: string): string {
  return key.startsWith("/") ? key.slice(1) : key;
}

function refusal(code: ErrnoName): string {
  switch (code) {
    case "ENOENT":
      return "no such volume there";
    case "EOPNOTSUPP":
      return `needs a newer client than operating version ${OP_VERSION_MAX}`;
    case "EACCES":
      return "this client is not allowed to have it";
    default:
      return `refused with ${code}`;
  }
}
