/**
 * The calling end of one connection: xids, pending calls, frame timeout, ping (wire.md 1.5 and 10.3).
 *
 * Every call ends: by its reply, by the frame timeout, or with the connection; the last two fail it with
 * ENOTCONN and nothing is ever sent again. A reply to a call that nobody made, or one that makes no sense,
 * ends the connection.
 *
 * Ping: while calls are outstanding the peer is pinged every ping timeout, and when it falls silent. A ping
 * timeout without a sign of life, and it counts as gone: GlusterFS takes up to twice as long, as it looks
 * only when it pings, and takes bytes that it sent for a sign.
 */

import type { Call } from "../core/call.ts";
import type { Env, Timer } from "../core/env.ts";
import { FopError } from "../core/errors.ts";
import type { IoVec } from "../core/iovec.ts";
import { nothing, pingReply } from "./codec-control.ts";
import { CALL, type CredentialVersion, finish, readReplyStatus, SELF, writeCallHead } from "./message.ts";
import { DUMP_PROC, DUMP_PROGRAM, type Program } from "./programs.ts";
import { RECORD_BYTES_MAX, type ReceivedRecord } from "./record.ts";
import type { Transport } from "./transport.ts";
import { XdrError, type XdrReader, type XdrType, XdrWriter } from "./xdr.ts";

/**
 * Pending calls are looked over this often for ones that are too old, as in GlusterFS; more often if the
 * timeout is short.
 */
/** The traffic is looked at this often in a ping timeout, or oftener. */
const PING_LOOKS_MIN = 8;
const PING_LOOK_MS_MAX = 500;

const SCAN_MS = 10_000;

/** A call under way. The client settles it exactly once through one of the two methods. */
export abstract class PendingCall {
  /** Set by the client: scans survived, and the message's place in the order of sending. */
  scans = 0;
  ticket = 0;
  /** Waits as long as its connection lives: a blocking lock. */
  readonly patient: boolean = false;

  /**
   * The result begins at the reader. The record is this call's to release. May throw XdrError before anything
   * else has happened; then it is called again with the whole record in one part, or `onFailure` is.
   */
  abstract onReply(reader: XdrReader, record: ReceivedRecord): void;
  abstract onFailure(error: FopError): void;
}

export interface RpcClientOptions {
  readonly env: Env;
  /** 0 for none. Asked again and again, as it may change. */
  frameTimeoutMs(): number;
  /** The same. */
  pingTimeoutMs(): number;
  /** xid of the call before the first; goes on over reconnects. */
  readonly lastXid?: number;
  /**
   * A call of the peer to us; there is no answer to it. The reader is at its arguments. May throw XdrError.
   */
  onCallback?(program: number, procedure: number, reader: XdrReader): void;
  /** A ping came back. */
  onPing?(latencyMs: number): void;
  /** The connection ended; all pending calls have been failed. */
  onClose(why: string | undefined): void;
}

export class RpcClient {
  readonly transport: Transport;
  /** Goes to v3 when the peer has said that it knows the 4.x fops. */
  credentialVersion: CredentialVersion = "v2";
  readonly #options: RpcClientOptions;
  readonly #pending = new Map<number, PendingCall>();
  /** Timed-out calls whose replies may still come. */
  readonly #abandoned = new Set<number>();
  readonly #writer = new XdrWriter();
  #xid: number;
  #scanTimer: Timer | undefined;
  #pingTimer: Timer | undefined;
  #pingUnanswered = false;
  #lastPingMs = 0;
  /** When the peer was last seen to live, to the precision of a look. */
  #lastSignMs = 0;
  #signsSeen = 0;
  #flushedSeen = 0;
  #closed = false;

