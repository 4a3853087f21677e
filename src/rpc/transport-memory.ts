/**
 * Connections that exist in memory only, for tests and simulation: pairs of transports, and a network of
 * listeners by port.
 *
 * What one end sends the other gets in a later microtask, in order and in the same pieces. Bytes are copied,
 * as a network does.
 */

import { FopError } from "../core/errors.ts";
import type { IoVec, Lease } from "../core/iovec.ts";
import { RecordReceiver } from "./record.ts";
import {
  type Connect,
  type ConnectTarget,
  type Listen,
  type ListenTarget,
  type PeerAddress,
  type Transport,
  type TransportHandler,
  targetText,
} from "./transport.ts";

/**
 * A connection that exists in memory only: two ends, each delivering in a later microtask what the other
 * sent, in order.
 */
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
  #broken = false;
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
    if (this.#closed) queueMicrotask(() => handler.onClose(this.#why, this.#broken));
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
      this.#broken = true;
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
    this.#handler?.onClose(why, this.#broken);
  }
}

/** Listeners by address; the host of a TCP address does not matter. */
export class MemoryNetwork {
  readonly #listeners = new Map<string, (transport: Transport) => void>();
  /** Client ends made so far, the latest last. */
  readonly connections: MemoryTransport[] = [];
  /** Where connections seem to come from. */
  clientAddress: PeerAddress = { host: "127.0.0.1", port: 49151 };
  #freePort = 50_000;

  readonly listen: Listen = async (target, onTransport) => {
    const port = target.kind === "tcp" ? target.port || this.#freePort++ : 0;
    const address = addressKey(target.kind === "tcp" ? { ...target, port } : target);
    if (this.#listeners.has(address))
      throw new FopError("EADDRINUSE", { fop: "listen", message: `${targetText(target)}: address in use` });
    this.#listeners.set(address, onTransport);
    return {
      port,
      close: async () => void this.#listeners.delete(address),
    };
  };

  readonly connect: Connect = async (target) => {
    const accept = this.#listeners.get(addressKey(target));
    if (!accept) {
      const message = `${targetText(target)}: connection refused`;
      throw new FopError("ECONNREFUSED", { fop: "connect", message });
    }
    const [client, server] = memoryPair({ client: this.clientAddress });
    this.connections.push(client);
    accept(server);
    return client;
  };
}

function addressKey(target: ConnectTarget | ListenTarget): string {
  return target.kind === "unix" ? target.path : String(target.port);
}
