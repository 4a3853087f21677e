/**
 * Transport over TCP (IPv4, IPv6) and unix sockets. The only file of the RPC layer that knows node:net.
 *
 * Receiving: the kernel copies straight into the receiver's slabs (net.Socket's `onread`). Accepted sockets
 * cannot be given `onread` by the public interface of net.Server, so their handle moves into a new
 * net.Socket.
 *
 * Sending: messages of one turn of the event loop leave in one writev(2), heads and payloads in place, past
 * the stream (which costs several microseconds a message). One that is the only one under way leaves at once:
 * who writes to three copies has the first brick at work while it makes the other requests. Only what the
 * kernel has no room for goes through the stream, and while it waits there, messages gather here.
 */

import { lookup } from "node:dns/promises";
import { unlinkSync } from "node:fs";
import { createServer, Socket, type SocketConstructorOpts } from "node:net";
import { FopError, toFopError } from "../core/errors.ts";
import type { IoVec, Lease } from "../core/iovec.ts";
import { EVENT_LOOP } from "../os/busy-poll.ts";
import { READINESS, readNow } from "../os/readiness.ts";
import { rest, writevNow } from "../os/send.ts";
import { sendWithoutPacing, setSocketOption } from "../os/socket.ts";
import { RecordReceiver } from "./record.ts";
import {
  type ConnectTarget,
  type Listener,
  type ListenTarget,
  type PeerAddress,
  type TcpTuning,
  type Transport,
  type TransportHandler,
  targetText,
} from "./transport.ts";

/** Stock clients and bricks probe an idle connection after this many seconds (wire.md 1.1). */
const KEEPALIVE_SEC = 20;
/**
 * A batch takes no more messages when it has this much: enough to make the system call cheap, little enough
 * to see progress.
 */
const BATCH_BYTES = 1024 * 1024;
const BATCH_PARTS = 512;
/** A request of 4 KiB with its head. */
const DOORBELL_BYTES = 8192;
const PRIVILEGED_PORT_MAX = 1023;
/** Below this port are services that a client must not squat on. */
const PRIVILEGED_PORT_MIN = 512;

/** What net.Socket keeps to itself: the handle that owns the descriptor. */
interface WithHandle {
  _handle: { readonly fd?: number } | null;
}

/** Messages that leave in one system call, and whose memory is given back together. */
class Batch {
  readonly parts: Buffer[] = [];
  readonly leases: Lease[] = [];
  messages = 0;
  bytes = 0;

  get full(): boolean {
    return this.bytes >= BATCH_BYTES || this.parts.length >= BATCH_PARTS;
  }

  /** Gives the bytes added. */
  add(message: IoVec, lease: Lease | undefined): number {
    let bytes = 0;
    for (let i = 0; i < message.length; i++) {
      const part = message[i]!;
      this.parts.push(part);
      bytes += part.length;
    }
    if (lease) this.leases.push(lease);
    this.messages++;
    this.bytes += bytes;
    return bytes;
  }
}

class SocketTransport implements Transport {
  readonly receiver = new RecordReceiver({ onRecord: (record) => this.#handler!.onRecord(record) });
  sent = 0;
  flushed = 0;
  arrivals = 0;
  backlogBytes = 0;
  readonly #socket: Socket;
  #fd = -1;
  #peer: PeerAddress | undefined;
  #handler: TransportHandler | undefined;
  /** What is not with the kernel yet; the first one is with the stream while `#busy`. */
  #batches: Batch[] = [];
  #scheduled = false;
  #busy = false;
  #closed = false;
  #why: string | undefined;
  #broken = false;
  /** What Node reads into while the event loop is awake and most is read past it. */
  readonly #doorbell = Buffer.allocUnsafeSlow(DOORBELL_BYTES);
  /** Node's next read goes there, and not to the receiver. */
  #ringing = false;

  constructor(options: SocketConstructorOpts & { handle?: unknown }) {
    this.receiver.pause();
    this.#socket = new Socket({
      ...options,
      onread: {
        buffer: () => this.#nextBuffer(),
        callback: (count: number) => this.#onNodeRead(count),
      },
    } as SocketConstructorOpts);
    this.#socket.on("error", (error) => this.#fail(describe(error)));
    this.#socket.on("end", () => this.#fail("the peer closed the connection"));
    this.#socket.on("close", () => this.#fail("the connection is closed"));
  }

