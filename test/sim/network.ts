/**
 * The network of a simulated cluster: connections with latency, in order within each as TCP is, that can be
 * cut and reset.
 *
 * A cut link loses nothing: TCP sends again, so bytes wait until the link is whole. When that takes longer
 * than KEEPALIVE_MS both ends give the connection up by themselves. A machine without power is silent, and
 * what is sent to it afterwards is answered by a reset once it runs again; a process that dies has its
 * connections reset at once. A frozen machine takes nothing in and its kernel still accepts bytes.
 */

import { FopError } from "../../src/core/errors.ts";
import type { IoVec, Lease } from "../../src/core/iovec.ts";
import { RecordReceiver } from "../../src/rpc/record.ts";
import type {
  Connect,
  ConnectTarget,
  Listen,
  PeerAddress,
  Transport,
  TransportHandler,
} from "../../src/rpc/transport.ts";
import type { Prng } from "../support/prng.ts";
import type { SimClock } from "./clock.ts";
import type { Trace } from "./trace.ts";

/** Keepalive of GlusterFS: 20 s of silence, then nine probes two seconds apart. */
const KEEPALIVE_MS = 38_000;
/** What a kernel takes from a sender whose peer does not read. */
const SOCKET_BUFFER_BYTES = 256 * 1024;
/** How long a connect to a silent machine takes to fail. */
const CONNECT_TIMEOUT_MS = 15_000;

/** How a link delays: a latency each way and what random part is added to it. */
export interface Delays {
  readonly latencyMs: number;
  readonly jitterMs: number;
}

/** One process of the cluster as the network sees it. */
export class NetNode {
  readonly name: string;
  readonly network: SimNetwork;
  readonly transports = new Set<SimTransport>();
  readonly listeners = new Map<number, (transport: Transport) => void>();
  alive = true;
  frozen = false;
  #thaw: (() => void)[] = [];

  constructor(name: string, network: SimNetwork) {
    this.name = name;
    this.network = network;
  }

  readonly listen: Listen = async (target, onTransport) => {
    if (target.kind !== "tcp") throw new FopError("EINVAL", { fop: "listen" });
    const { port } = target;
    this.network.ports.set(port, this);
    this.listeners.set(port, onTransport);
    const close = async (): Promise<void> => void this.listeners.delete(port);
    return { port, close };
  };

  readonly connect: Connect = (target) => this.network.connect(this, target);

  /** The process ends: its connections are reset. `silently`: the machine does, and nobody is told. */
  end(silently: boolean): void {
    this.alive = false;
    this.listeners.clear();
    for (const transport of [...this.transports]) transport.vanish(silently);
    this.transports.clear();
  }

  freeze(): void {
    this.frozen = true;
  }

  thaw(): void {
    this.frozen = false;
    for (const task of this.#thaw.splice(0)) task();
  }

  /** Runs when the machine goes on. */
  whenThawed(task: () => void): void {
    this.#thaw.push(task);
  }
}

/** A link between two nodes, both ways. */
class Link {
  /** Times it was cut and not mended; partitions may overlap. */
  cuts = 0;
  delays: Delays;
  readonly waiting: (() => void)[] = [];
  readonly transports = new Set<SimTransport>();

  constructor(delays: Delays) {
    this.delays = delays;
  }
}

export class SimNetwork {
  readonly clock: SimClock;
  readonly random: Prng;
  readonly trace: Trace;
  /** Who listens where. A dead listener stays until the next one takes its port. */
  readonly ports = new Map<number, NetNode>();
  readonly #delays: Delays;
  readonly #links = new Map<string, Link>();
  /** Connections whose other end lost its power, by the port they led to. */
  readonly #orphans = new Map<number, Set<SimTransport>>();
  #connections = 0;

  constructor(init: { clock: SimClock; random: Prng; trace: Trace; delays: Delays }) {
    this.clock = init.clock;
    this.random = init.random;
    this.trace = init.trace;
    this.#delays = init.delays;
  }

  node(name: string): NetNode {
    return new NetNode(name, this);
  }

