/**
 * The connection of a protocol/client to its brick: made, identified, kept, made again (wire.md 3.2 to 3.5,
 * 10.3).
 *
 * One attempt: connect; DUMP tells whether this is a glusterd; if so it is asked for the brick's port and the
 * brick is connected to; SETVOLUME; the owner opens its files again; then the session is up. What fails is
 * tried again, soon at first and every RETRY_MAX_MS in the end. A refusal to let us in ends a session that
 * has never been up; one that has been goes on trying, since a running mount has more to lose than to gain
 * by giving up.
 */

import { hostname } from "node:os";
import { Dict } from "../../src/core/dict.ts";
import type { Env, Timer } from "../../src/core/env.ts";
import { errnoName, FopError } from "../../src/core/errors.ts";
import { gfidOf, gfidText } from "../../src/core/gfid.ts";
import { PLACE_SETVOLUME } from "../../src/core/keys.ts";
import type { Logger } from "../../src/core/log.ts";
import { RpcClient } from "../../src/rpc/client.ts";
import {
  DUMP_GFS_ID,
  dumpCall,
  dumpReply,
  setvolumeCall,
  setvolumeReply,
} from "../../src/rpc/codec-control.ts";
import { OP_VERSION_MAX, portByBrick } from "../../src/rpc/glusterd.ts";
import {
  CALLBACK_PROC,
  CALLBACK_PROGRAM,
  DUMP_PROC,
  DUMP_PROGRAM,
  FOP_PROGRAM,
  HANDSHAKE_PROC,
  HANDSHAKE_PROGRAM,
  PORTMAP_PROGRAM,
} from "../../src/rpc/programs.ts";
import { type Connect, type ConnectTarget, type Transport, targetText } from "../../src/rpc/transport.ts";
import type { XdrReader } from "../../src/rpc/xdr.ts";
import { type ClientOptions, firstTarget, tcpTarget } from "./client-options.ts";

/**
 * The pause before an attempt is a tenth of the time that the brick is away, so that it is missed by no more
 * than that longer than it was; at most what GlusterFS waits each time.
 */
const RETRY_SHARE = 0.1;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 3000;
/** A server that does not take a connection within this time is tried again. */
const CONNECT_TIMEOUT_MS = 20_000;
const CLIENT_VERSION = "mortar-0.1";

/** What the owner of a session hears. */
export interface SessionEvents {
  /** Connected and identified: open files again through `rpc`. The session is up when this settles. */
  onReopen(rpc: RpcClient): Promise<void>;
  onUp(told: BrickIdentity): void;
  onDown(): void;
  /** The connection has ended, and all that the brick kept for it. */
  onLost(): void;
  onConnecting(why: string): void;
  onRefused(why: string): void;
  onVolfileModified(): void;
  onPing(latencyMs: number): void;
  /** A callback of the brick other than child up and down. May throw XdrError. */
  onCallback(procedure: number, reader: XdrReader): void;
}

/** What a brick tells of itself, where it does: its volume, and which copy it is (see ChildEvent). */
export interface BrickIdentity {
  readonly volumeId?: string;
  readonly brickId?: string;
}

export interface SessionInit {
  readonly name: string;
  readonly env: Env;
  readonly log: Logger;
  readonly connect: Connect;
  readonly rawOptions: ReadonlyMap<string, string>;
  /** Asked at each attempt, as some change while running. */
  options(): ClientOptions;
  readonly events: SessionEvents;
}

/** An attempt failed in a way that is no bug; `final` ones are not repeated. */
class AttemptFailed extends Error {
  readonly final: boolean;
  constructor(message: string, final = false) {
    super(message);
    this.final = final;
  }
}

export class ClientSession {
  /** The connection while the session is up; undefined at all other times. */
  rpc: RpcClient | undefined;
  readonly #init: SessionInit;
  readonly #contextId: string;
  #running = false;
  /** The connection in use or being made. */
  #current: RpcClient | undefined;
  /** Identified and files reopened; up as soon as the brick says that its own disk is. */
  #ready: RpcClient | undefined;
  /** What the brick said last of its own disk, on the connection in use or being made. */
  #brickUp: boolean | undefined;
  #wasUp = false;
  #volumeId: string | undefined;
  #brickId: string | undefined;
  #reconnects = 0;
  #lastXid = 1;
  #retry: Timer | undefined;
  /** Since when the session is not up. */
  #awaySinceMs = 0;
  /** The address last tried, and what was wrong last, for the log. */
  #where = "";
  #lastTrouble = "";

  constructor(init: SessionInit) {
    this.#init = init;
    this.#contextId = gfidText(gfidOf(init.env.random.bytes(16)));
  }

  /** The connection on which the open files have their numbers, also while the brick's own disk is down. */
  get connection(): RpcClient | undefined {
    return this.#ready;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#awaySinceMs = this.#init.env.clock.nowMs();
    void this.#attempt();
  }