  /** Takes the settings of volfiles over, once connected. */
  tune(tuning: TcpTuning): void {
    const socket = this.#socket;
    this.#fd = descriptorOf(socket);
    if (socket.remoteFamily === undefined) return;
    socket.setNoDelay(true);
    if (isOnThisHost(socket)) sendWithoutPacing(this.#fd);
    socket.setKeepAlive(true, (tuning.keepaliveTime ?? KEEPALIVE_SEC) * 1000);
    const { keepaliveInterval, keepaliveCount, userTimeout } = tuning;
    if (keepaliveInterval) setSocketOption(this.#fd, "keepaliveInterval", keepaliveInterval);
    if (keepaliveCount) setSocketOption(this.#fd, "keepaliveCount", keepaliveCount);
    if (userTimeout) setSocketOption(this.#fd, "userTimeoutMs", userTimeout * 1000);
  }

  /** The socket itself, for connecting it. */
  get socket(): Socket {
    return this.#socket;
  }

  get peer(): PeerAddress {
    this.#peer ??= peerOf(this.#socket);
    return this.#peer;
  }

  start(handler: TransportHandler): void {
    this.#handler = handler;
    if (this.#closed) queueMicrotask(() => handler.onClose(this.#why, this.#broken));
    else this.resume();
  }

  send(message: IoVec, lease?: Lease, promptly = false): void {
    if (this.#closed) {
      lease?.release();
      return;
    }
    this.sent++;
    let batch = this.#batches.at(-1);
    if (batch === undefined || batch.full || (this.#busy && this.#batches.length === 1)) {
      batch = new Batch();
      this.#batches.push(batch);
    }
    this.backlogBytes += batch.add(message, lease);
    if (this.#scheduled || this.#busy || (promptly && this.#sendNow(batch))) return;
    this.#scheduled = true;
    process.nextTick(flush, this);
  }

  /** Gives the only batch to the kernel; false for an error, which is met again when the turn ends. */
  #sendNow(batch: Batch): boolean {
    if (this.#socket.destroyed) return false;
    let taken: number;
    try {
      taken = writevNow(this.#fd, batch.parts);
    } catch {
      return false;
    }
    this.#took(batch, taken);
    return true;
  }

  #took(batch: Batch, taken: number): void {
    if (taken === batch.bytes) this.#settle(batch);
    else this.#writeLater(rest(batch.parts, taken));
  }

  /**
   * Gives all that is queued to the kernel, a batch in one writev(2); what it does not take, to the socket to
   * wait for room.
   */
  flush(): void {
    this.#scheduled = false;
    // A socket that Node has destroyed has closed its descriptor, whose number may belong to a file by now.
    while (!this.#closed && !this.#busy && !this.#socket.destroyed && this.#batches.length > 0) {
      const batch = this.#batches[0]!;
      try {
        this.#took(batch, writevNow(this.#fd, batch.parts));
      } catch (error) {
        this.#fail(describe(error as Error));
      }
    }
  }

  #writeLater(parts: IoVec): void {
    this.#busy = true;
    const socket = this.#socket;
    const last = parts.length - 1;
    socket.cork();
    for (let i = 0; i < last; i++) socket.write(parts[i]!);
    socket.write(parts[last]!, this.#onWritten);
    socket.uncork();
  }

  /** The first batch has left. */
  #settle(batch: Batch): void {
    this.#batches.shift();
    this.flushed += batch.messages;
    this.backlogBytes -= batch.bytes;
    for (let i = 0; i < batch.leases.length; i++) batch.leases[i]!.release();
  }

  pause(): void {
    this.receiver.pause();
    this.#socket.pause();
    READINESS.unwatch(this.#fd, this.#readNow);
  }

  resume(): void {
    if (this.#closed) return;
    this.receiver.resume();
    if (this.receiver.paused) return;
    this.#socket.resume();
    READINESS.watch(this.#fd, this.#readNow);
  }

  close(): void {
    this.#fail(undefined);
  }

  readonly #onWritten = (error?: Error | null): void => {
    if (error || this.#closed) return;
    this.#busy = false;
    this.#settle(this.#batches[0]!);
    this.flush();
  };

  /**
   * Where Node's next read goes. It is asked for long before: a place in the receiver would keep all others
   * from reading until then.
   */
  #nextBuffer(): Buffer {
    this.#ringing = EVENT_LOOP.awake;
    return this.#ringing ? this.#doorbell : this.receiver.nextBuffer();
  }

  /** False stops reading. */
  #onNodeRead(count: number): boolean {
    if (!this.#ringing) return this.#received(count, undefined);
    const goOn = this.#received(count, this.#doorbell.subarray(0, count));
    if (goOn && count === DOORBELL_BYTES) this.#readNow();
    return !this.#closed && !this.receiver.paused;
  }

  /** Reads past Node, while the event loop is awake. */
  readonly #readNow = (): boolean => {
    if (!this.#ringing || this.#closed || this.#socket.destroyed || this.receiver.paused) return false;
    const buffer = this.receiver.nextBuffer();
    const count = readNow(this.#fd, buffer);
    // Nothing, the end or an error: Node meets the latter two as well.
    if (count <= 0) return false;
    this.#received(count, undefined);
    return true;
  };

  /** `count` bytes arrived in the receiver's buffer, or in `elsewhere`. */
  #received(count: number, elsewhere: Buffer | undefined): boolean {
    this.arrivals++;
    EVENT_LOOP.touch();
    try {
      if (elsewhere) this.receiver.feed(elsewhere);
      else this.receiver.received(count);
    } catch (error) {
      this.#broken = true;
      this.#fail((error as Error).message);
    }
    return !this.#closed && !this.receiver.paused;
  }

  #fail(why: string | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    READINESS.unwatch(this.#fd, this.#readNow);
    this.#why = why;
    this.receiver.close();
    this.#socket.destroy();
    for (const batch of this.#batches.splice(0)) for (const lease of batch.leases) lease.release();
    this.#handler?.onClose(why, this.#broken);
  }
}

function flush(transport: SocketTransport): void {
  transport.flush();
}

/** Connects; rejects with a FopError whose message says where to and why not. */
export async function connectSocket(target: ConnectTarget): Promise<Transport> {
  if (target.kind === "unix") return connectOnce({ path: target.path }, target.path, {});
  const { host, port, tuning = {} } = target;
  const options = {
    host,
    port,
    ...(tuning.family && { family: tuning.family }),
    ...(tuning.sourceHost && { localAddress: tuning.sourceHost }),
  };
  const where = targetText(target);
  if (tuning.privilegedPort) {
    for (let local = PRIVILEGED_PORT_MAX; local >= PRIVILEGED_PORT_MIN; local--) {
      try {
        return await connectOnce({ ...options, localPort: local }, where, tuning);
      } catch (error) {
        const { code } = error as FopError;
        // Not root: any port will do, as stock clients see it; the brick decides.
        if (code === "EACCES") break;
        // The latter is a connection from this port that has just ended, to the very same brick.
        if (code !== "EADDRINUSE" && code !== "EADDRNOTAVAIL") throw error;
      }
    }
  }
  return connectOnce(options, where, tuning);
}

type NetTarget = { host: string; port: number; localPort?: number } | { path: string };

function connectOnce(options: NetTarget, where: string, tuning: TcpTuning): Promise<Transport> {
  const transport = new SocketTransport({});
  const { socket } = transport;
  return new Promise<Transport>((resolve, reject) => {
    function refused(error: Error): void {
      const { code } = toFopError(error);
      reject(new FopError(code, { fop: "connect", message: `${where}: ${describe(error)}`, cause: error }));
    }
    socket.once("error", refused);
    socket.connect(options, () => {
      socket.off("error", refused);
      try {
        transport.tune(tuning);
        resolve(transport);
      } catch (error) {
        refused(error as Error);
      }
    });
  });
}

/** Listens; `onTransport` gets each new connection. Rejects with a FopError (EADDRINUSE, EACCES ...). */
export async function listenSocket(
  target: ListenTarget,
  onTransport: (transport: Transport) => void,
): Promise<Listener> {
  const tuning = target.kind === "tcp" ? (target.tuning ?? {}) : {};
  if (target.kind === "unix") await removeStaleSocket(target.path);
  const server = createServer({ pauseOnConnect: true }, (accepted) => {
    const transport = adopt(accepted, tuning);
    if (transport) onTransport(transport);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      const message = `${targetText(target)}: ${describe(error)}`;
      reject(new FopError(toFopError(error).code, { fop: "listen", message, cause: error }));
    });
    server.listen(
      target.kind === "unix" ? { path: target.path } : { host: target.host, port: target.port },
      resolve,
    );
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    close: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

/** Addresses of a host name; empty when it has none. */
export async function resolveHost(name: string): Promise<readonly string[]> {
  try {
    return (await lookup(name, { all: true })).map(({ address }) => address);
  } catch {
    return [];
  }
}

/** Takes the handle of an accepted socket over into a transport; undefined when it is closed already. */
function adopt(accepted: Socket, tuning: TcpTuning): SocketTransport | undefined {
  const donor = accepted as unknown as WithHandle;
  const handle = donor._handle;
  donor._handle = null;
  accepted.destroy();
  if (handle === null) return undefined;
  const transport = new SocketTransport({ handle });
  try {
    transport.tune(tuning);
    return transport;
  } catch {
    transport.close();
    return undefined;
  }
}

/** A socket file that nobody listens on is left from a process that died: it may be replaced. */
async function removeStaleSocket(path: string): Promise<void> {
  const alive = await new Promise<boolean | undefined>((resolve) => {
    const probe = new Socket();
    probe.once("error", (error: NodeJS.ErrnoException) =>
      resolve(error.code === "ECONNREFUSED" ? false : undefined),
    );
    probe.connect({ path }, () => {
      probe.destroy();
      resolve(true);
    });
  });
  if (alive === false) unlinkSync(path);
}

/** The descriptor behind a connected socket, which net.Socket does not tell. */
function descriptorOf(socket: Socket): number {
  const fd = (socket as unknown as WithHandle)._handle?.fd;
  if (fd === undefined || fd < 0) throw new FopError("ENOTCONN", { message: "the socket is closed" });
  return fd;
}

/** Both ends have the same address, or a loopback one. */
function isOnThisHost({ localAddress, remoteAddress }: Socket): boolean {
  return remoteAddress !== undefined && remoteAddress === localAddress;
}

function peerOf(socket: Socket): PeerAddress {
  const host = socket.remoteAddress;
  if (host === undefined) return { host: "unix", port: 0 };
  return { host: host.startsWith("::ffff:") ? host.slice(7) : host, port: socket.remotePort ?? 0 };
}

/** `connect ECONNREFUSED 127.0.0.1:24007` is for programmers; this is for the log. */
function describe(error: Error): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ECONNREFUSED":
      return "connection refused";
    case "ECONNRESET":
    case "EPIPE":
      return "the peer closed the connection";
    case "EADDRINUSE":
      return "address in use";
    case "EADDRNOTAVAIL":
      return "no interface has this address";
    case "EACCES":
      return "permission denied";
    case "ENOENT":
      return "no such socket";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "host name not found";
    case "ETIMEDOUT":
      return "no answer";
    default:
      return error.message;
  }
}
