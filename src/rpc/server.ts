/**
 * The answering end: connections, dispatch by program, and the limit of calls in flight (wire.md 1.3 and
 * 1.7).
 *
 * A call is in flight until its reply has left for the peer, so a peer that does not read its replies is not
 * read either. Above the limit calls wait in their records, as many again as the limit; then the connection
 * is not read until some are answered. Programs that declare themselves `prompt` (ping) are served even then.
 * Calls that wait for other calls (blocking locks) must not count: whoever serves them says so by `uncount`.
 *
 * A peer that breaks a limit or the encoding is dropped with one log line. Calls it had in flight still
 * finish, unheard.
 */

import type { Call, ClientIdentity } from "../core/call.ts";
import type { IoVec, Lease } from "../core/iovec.ts";
import type { Logger } from "../core/log.ts";
import {
  ACCEPT,
  type CallHead,
  Denied,
  finish,
  readCallHead,
  SELF,
  writeCallHead,
  writeDenied,
  writeProgramMismatch,
  writeReplyHead,
} from "./message.ts";
import { CALLBACK_PROGRAM, type Program } from "./programs.ts";
import { RECORD_BYTES_MAX, type ReceivedRecord } from "./record.ts";
import type { PeerAddress, Transport } from "./transport.ts";
import { XdrError, type XdrReader, type XdrType, XdrWriter } from "./xdr.ts";

/** A program as a server runs it. */
export interface ServedProgram extends Program {
  /** Served at once, whatever else is in flight. */
  readonly prompt?: boolean;
  /**
   * Runs a call; the reader is at its arguments. Answers through the exchange, now or later, exactly once.
   * Throws XdrError when the arguments make no sense.
   */
  dispatch(exchange: Exchange, reader: XdrReader): void;
}

export interface RpcServerOptions {
  readonly log: Logger;
  /** Calls in flight a connection; 0 for no limit. Asked for each call, as it may change. */
  outstandingMax(): number;
  /** A connection ended. Its calls may still be running. */
  onDisconnect(peer: RpcPeer): void;
}

/** Message construction is synchronous, so one writer serves all connections. */
const writer = new XdrWriter(64 * 1024);

export class RpcServer {
  readonly peers = new Set<RpcPeer>();
  readonly options: RpcServerOptions;
  readonly #programs = new Map<number, ServedProgram[]>();

  constructor(programs: readonly ServedProgram[], options: RpcServerOptions) {
    this.options = options;
    for (const program of programs) {
      const versions = this.#programs.get(program.number);
      if (versions) versions.push(program);
      else this.#programs.set(program.number, [program]);
    }
  }

  /** Serves a new connection until it ends. */
  accept(transport: Transport): RpcPeer {
    const peer = new RpcPeer(this, transport);
    this.peers.add(peer);
    transport.start(peer);
    return peer;
  }

  /** Versions of a program, undefined when it is unknown. */
  versionsOf(program: number): readonly ServedProgram[] | undefined {
    return this.#programs.get(program);
  }

  close(): void {
    for (const peer of [...this.peers]) peer.close();
  }
}

/** One connection to this server. */
export class RpcPeer {
  readonly transport: Transport;
  /** Set when the peer has identified itself; from then on its calls carry it. */
  client: ClientIdentity | undefined;
  closed = false;
  readonly #server: RpcServer;
  #inFlight = 0;
  readonly #waiting: Exchange[] = [];
  #paused = false;
  #callbackXid = 0;

  constructor(server: RpcServer, transport: Transport) {
    this.#server = server;
    this.transport = transport;
  }

  get address(): PeerAddress {
    return this.transport.peer;
  }

  /** Calls that count towards the limit now. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether no more than one call is under way. */
  get isAlone(): boolean {
    return this.#inFlight <= 1 && this.#waiting.length === 0;
  }

  /** The peer is who it says: records may be as large as payloads need. */
  trust(client: ClientIdentity): void {
    this.client = client;
    this.transport.receiver.limitBytes = RECORD_BYTES_MAX;
  }

  close(): void {
    this.transport.close();
  }