  constructor(transport: Transport, options: RpcClientOptions) {
    this.transport = transport;
    this.#options = options;
    this.#xid = options.lastXid ?? 1;
    transport.start({
      onRecord: (record) => this.#onRecord(record),
      onClose: (why, broken) => this.#onClose(why, broken),
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  get lastXid(): number {
    return this.#xid;
  }

  /** Calls without an answer yet. */
  get outstanding(): number {
    return this.#pending.size;
  }

  /** The peer has identified itself: records may be as large as payloads need. */
  trustPeer(): void {
    this.transport.receiver.limitBytes = RECORD_BYTES_MAX;
  }

  /** Ends the connection; pending calls fail, `onClose` is called before this returns. */
  close(): void {
    this.transport.close();
  }

  /** Sends a call. `payload` is read until it is flushed, which is before `pending` settles. */
  send<T>(
    program: Program,
    procedure: number,
    who: Call,
    type: XdrType<T>,
    value: T,
    pending: PendingCall,
    payload?: IoVec,
    payloadBytes = 0,
  ): void {
    if (this.#closed) {
      pending.onFailure(new FopError("ENOTCONN"));
      return;
    }
    const writer = this.#writer;
    this.#xid = (this.#xid + 1) >>> 0;
    const xid = this.#xid;
    let head: Buffer;
    try {
      writeCallHead(writer, xid, program, procedure, this.credentialVersion, who);
      type.write(writer, value);
      head = finish(writer, payloadBytes);
    } catch (error) {
      writer.discard();
      if (!(error instanceof XdrError)) throw error;
      const code = error.code === "EOVERFLOW" ? "EOVERFLOW" : "EINVAL";
      pending.onFailure(new FopError(code, { message: error.message }));
      return;
    }
    const isAlone = this.#pending.size === 0;
    this.#pending.set(xid, pending);
    this.transport.send(payload === undefined ? [head] : [head, ...payload], undefined, isAlone);
    pending.ticket = this.transport.sent;
    if (this.#scanTimer === undefined) this.#armScan();
    if (this.#pingTimer === undefined) this.#startPings();
  }

  /** A call of the control plane, with its result. Rejects with a FopError. */
  request<C, R>(
    program: Program,
    procedure: number,
    type: XdrType<C>,
    value: C,
    reply: XdrType<R>,
  ): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      this.send(program, procedure, SELF, type, value, new Request(reply, resolve, reject));
    });
  }

  #onRecord(record: ReceivedRecord): void {
    try {
      const reader = record.reader();
      const xid = reader.u32();
      if (reader.u32() === CALL) this.#onCallback(reader, record);
      else this.#onReply(xid, reader, record);
    } catch (error) {
      record.release();
      this.#drop(error);
    }
  }

  #onReply(xid: number, reader: XdrReader, record: ReceivedRecord): void {
    const pending = this.#pending.get(xid);
    if (pending === undefined) {
      if (!this.#abandoned.delete(xid))
        throw new XdrError(`rpc: reply to xid ${xid}, which is not outstanding`);
      record.release();
      return;
    }
    let rejected: string | undefined;
    try {
      rejected = readReplyStatus(reader);
      if (rejected === undefined) this.#give(pending, reader, record);
    } catch (error) {
      if (!(error instanceof XdrError) || error.code !== "EOVERFLOW") throw error;
      // A number that Mortar cannot hold: this call's misfortune, not a broken peer.
      this.#pending.delete(xid);
      record.release();
      pending.onFailure(new FopError("EOVERFLOW", { message: error.message }));
      return;
    }
    this.#pending.delete(xid);
    if (rejected === undefined) return;
    record.release();
    pending.onFailure(new FopError("ENOTCONN", { message: `the peer refused the call: ${rejected}` }));
  }

  #give(pending: PendingCall, reader: XdrReader, record: ReceivedRecord): void {
    const { offset } = reader;
    try {
      pending.onReply(reader, record);
    } catch (error) {
      if (!(error instanceof XdrError) || !record.split) throw error;
      const joined = record.joined();
      const again = joined.reader();
      again.skip(offset - record.start);
      pending.onReply(again, joined);
      record.release();
    }
  }

