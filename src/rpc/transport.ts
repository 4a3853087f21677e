/**
 * Transport: one connection as the RPC layer sees it, how connections are made and how they are accepted.
 *
 * A transport carries whole messages. It is born open; `onClose` comes exactly once, whoever closed it, and
 * nothing after it. Handlers run inside the transport's own callbacks and must not throw.
 */

import type { IoVec, Lease } from "../core/iovec.ts";
import type { ReceivedRecord, RecordReceiver } from "./record.ts";

export interface TransportHandler {
  /** A whole message. The handler owns the record and releases it. */
  onRecord(record: ReceivedRecord): void;
  /**
   * The connection is gone; `why` is for the log and undefined when `close` was called here. `broken`: it was
   * ended here because the peer broke record marking or a limit of it.
   */
  onClose(why: string | undefined, broken: boolean): void;
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
   * Sends a message, marks included. Buffers are read until the message is flushed or the transport has
   * closed; then `lease` is released. Messages of one turn of the event loop go out together, or `promptly`
   * at once: for the only one that is under way, whose sender has more to do before the turn ends. After
   * `close` the message is dropped.
   */
  send(message: IoVec, lease?: Lease, promptly?: boolean): void;
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

/** Where to listen. */
export type ListenTarget =
  | { readonly kind: "tcp"; readonly host?: string; readonly port: number; readonly tuning?: TcpTuning }
  | { readonly kind: "unix"; readonly path: string };

/** Accepts connections; `onTransport` gets each new one. Rejects with a FopError (EADDRINUSE, EACCES ...). */
export type Listen = (target: ListenTarget, onTransport: (transport: Transport) => void) => Promise<Listener>;

export interface Listener {
  /** The port in use, also when 0 was asked for; 0 on a unix socket. */
  readonly port: number;
  /** Stops accepting. Connections go on. */
  close(): Promise<void>;
}

/** `host:port` or the path, for messages. */
export function targetText(target: ConnectTarget | ListenTarget): string {
  if (target.kind === "unix") return target.path;
  const host = target.host ?? "*";
  return `${host.includes(":") ? `[${host}]` : host}:${target.port}`;
}

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