  link(a: string, b: string): Link {
    const key = a < b ? `${a} ${b}` : `${b} ${a}`;
    let link = this.#links.get(key);
    if (link === undefined) {
      link = new Link(this.#delays);
      this.#links.set(key, link);
    }
    return link;
  }

  cut(a: string, b: string): void {
    const link = this.link(a, b);
    link.cuts++;
    if (link.cuts > 1) return;
    const transports = [...link.transports];
    this.clock.after(KEEPALIVE_MS, () => {
      if (link.cuts > 0) for (const transport of transports) transport.giveUp("keepalive timed out");
    });
  }

  mend(a: string, b: string): void {
    const link = this.link(a, b);
    link.cuts = Math.max(0, link.cuts - 1);
    if (link.cuts > 0) return;
    for (const task of link.waiting.splice(0)) task();
  }

  /** Ends every connection between two nodes; what is under way is lost. */
  reset(a: string, b: string): void {
    for (const transport of [...this.link(a, b).transports]) transport.giveUp("connection reset");
  }

  delayOf(link: Link): number {
    const { latencyMs, jitterMs } = link.delays;
    return latencyMs + this.random.float() * jitterMs;
  }

  async connect(from: NetNode, target: ConnectTarget): Promise<Transport> {
    if (target.kind !== "tcp") throw new FopError("EINVAL", { fop: "connect" });
    const { port } = target;
    const to = this.ports.get(port);
    const link = to && this.link(from.name, to.name);
    const asked = this.clock.nowMs();
    await this.clock.sleep(link ? this.delayOf(link) : 1);
    while (link !== undefined && link.cuts > 0) {
      if (this.clock.nowMs() - asked > CONNECT_TIMEOUT_MS) throw failure("ETIMEDOUT", port);
      await this.clock.sleep(1000);
    }
    const accept = to?.alive ? to.listeners.get(port) : undefined;
    if (to === undefined || accept === undefined || !from.alive) throw failure("ECONNREFUSED", port);
    await this.clock.sleep(this.delayOf(link!));
    if (!to.alive || !from.alive) throw failure("ECONNRESET", port);
    const id = ++this.#connections;
    const client = new SimTransport(from, { host: "10.0.0.1", port }, link!, port);
    const server = new SimTransport(to, { host: "10.0.0.2", port: 10_000 + (id % 50_000) }, link!, port);
    client.other = server;
    server.other = client;
    accept(server);
    return client;
  }

  /** Remembers a connection whose other machine is gone without a word. */
  orphan(transport: SimTransport): void {
    const { port } = transport;
    const set = this.#orphans.get(port) ?? new Set();
    set.add(transport);
    this.#orphans.set(port, set);
    this.clock.after(KEEPALIVE_MS, () => transport.giveUp("keepalive timed out"));
  }

  /** A machine that had lost its power is back: it knows nothing of its old connections. */
  resetOrphans(port: number): void {
    const orphans = this.#orphans.get(port);
    this.#orphans.delete(port);
    for (const transport of orphans ?? [])
      this.clock.after(this.delayOf(transport.link), () => transport.giveUp("connection reset"));
  }
}

function failure(code: "ETIMEDOUT" | "ECONNREFUSED" | "ECONNRESET", port: number): FopError {
  return new FopError(code, { fop: "connect", message: `port ${port}: ${code}` });
}

interface Flight {
  /** Undefined: the end of the stream. */
  readonly bytes: Buffer | undefined;
  readonly atMs: number;
}

/** One end of a connection. */
class SimTransport implements Transport {
  readonly peer: PeerAddress;
  readonly receiver: RecordReceiver;
  readonly link: Link;
  readonly port: number;
  other!: SimTransport;
  sent = 0;
  backlogBytes = 0;
  arrivals = 0;
  readonly #node: NetNode;
  #handler: TransportHandler | undefined;
  #paused = true;
  #closed = false;
  #why: string | undefined;
  #broken = false;
  /** What was sent from here and has not arrived, in order. */
  readonly #flights: Flight[] = [];
  #pumping = false;
  #lastAtMs = 0;
  #arrived = 0;