  #onCallback(reader: XdrReader, record: ReceivedRecord): void {
    const whole = record.split ? record.joined() : record;
    const r = record.split ? whole.reader() : reader;
    r.offset = whole.start + 12;
    const program = r.u32();
    r.u32();
    const procedure = r.u32();
    r.u32();
    r.opaque(400);
    r.u32();
    r.opaque(400);
    this.#options.onCallback?.(program, procedure, r);
    record.release();
  }

  /** Something came that no honest peer sends. */
  #drop(error: unknown): void {
    if (!(error instanceof XdrError)) throw error;
    const { log } = this.#options.env;
    log.error("connection dropped: the peer sent what makes no sense", { why: error.message });
    this.transport.close();
  }

  #onClose(why: string | undefined, broken: boolean): void {
    this.#closed = true;
    if (broken) this.#options.env.log.error("connection dropped: the peer broke a limit", { why });
    this.#scanTimer?.cancel();
    this.#pingTimer?.cancel();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of pending) call.onFailure(new FopError("ENOTCONN", { message: why ?? "disconnected" }));
    this.#options.onClose(why);
  }

  #armScan(): void {
    const { env } = this.#options;
    const frameTimeoutMs = this.#options.frameTimeoutMs();
    if (frameTimeoutMs === 0) return;
    const scanMs = Math.min(SCAN_MS, frameTimeoutMs / 4);
    this.#scanTimer = env.clock.after(scanMs, () => {
      this.#scanTimer = undefined;
      this.#scan(Math.ceil(frameTimeoutMs / scanMs));
      if (this.#pending.size > 0 && !this.#closed) this.#armScan();
    });
  }

  #scan(scansMax: number): void {
    for (const [xid, call] of this.#pending) {
      if (call.patient || ++call.scans <= scansMax) continue;
      if (call.ticket > this.transport.flushed) {
        // Its payload may still be read for sending, so it cannot be given back while the connection lives.
        this.#options.env.log.error("connection dropped: a call could not be sent within the frame timeout");
        this.transport.close();
        return;
      }
      this.#pending.delete(xid);
      this.#abandoned.add(xid);
      call.onFailure(new FopError("ENOTCONN", { message: "no reply within the frame timeout" }));
    }
  }

  /** A call is outstanding, and nobody watches yet: the peer is asked for a sign of life, and watched. */
  #startPings(): void {
    const pingTimeoutMs = this.#options.pingTimeoutMs();
    if (pingTimeoutMs === 0) return;
    this.#lastSignMs = this.#options.env.clock.nowMs();
    this.#signsSeen = this.#signs();
    this.#watch(pingTimeoutMs);
    this.#ping();
  }

  #ping(): void {
    const { env } = this.#options;
    const sentMs = env.clock.nowMs();
    this.#lastPingMs = sentMs;
    this.#pingUnanswered = true;
    const answered = (): void => {
      this.#pingUnanswered = false;
      this.#options.onPing?.(env.clock.nowMs() - sentMs);
    };
    const pending = new Request(pingReply, answered, () => {});
    this.send(DUMP_PROGRAM, DUMP_PROC.PING, SELF, nothing, {}, pending);
  }

  /**
   * Grows with whatever shows that the peer lives: what came from it, and what it takes of a backlog. What
   * merely went into an empty socket shows nothing.
   */
  #signs(): number {
    const { arrivals, flushed, backlogBytes } = this.transport;
    if (backlogBytes > 0) this.#flushedSeen = flushed;
    return arrivals + this.#flushedSeen;
  }

  #watch(pingTimeoutMs: number): void {
    const { env } = this.#options;
    const stepMs = Math.min(pingTimeoutMs / PING_LOOKS_MIN, PING_LOOK_MS_MAX);
    this.#pingTimer = env.clock.after(stepMs, () => {
      const nowMs = env.clock.nowMs();
      const signs = this.#signs();
      if (signs !== this.#signsSeen) {
        this.#signsSeen = signs;
        this.#lastSignMs = nowMs;
      }
      this.#pingTimer = undefined;
      if (this.#pending.size === 0) return;
      const silentMs = nowMs - this.#lastSignMs;
      if (this.#pingUnanswered && silentMs >= pingTimeoutMs) {
        env.log.error("connection dropped: no answer within the ping timeout", {
          timeoutSec: pingTimeoutMs / 1000,
        });
        this.transport.close();
        return;
      }
      this.#watch(pingTimeoutMs);
      const isDue = silentMs >= pingTimeoutMs / 4 || nowMs - this.#lastPingMs >= pingTimeoutMs;
      if (!this.#pingUnanswered && isDue) this.#ping();
    });
  }
}

/** A control call as a promise. */
class Request<R> extends PendingCall {
  readonly #type: XdrType<R>;
  readonly #resolve: (value: R) => void;
  readonly #reject: (error: FopError) => void;

  constructor(type: XdrType<R>, resolve: (value: R) => void, reject: (error: FopError) => void) {
    super();
    this.#type = type;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  override onReply(reader: XdrReader, record: ReceivedRecord): void {
    const value = this.#type.read(reader);
    record.release();
    this.#resolve(value);
  }

  override onFailure(error: FopError): void {
    this.#reject(error);
  }
}
