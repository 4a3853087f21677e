/**
 * Transport: one connection as the RPC layer sees it, and a pair in memory for tests and simulation.
 *
 * A transport carries whole messages. It is born open; `onClose` comes exactly once, whoever closed it, and nothing
 * after it. Handlers run inside the transport's own callbacks and must not throw.
 */

import type { IoVec, Lease } from "../core/iovec.ts";
import { type ReceivedRecord, RecordReceiver } from "./record.ts";

export interface TransportHandler {
  /** A whole message. The handler owns the record and releases it. */
  onRecord(record: ReceivedRecord): void;
  /** The connection is gone; `why` is for the log and undefined when `close` was called here. */
  onClose(why: string | undefined): void;
}

/** Where a connection comes from, for authentication and the log. */
export interface PeerAddress {
  /** IP address in its usual spelling, or "unix". */
  readonly host: string;
  /** Source port; 0 on a unix socket. */
  readonly port: number;
}

export interface Transport {
  readonly peer: PeerAddress;
  /** Begins delivery, once; what came before has waited. */
  start(handler: TransportHandler): void;
  /** What arrives; for limits, alignment and flow control of records. */
  readonly receiver: RecordReceiver;
  /** Messages handed to `send` so far. */
  readonly sent: number;
  /** Of these, how many left for the peer's machine, in order; their buffers are not read any more. */
  readonly flushed: number;
  /** Bytes given to `send` that wait for the peer to read. */
  readonly backlogBytes: number;
  /** Grows with each arrival of bytes, however few. */
  readonly arrivals: number;
  /**
   * Sends a message, marks included. Buffers are read until the message is flushed or the transport has closed; then `lease` is
   * released. Messages of one turn of the event loop go out together. After `close` the message is dropped.
   */
  send(message: IoVec, lease?: Lease): void;
  /** Stops reading; what has arrived already waits. */
  pause(): void;
  resume(): void;
  /** Ends the connection at once. */
  close(): void;
}

/** Makes connections. Rejects with a FopError or system error when it cannot. */
export type Connect = (target: ConnectTarget) => Promise<Transport>;

/** Where to connect to. */
export type ConnectTarget =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly tuning?: TcpTuning }
  | { readonly kind: "unix"; readonly path: string };

/** Socket settings that volfiles carry; absent ones are the system's. Times are seconds. */
export interface TcpTuning {
  readonly family?: 4 | 6;
  readonly keepaliveTime?: number;
  readonly keepaliveInterval?: number;
  readonly keepaliveCount?: number;
  readonly userTimeout?: number;
  /** Local address to connect from. */
  readonly sourceHost?: string;
  /** Bind to a port below 1024, for bricks that trust those only. */
  readonly privilegedPort?: boolean;
}

/** A connection that exists in memory only: two ends, each delivering in a later microtask what the other sent, in order. */
export function memoryPair(
  peers: { client?: PeerAddress; server?: PeerAddress } = {},
): [client: MemoryTransport, server: MemoryTransport] {
  const client = new MemoryTransport(peers.server ?? { host: "127.0.0.1", port: 24007 });
  const server = new MemoryTransport(peers.client ?? { host: "127.0.0.1", port: 49151 });
  client.other = server;
  server.other = client;
  return [client, server];
}

export class MemoryTransport implements Transport {
  readonly peer: PeerAddress;
  other!: MemoryTransport;
  sent = 0;
  flushed = 0;
  arrivals = 0;
  backlogBytes = 0;
  /** Set by tests: what is sent from here never arrives, as with a cable pulled. */
  silent = false;
  readonly receiver = new RecordReceiver({ onRecord: (record) => this.#handler!.onRecord(record) });
  #handler: TransportHandler | undefined;
  #why: string | undefined;
  #queue: { bytes: Buffer; lease: Lease | undefined }[] = [];
  #scheduled = false;
  #paused = true;
  #closed = false;

  constructor(peer: PeerAddress) {
    this.peer = peer;
    this.receiver.pause();
  }

  get closed(): boolean {
    return this.#closed;
  }

  start(handler: TransportHandler): void {
    this.#handler = handler;
    if (this.#closed) queueMicrotask(() => handler.onClose(this.#why));
    else this.resume();
  }

  send(message: IoVec, lease?: Lease): void {
    if (this.#closed) {
      lease?.release();
      return;
    }
    this.sent++;
    const bytes = Buffer.concat(message as Buffer[]);
    this.backlogBytes += bytes.length;
    this.#queue.push({ bytes, lease });
    this.#schedule();
  }

  /** Sends bytes that need not be a message; for tests of hostile peers. */
  sendRaw(bytes: Buffer): void {
    this.send([bytes]);
  }

  pause(): void {
    this.#paused = true;
    this.receiver.pause();
  }

  resume(): void {
    if (!this.#paused || this.#closed) return;
    this.#paused = false;
    this.receiver.resume();
    if (!this.#paused) this.other.#schedule();
  }

  close(): void {
    this.#end(undefined);
    const { other } = this;
    queueMicrotask(() => other.#end("the peer closed the connection"));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#pump());
  }

  #pump(): void {
    this.#scheduled = false;
    while (this.#queue.length > 0 && !this.#closed && !this.other.#paused) {
      const { bytes, lease } = this.#queue.shift()!;
      this.flushed++;
      this.backlogBytes -= bytes.length;
      lease?.release();
      if (!this.silent) this.other.#arrive(bytes);
    }
  }

  #arrive(bytes: Buffer): void {
    if (this.#closed) return;
    this.arrivals++;
    try {
      this.receiver.feed(bytes);
    } catch (error) {
      const why = (error as Error).message;
      this.#end(why);
      const { other } = this;
      queueMicrotask(() => other.#end("the peer closed the connection"));
    }
  }

  #end(why: string | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#why = why;
    this.receiver.close();
    for (const { lease } of this.#queue.splice(0)) lease?.release();
    this.#handler?.onClose(why);
  }
}