  /** Ends the connection and all attempts. */
  stop(): void {
    this.#running = false;
    this.#retry?.cancel();
    this.#current?.close();
  }

  async #attempt(): Promise<void> {
    this.#retry = undefined;
    try {
      await this.#establish();
    } catch (error) {
      this.#current?.close();
      if (!this.#running) return;
      const message = error instanceof Error ? error.message : String(error);
      const named = error instanceof AttemptFailed || (error as FopError).fop === "connect";
      const trouble = named ? message : `${this.#where}: ${message}`;
      if (!(error instanceof AttemptFailed || error instanceof FopError))
        this.#init.log.error("unexpected failure while connecting", { error });
      this.#failed(trouble, error instanceof AttemptFailed && error.final && !this.#wasUp);
    }
  }

  #failed(trouble: string, final: boolean): void {
    const { events, log } = this.#init;
    if (trouble !== this.#lastTrouble) log.warn("not connected", { why: trouble });
    this.#lastTrouble = trouble;
    if (final) {
      this.#running = false;
      events.onRefused(trouble);
      return;
    }
    events.onConnecting(trouble);
    this.#retryLater();
  }

  #retryLater(): void {
    if (!this.#running || this.#retry !== undefined) return;
    const { clock } = this.#init.env;
    const shareMs = (clock.nowMs() - this.#awaySinceMs) * RETRY_SHARE;
    const pauseMs = Math.min(RETRY_MAX_MS, Math.max(RETRY_MIN_MS, shareMs));
    this.#retry = clock.after(pauseMs, () => void this.#attempt());
  }

  async #establish(): Promise<void> {
    let target = firstTarget(this.#init.options());
    let rpc = await this.#connect(target);
    let programs = await this.#programsOf(rpc);
    if (programs.has(programKey(PORTMAP_PROGRAM))) {
      target = await this.#brickBehind(rpc, target);
      rpc = await this.#connect(target);
      programs = await this.#programsOf(rpc);
    }
    if (!programs.has(programKey(FOP_PROGRAM)))
      throw new AttemptFailed(`${targetText(target)}: the server does not speak the 4.x protocol`);
    rpc.credentialVersion = "v3";
    this.#brickUp = undefined;
    const wasUpThen = await this.#setvolume(rpc, target);
    // A callback that came along with the reply is the newer word.
    this.#brickUp ??= wasUpThen;
    rpc.trustPeer();
    await this.#init.events.onReopen(rpc);
    if (rpc.closed)
      throw new AttemptFailed(`${targetText(target)}: the connection ended while files were opened again`);
    this.#ready = rpc;
    this.#lastTrouble = "";
    this.#init.log.info("connected", { server: targetText(target), reconnects: this.#reconnects - 1 });
    this.#announce();
  }

  /** Tells that the session is up, or that it waits for the brick's disk. */
  #announce(): void {
    const { events } = this.#init;
    if (this.#ready === undefined) return;
    if (this.#brickUp && this.rpc === undefined) {
      this.rpc = this.#ready;
      this.#wasUp = true;
      events.onUp(this.#identityOfBrick());
    } else if (!this.#brickUp) {
      if (this.rpc !== undefined) {
        this.rpc = undefined;
        this.#awaySinceMs = this.#init.env.clock.nowMs();
        events.onDown();
      }
      events.onConnecting("the brick is not up yet");
    }
  }

  async #connect(target: ConnectTarget): Promise<RpcClient> {
    const transport = await this.#transport(target);
    const { env, events, log, options } = this.#init;
    const rpc = new RpcClient(transport, {
      env: { ...env, log },
      frameTimeoutMs: () => options()["frame-timeout"] * 1000,
      pingTimeoutMs: () => options()["ping-timeout"] * 1000,
      lastXid: this.#lastXid,
      onCallback: (program, procedure, reader) => this.#onCallback(program, procedure, reader),
      onPing: (latencyMs) => events.onPing(latencyMs),
      onClose: (why) => this.#onClose(rpc, why),
    });
    this.#current = rpc;
    return rpc;
  }

  /** A transport, or a failure in bounded time; a connection that comes later is closed. */
  #transport(target: ConnectTarget): Promise<Transport> {
    this.#where = targetText(target);
    const { env, connect } = this.#init;
    return new Promise<Transport>((resolve, reject) => {
      let waiting = true;
      const timer = env.clock.after(CONNECT_TIMEOUT_MS, () => {
        waiting = false;
        reject(new AttemptFailed(`${targetText(target)}: no answer`));
      });
      connect(target).then(
        (transport) => {
          timer.cancel();
          if (waiting && this.#running) resolve(transport);
          else {
            transport.close();
            reject(new AttemptFailed("stopped"));
          }
        },
        (error) => {
          timer.cancel();
          reject(error);
        },
      );
    });
  }

  #onClose(rpc: RpcClient, why: string | undefined): void {
    this.#lastXid = rpc.lastXid;
    if (this.#current === rpc) this.#current = undefined;
    if (this.#ready !== rpc) return;
    this.#ready = undefined;
    const wasUp = this.rpc === rpc;
    if (wasUp) this.#awaySinceMs = this.#init.env.clock.nowMs();
    this.rpc = undefined;
    if (this.#running) {
      this.#init.log.warn("disconnected", { why });
      this.#retryLater();
    }
    this.#init.events.onLost();
    if (wasUp) this.#init.events.onDown();
  }

  async #programsOf(rpc: RpcClient): Promise<ReadonlySet<string>> {
    const call = { gfsId: DUMP_GFS_ID };
    const { opRet, programs } = await rpc.request(DUMP_PROGRAM, DUMP_PROC.DUMP, dumpCall, call, dumpReply);
    if (opRet < 0) throw new AttemptFailed("the server does not tell its programs");
    return new Set(programs.map(programKey));
  }

  /** Asks a glusterd where the brick listens and leaves it. */
  async #brickBehind(rpc: RpcClient, target: ConnectTarget): Promise<ConnectTarget> {
    const options = this.#init.options();
    const brick = options["remote-subvolume"];
    const port = await portByBrick(rpc, brick);
    rpc.close();
    if (port === undefined)
      throw new AttemptFailed(`${targetText(target)}: brick "${brick}" does not run, says its glusterd`);
    if (target.kind === "unix") throw new AttemptFailed(`${target.path}: is a glusterd, not a brick`);
    return tcpTarget(options, port);
  }