  /** Calls the client back; there is no answer. */
  callback<T>(procedure: number, type: XdrType<T>, value: T): void {
    if (this.closed) return;
    this.#callbackXid = (this.#callbackXid + 1) >>> 0;
    writeCallHead(writer, this.#callbackXid, CALLBACK_PROGRAM, procedure, "none", SELF);
    type.write(writer, value);
    this.transport.send([finish(writer)]);
  }

  onRecord(record: ReceivedRecord): void {
    try {
      this.#onCall(record);
    } catch (error) {
      record.release();
      if (error instanceof Denied) {
        writeDenied(writer, error.xid, error.why);
        this.transport.send([finish(writer)]);
      } else this.#drop(error);
    }
  }

  onClose(why: string | undefined, broken: boolean): void {
    this.closed = true;
    this.#server.peers.delete(this);
    for (const exchange of this.#waiting.splice(0)) exchange.record.release();
    const { log } = this.#server.options;
    const { host, port } = this.address;
    if (broken) log.warn("connection dropped: the peer broke a limit", { peer: host, port, why });
    else log.debug("connection ended", { peer: host, port, why });
    this.#server.options.onDisconnect(this);
  }

  /** The call no longer counts towards the limit. */
  settled(): void {
    this.#inFlight--;
    if (this.#waiting.length === 0 || this.closed) return;
    const max = this.#server.options.outstandingMax();
    while (this.#waiting.length > 0 && (this.#inFlight < max || max === 0))
      this.#runWaiting(this.#waiting.shift()!);
    if (this.#paused && (this.#waiting.length < max || max === 0) && !this.closed) {
      this.#paused = false;
      this.transport.resume();
    }
  }

  #onCall(record: ReceivedRecord): void {
    const reader = record.reader();
    const head = readCallHead(reader, this.client);
    const program = this.#programOf(head);
    if (program === undefined) {
      record.release();
      return;
    }
    const exchange = new Exchange(this, head, record, program, reader.offset);
    const max = this.#server.options.outstandingMax();
    if (program.prompt || max === 0 || this.#inFlight < max) this.#run(exchange);
    else {
      this.#waiting.push(exchange);
      if (this.#waiting.length < max || this.#paused) return;
      this.#paused = true;
      this.transport.pause();
    }
  }

  #runWaiting(exchange: Exchange): void {
    try {
      this.#run(exchange);
    } catch (error) {
      exchange.record.release();
      this.#drop(error);
    }
  }

  #run(exchange: Exchange): void {
    this.#inFlight++;
    try {
      exchange.program.dispatch(exchange, exchange.arguments());
    } catch (error) {
      // The head of a call may be longer than the first part of its record; nothing has happened yet.
      if (!(error instanceof XdrError) || !exchange.record.split) throw error;
      exchange.join();
      exchange.program.dispatch(exchange, exchange.arguments());
    }
  }

  /**
   * The program and version asked for; undefined when the call has been answered with what is wrong about it.
   */
  #programOf(head: CallHead): ServedProgram | undefined {
    const versions = this.#server.versionsOf(head.program);
    const program = versions?.find((candidate) => candidate.version === head.version);
    if (program) return program;
    if (versions) {
      const numbers = versions.map((candidate) => candidate.version);
      writeProgramMismatch(writer, head.xid, Math.min(...numbers), Math.max(...numbers));
    } else writeReplyHead(writer, head.xid, ACCEPT.PROG_UNAVAIL);
    this.transport.send([finish(writer)]);
    return undefined;
  }

  #drop(error: unknown): void {
    if (!(error instanceof XdrError)) throw error;
    const { log } = this.#server.options;
    const { host, port } = this.address;
    log.warn("connection dropped: the peer sent what makes no sense", {
      peer: host,
      port,
      why: error.message,
    });
    this.transport.close();
  }
}

/** One call and the way to answer it. */
export class Exchange implements Lease {
  readonly peer: RpcPeer;
  readonly program: ServedProgram;
  readonly procedure: number;
  readonly call: Call;
  /**
   * Holds the memory that arguments and payload are views of; whoever serves the call releases it when done
   * with them.
   */
  record: ReceivedRecord;
  #argumentsAt: number;
  readonly #xid: number;
  #payloadLease: Lease | undefined;
  #counts = true;

  constructor(
    peer: RpcPeer,
    head: CallHead,
    record: ReceivedRecord,
    program: ServedProgram,
    argumentsAt: number,
  ) {
    this.#argumentsAt = argumentsAt;
    this.peer = peer;
    this.program = program;
    this.procedure = head.procedure;
    this.call = head.call;
    this.record = record;
    this.#xid = head.xid;
  }

  /** Reads the arguments from their beginning. */
  arguments(): XdrReader {
    const reader = this.record.reader();
    reader.offset = this.#argumentsAt;
    return reader;
  }

  /** Puts a record of two parts into one. */
  join(): void {
    const { record } = this;
    const joined = record.joined();
    if (joined === record) return;
    this.#argumentsAt += joined.start - record.start;
    this.record = joined;
    record.release();
  }

  /** This call waits for others of its peer and must not keep them out. */
  uncount(): void {
    if (!this.#counts) return;
    this.#counts = false;
    this.peer.settled();
  }

  /** Answers. `lease` is released when the payload has left. */
  reply<T>(type: XdrType<T>, value: T, payload?: IoVec, payloadBytes = 0, lease?: Lease): void {
    writeReplyHead(writer, this.#xid);
    try {
      type.write(writer, value);
    } catch (error) {
      writer.discard();
      lease?.release();
      if (!(error instanceof XdrError)) throw error;
      this.refuse(ACCEPT.SYSTEM_ERR);
      return;
    }
    this.#payloadLease = lease;
    const head = finish(writer, payloadBytes);
    this.peer.transport.send(payload === undefined ? [head] : [head, ...payload], this, this.peer.isAlone);
  }

  /** Answers that the call cannot be run. */
  refuse(status: number): void {
    writeReplyHead(writer, this.#xid, status);
    this.peer.transport.send([finish(writer)], this);
  }

  /** The transport has done with the reply. */
  release(): void {
    this.#payloadLease?.release();
    if (this.#counts) this.peer.settled();
  }
}