  constructor(node: NetNode, peer: PeerAddress, link: Link, port: number) {
    this.#node = node;
    this.peer = peer;
    this.link = link;
    this.port = port;
    this.receiver = new RecordReceiver({ onRecord: (record) => this.#handler!.onRecord(record) });
    this.receiver.pause();
    node.transports.add(this);
    link.transports.add(this);
  }

  /** The sender's kernel has taken what fits its buffer, whatever the network does. */
  get flushed(): number {
    return this.backlogBytes <= SOCKET_BUFFER_BYTES ? this.sent : this.#arrived;
  }

  start(handler: TransportHandler): void {
    this.#handler = handler;
    if (this.#closed) queueMicrotask(() => handler.onClose(this.#why, this.#broken));
    else this.resume();
  }

  send(message: IoVec, lease?: Lease): void {
    const bytes = this.#closed ? undefined : Buffer.concat(message as Buffer[]);
    lease?.release();
    if (bytes === undefined) return;
    this.sent++;
    this.backlogBytes += bytes.length;
    this.#fly(bytes);
  }

  pause(): void {
    this.#paused = true;
    this.receiver.pause();
  }

  resume(): void {
    if (!this.#paused || this.#closed) return;
    this.#paused = false;
    this.receiver.resume();
    if (!this.#paused) this.other.#pump();
  }

  /** What was sent before still arrives, then the other end hears of the close. */
  close(): void {
    if (this.#closed) return;
    this.#fly(undefined);
    this.#end(undefined);
  }

  /** Ends both ends at once, as each finds out by itself. */
  giveUp(why: string): void {
    this.#flights.length = 0;
    this.other.#flights.length = 0;
    this.#end(why);
    this.other.#end(why);
  }

  /** The process of this end is gone. */
  vanish(silently: boolean): void {
    const { other } = this;
    this.#closed = true;
    this.#flights.length = 0;
    this.receiver.close();
    this.link.transports.delete(this);
    const { network } = this.#node;
    if (other.#closed) return;
    if (silently) network.orphan(other);
    else network.clock.after(network.delayOf(this.link), () => other.#resetWhenReachable());
  }

  #resetWhenReachable(): void {
    if (this.link.cuts > 0) this.link.waiting.push(() => this.#resetWhenReachable());
    else this.#end("connection reset");
  }

  #fly(bytes: Buffer | undefined): void {
    const { network } = this.#node;
    const now = network.clock.nowMs();
    this.#lastAtMs = Math.max(this.#lastAtMs, now + network.delayOf(this.link));
    this.#flights.push({ bytes, atMs: this.#lastAtMs });
    this.#pump();
  }

  /** Delivers what has arrived. Waits as long as it must: for time, the link, the machine, the reader. */
  #pump(): void {
    if (this.#pumping) return;
    const { clock } = this.#node.network;
    while (this.#flights.length > 0) {
      const { bytes, atMs } = this.#flights[0]!;
      const { other } = this;
      if (bytes !== undefined && other.#paused && !other.#closed) return;
      const arrived = atMs <= clock.nowMs();
      if (!arrived || this.link.cuts > 0 || other.#node.frozen) {
        this.#pumping = true;
        if (!arrived) clock.at(atMs, () => this.#pumpAgain());
        else if (this.link.cuts > 0) this.link.waiting.push(() => this.#pumpAgain());
        else other.#node.whenThawed(() => this.#pumpAgain());
        return;
      }
      this.#flights.shift();
      if (bytes === undefined) other.#end("the peer closed the connection");
      else {
        this.backlogBytes -= bytes.length;
        this.#arrived++;
        this.#node.network.trace.tick(clock.nowMs());
        other.#arrive(bytes);
      }
    }
  }

  #pumpAgain(): void {
    this.#pumping = false;
    this.#pump();
  }

  #arrive(bytes: Buffer): void {
    if (this.#closed) return;
    this.arrivals++;
    try {
      this.receiver.feed(bytes);
    } catch (error) {
      this.#broken = true;
      this.#fly(undefined);
      this.#end((error as Error).message);
    }
  }

  #end(why: string | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#why = why;
    this.receiver.close();
    this.link.transports.delete(this);
    this.#node.transports.delete(this);
    if (!this.#node.frozen) this.#handler?.onClose(why, this.#broken);
    else this.#node.whenThawed(() => this.#handler?.onClose(why, this.#broken));
  }
}