  /** Identifies us to the brick. Gives whether the brick's own children are up. */
  async #setvolume(rpc: RpcClient, target: ConnectTarget): Promise<boolean> {
    const dict = this.#identity();
    const { SETVOLUME } = HANDSHAKE_PROC;
    const reply = await rpc.request(HANDSHAKE_PROGRAM, SETVOLUME, setvolumeCall, { dict }, setvolumeReply);
    const where = `${targetText(target)}: brick "${this.#init.options()["remote-subvolume"]}"`;
    if (reply.opRet < 0) {
      const code = errnoName(reply.opErrno);
      const text = reply.dict?.text("ERROR") ?? code;
      if (code === "ESTALE") this.#init.events.onVolfileModified();
      const subdir = this.#init.options()["subdir-mount"];
      const refused = code === "EACCES" || (code === "ENOENT" && subdir !== "");
      throw new AttemptFailed(`${where} refused: ${text}`, refused);
    }
    const volumeId = reply.dict?.text("volume-id");
    if (volumeId !== undefined && this.#volumeId !== undefined && volumeId !== this.#volumeId)
      throw new AttemptFailed(`${where} belongs to volume ${volumeId} now, not to ${this.#volumeId}`);
    this.#volumeId ??= volumeId;
    this.#brickId = reply.dict?.text(PLACE_SETVOLUME);
    return reply.dict?.text("child_up") !== "0";
  }

  #identityOfBrick(): BrickIdentity {
    const [volumeId, brickId] = [this.#volumeId, this.#brickId];
    return {
      ...(volumeId === undefined ? {} : { volumeId }),
      ...(brickId === undefined ? {} : { brickId }),
    };
  }

  /** All options of the volfile section, and what identifies this connection (wire.md 3.3). */
  #identity(): Dict {
    const { name, rawOptions } = this.#init;
    const dict = new Dict();
    for (const [key, value] of rawOptions) dict.setStr(key, value);
    const reconnect = this.#reconnects++;
    const host = hostname();
    const id = `CTX_ID:${this.#contextId}-GRAPH_ID:0-PID:${process.pid}-HOST:${host}-PC_NAME:${name}-RECON_NO:-${reconnect}`;
    dict.setStr("process-uuid", id);
    dict.setStr("process-name", "mortar");
    dict.setStr("client-version", CLIENT_VERSION);
    dict.setStr("opversion", OP_VERSION_MAX);
    dict.setStr("fops-version", String(FOP_PROGRAM.number));
    dict.setStr("clnt-lk-version", "1");
    dict.setStr("remote-subvolume", this.#init.options()["remote-subvolume"]);
    if (this.#volumeId !== undefined) dict.setStr("volume-id", this.#volumeId);
    return dict;
  }

  #onCallback(program: number, procedure: number, reader: XdrReader): void {
    if (program !== CALLBACK_PROGRAM.number) return;
    if (procedure === CALLBACK_PROC.CHILD_UP || procedure === CALLBACK_PROC.CHILD_DOWN) {
      this.#brickUp = procedure === CALLBACK_PROC.CHILD_UP;
      this.#announce();
    } else this.#init.events.onCallback(procedure, reader);
  }
}

function programKey({ number, version }: { readonly number: number; readonly version: number }): string {
  return `${number} ${version}`;
}
