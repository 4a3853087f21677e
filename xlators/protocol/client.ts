/**
 * protocol/client: the fops over the wire to one brick (wire.md 6 and 10, translators.md 8.1 to 8.3).
 *
 * Promises: a fop ends by its reply, by the frame timeout or with the connection (ENOTCONN); nothing is sent
 * twice; while there is no connection every fop fails with ENOTCONN at once. Open files survive a reconnect.
 * Payloads go from and to the socket without a copy: `readv` lends its receive buffer out through `lease`.
 *
 * Limits: a payload of more than PAYLOAD_BYTES_MAX travels in pieces, one after the other; locks are not
 * taken again after a reconnect (nor does GlusterFS); a blocked lock that the caller gives up on is given
 * back when it comes.
 */

import type { Call } from "../../src/core/call.ts";
import { abortable } from "../../src/core/concurrency.ts";
import { errnoName, FopError, toFopError } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { gfidText } from "../../src/core/gfid.ts";
import type { Fd } from "../../src/core/inode.ts";
import { type IoVec, iovSize, iovSlice, type Lease } from "../../src/core/iovec.ts";
import { O_DIRECT } from "../../src/core/open-flags.ts";
import {
  type Dump,
  defineXlator,
  exactly,
  type ParentEvent,
  type XlatorDefinition,
  type XlatorInit,
} from "../../src/core/xlator.ts";
import { PendingCall, type RpcClient } from "../../src/rpc/client.ts";
import { FOP_CODECS, type FopCodec, type WireCall, type WireReply } from "../../src/rpc/codec-fops.ts";
import { SELF } from "../../src/rpc/message.ts";
import { FOP_PROGRAM, type FopProcName } from "../../src/rpc/programs.ts";
import type { ReceivedRecord } from "../../src/rpc/record.ts";
import type { Connect } from "../../src/rpc/transport.ts";
import { connectSocket } from "../../src/rpc/transport-tcp.ts";
import { toWireFlags } from "../../src/rpc/wire-values.ts";
import { XdrError, type XdrReader, type XdrType } from "../../src/rpc/xdr.ts";
import { FdTable, NONE, RemoteFd } from "./client-fds.ts";
import { CLIENT_FOPS, type ClientFop } from "./client-fops.ts";
import { CLIENT_OPTIONS, firstTarget } from "./client-options.ts";
import { ClientSession } from "./client-session.ts";
import { ForwardingXlator } from "./forwarding.ts";
import { readUpcall } from "./upcalls.ts";

/** Largest payload of one message: what bricks of all makes take. */
const PAYLOAD_BYTES_MAX = 16 * 1024 * 1024;

export const protocolClient: XlatorDefinition = clientOver(connectSocket);

/** The type with connections of the caller's making, for tests and simulation. */
export function clientOver(connect: Connect): XlatorDefinition {
  return defineXlator({
    type: "protocol/client",
    children: exactly(0),
    options: CLIENT_OPTIONS,
    create: (init) => new ProtocolClient(init, connect),
  });
}

class ProtocolClient extends ForwardingXlator<typeof CLIENT_OPTIONS> {
  readonly #session: ClientSession;
  readonly #fds = new FdTable();
  /** The last connection that files were opened again on; before it serves, a file may be closed already. */
  #reopening: RpcClient | undefined;

  constructor(init: XlatorInit<typeof CLIENT_OPTIONS>, connect: Connect) {
    super(init);
    this.#session = new ClientSession({
      name: this.name,
      env: this.env,
      log: this.log,
      connect,
      rawOptions: this.rawOptions,
      options: () => this.options,
      events: {
        onReopen: (rpc) => this.#reopen(rpc),
        onUp: (told) => this.notifyParents({ type: "child-up", ...told }),
        onDown: () => this.notifyParents({ type: "child-down" }),
        onLost: () => this.#fds.invalidate(),
        onConnecting: (why) => this.notifyParents({ type: "child-connecting", why }),
        onRefused: (why) => this.notifyParents({ type: "auth-failed", why }),
        onVolfileModified: () => this.notifyParents({ type: "volfile-modified" }),
        onPing: (latencyMs) => this.notifyParents({ type: "child-ping", latencyMs }),
        onCallback: (procedure, reader) => {
          const upcall = readUpcall(procedure, reader);
          if (upcall) this.notifyParents({ type: "upcall", upcall });
        },
      },
    });
  }

  override async init(): Promise<void> {
    firstTarget(this.options);
  }

  override async fini(): Promise<void> {
    this.#session.stop();
  }

  override dump(): Dump {
    const { rpc } = this.#session;
    return { connected: rpc !== undefined, callsOutstanding: rpc?.outstanding ?? 0, openFds: this.#fds.size };
  }

  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-up") this.#session.start();
    else this.#session.stop();
  }

  override forget(): void {}
  override clientDisconnect(): void {}

  override async release(fd: Fd): Promise<void> {
    this.#release(fd, "release");
  }

  override async releasedir(fd: Fd): Promise<void> {
    this.#release(fd, "releasedir");
  }

  override open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    const flags = this.#filtered(args.flags);
    return this.#opening("open", call, flags === args.flags ? args : { ...args, flags }, args.fd, flags);
  }

  override opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.#opening("opendir", call, args, args.fd, args.fd.flags);
  }

  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    const flags = this.#filtered(args.flags);
    return this.#opening("create", call, flags === args.flags ? args : { ...args, flags }, args.fd, flags);
  }

  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const flags = this.#filtered(args.flags);
    const filtered = flags === args.flags ? args : { ...args, flags };
    return args.size > PAYLOAD_BYTES_MAX
      ? this.#readPieces(call, filtered)
      : this.forward("readv", call, filtered);
  }

  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    const flags = this.#filtered(args.flags);
    const filtered = flags === args.flags ? args : { ...args, flags };
    const size = iovSize(args.data);
    return size > PAYLOAD_BYTES_MAX
      ? this.#writePieces(call, filtered, size)
      : this.forward("writev", call, filtered, args.data, size);
  }

  override put(call: Call, args: Args<"put">): Promise<Reply<"put">> {
    const size = iovSize(args.data);
    if (size > PAYLOAD_BYTES_MAX) return Promise.reject(this.#failure("EFBIG", "put"));
    const flags = this.#filtered(args.flags);
    return this.forward("put", call, { ...args, flags }, args.data, size);
  }

  override flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    this.#fds.find(args.fd)?.lockOwners.delete(call.lkOwner.toString("hex"));
    return this.forward("flush", call, args);
  }

  override async lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    const remote = this.#fds.find(args.fd);
    const { cmd, flock } = args;
    const pending = this.forward("lk", call, args);
    const undo = { fd: args.fd, cmd: "setlk", flock: { ...flock, type: "unlck" } } as const;
    const reply = await (cmd === "setlkw" ? this.#givingUp("lk", call, undo, pending) : pending);
    if (cmd === "getlk" || remote === undefined) return reply;
    if (flock.type !== "unlck") remote.lockOwners.add(call.lkOwner.toString("hex"));
    // The brick answers an unlock with the type "unlck" when the fd has no locks left.
    else if (reply.flock.type === "unlck") remote.lockOwners.clear();
    return reply;
  }

  override inodelk(call: Call, args: Args<"inodelk">): Promise<Reply<"inodelk">> {
    const pending = this.forward("inodelk", call, args);
    if (args.cmd !== "setlkw" || call.signal === undefined) return pending;
    const flock = { ...args.flock, type: "unlck" } as const;
    return this.#givingUp("inodelk", call, { ...args, cmd: "setlk", flock }, pending);
  }

  override entrylk(call: Call, args: Args<"entrylk">): Promise<Reply<"entrylk">> {
    const pending = this.forward("entrylk", call, args);
    if (args.cmd !== "lock" || call.signal === undefined) return pending;
    return this.#givingUp("entrylk", call, { ...args, cmd: "unlock" }, pending);
  }

  protected override forward<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    payload?: IoVec,
    payloadBytes?: number,
  ): Promise<Reply<F>> {
    return new Promise<Reply<F>>((resolve, reject) => {
      this.#send(new PendingFop(fop, args, this.name, resolve, reject), call, payload, payloadBytes);
    });
  }

  #send<F extends FopName>(pending: PendingFop<F>, call: Call, payload?: IoVec, payloadBytes?: number): void {
    const { rpc } = this.#session;
    if (rpc === undefined) {
      pending.onFailure(new FopError("ENOTCONN", { message: "not connected" }));
      return;
    }
    const { fop, args } = pending;
    let wire: WireCall<F>;
    try {
      wire = fopOf(fop).call(args, (fd) => this.#fds.numberFor(fop, fd, this.options["strict-locks"]));
    } catch (error) {
      pending.onFailure(toFopError(error));
      return;
    }
    const { proc, call: type } = codecOf(fop);
    const who = this.options["send-gids"] ? call : { ...call, groups: [call.gid] };
    rpc.send(FOP_PROGRAM, proc, who, type, wire, pending, payload, payloadBytes);
  }

  /** open, opendir and create: the number that comes back belongs to the fd from now on. */
  #opening<F extends "open" | "opendir" | "create">(
    fop: F,
    call: Call,
    args: Args<F>,
    fd: Fd,
    flags: number,
  ): Promise<Reply<F>> {
    return new Promise<Reply<F>>((resolve, reject) => {
      const pending = new PendingFop(fop, args, this.name, resolve, reject);
      const { rpc } = this.#session;
      pending.onWire = (reply) => {
        // The reply of a connection that has ended meanwhile cannot come: its calls failed with it.
        if (rpc)
          this.#fds.opened(new RemoteFd(fd, fop === "opendir", flags, (reply as WireReply<"open">).fd));
      };
      this.#send(pending, call);
    });
  }

  #release(fd: Fd, procedure: "release" | "releasedir"): void {
    const remote = this.#fds.released(fd);
    const connection = this.#session.connection ?? this.#reopening;
    if (remote === undefined || remote.number === NONE || connection === undefined) return;
    this.#sendRelease(connection, procedure, remote.fd, remote.number);
  }

  #sendRelease(rpc: RpcClient, procedure: "release" | "releasedir", fd: Fd, number: number): void {
    const { proc, call } = FOP_CODECS[procedure];
    const wire = { gfid: fd.inode.gfid, fd: number, xdata: undefined };
    rpc.send(FOP_PROGRAM, proc, SELF, call, wire, new Unheard());
  }

  /** Opens all files again on a new connection; settles when the brick has answered for each. */
  async #reopen(rpc: RpcClient): Promise<void> {
    this.#reopening = rpc;
    const strict = this.options["strict-locks"];
    const saved = [...this.#fds.all].filter((remote) => !(strict && remote.lockOwners.size > 0));
    await Promise.all(saved.map((remote) => this.#reopenOne(rpc, remote)));
  }

  async #reopenOne(rpc: RpcClient, remote: RemoteFd): Promise<void> {
    const { gfid } = remote.fd.inode;
    try {
      const { opRet, opErrno, fd } = remote.directory
        ? await ask(rpc, "opendir", { gfid, xdata: undefined })
        : await ask(rpc, "open", { gfid, flags: toWireFlags(remote.reopenFlags), xdata: undefined });
      if (opRet < 0) throw new FopError(errnoName(opErrno));
      if (this.#fds.has(remote)) remote.number = fd;
      else this.#sendRelease(rpc, remote.directory ? "releasedir" : "release", remote.fd, fd);
    } catch (error) {
      this.log.warn("file could not be opened again", { gfid: gfidText(gfid), code: toFopError(error).code });
    }
  }

  #filtered(flags: number): number {
    return this.options["filter-O_DIRECT"] ? flags & ~O_DIRECT : flags;
  }

  #failure(code: "EFBIG", fop: FopName): FopError {
    return new FopError(code, { fop, xlator: this.name });
  }

  /** A read larger than a message: in pieces, until one is short. */
  async #readPieces(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const leases: Lease[] = [];
    const data: Buffer[] = [];
    let size = 0;
    for (;;) {
      const piece = Math.min(PAYLOAD_BYTES_MAX, args.size - size);
      const reply = await this.forward("readv", call, { ...args, offset: args.offset + size, size: piece });
      data.push(...reply.data);
      if (reply.lease) leases.push(reply.lease);
      size += reply.size;
      if (size < args.size && reply.size === piece && !reply.eof) continue;
      return { ...reply, data, size, lease: new Leases(leases) };
    }
  }

  /** A write larger than a message: in pieces. A failure after the first is a short write. */
  async #writePieces(call: Call, args: Args<"writev">, total: number): Promise<Reply<"writev">> {
    let whole: Reply<"writev"> | undefined;
    let size = 0;
    while (size < total) {
      const data = iovSlice(args.data, size, Math.min(size + PAYLOAD_BYTES_MAX, total));
      const pieceBytes = iovSize(data);
      try {
        const piece = { ...args, data, offset: args.offset + size };
        const reply: Reply<"writev"> = await this.forward("writev", call, piece, data, pieceBytes);
        size += reply.size;
        whole = { ...reply, pre: whole?.pre ?? reply.pre, size };
        if (reply.size < pieceBytes) break;
      } catch (error) {
        if (whole === undefined) throw error;
        break;
      }
    }
    return whole!;
  }

  /** Rejects with EINTR when the caller stops waiting; a lock that is granted after that is given back. */
  #givingUp<F extends "lk" | "inodelk" | "entrylk">(
    fop: F,
    call: Call,
    undo: Args<F>,
    pending: Promise<Reply<F>>,
  ): Promise<Reply<F>> {
    const giveBack = (): void => {
      const { signal: _given, ...who } = call;
      pending.then(
        () => this.forward(fop, who, undo).catch(() => {}),
        () => {},
      );
    };
    return abortable(pending, call.signal, giveBack, { fop, xlator: this.name });
  }
}

/** A fop that waits for its reply. */
class PendingFop<F extends FopName> extends PendingCall {
  readonly fop: F;
  readonly args: Args<F>;
  /** Looks at a successful reply before the caller does. */
  onWire: ((reply: WireReply<F>) => void) | undefined;
  override readonly patient: boolean;
  readonly #xlator: string;
  readonly #resolve: (reply: Reply<F>) => void;
  readonly #reject: (error: FopError) => void;

  constructor(
    fop: F,
    args: Args<F>,
    xlator: string,
    resolve: (reply: Reply<F>) => void,
    reject: (error: FopError) => void,
  ) {
    super();
    this.fop = fop;
    this.args = args;
    this.patient = waitsForOthers(fop, args);
    this.#xlator = xlator;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  override onReply(reader: XdrReader, record: ReceivedRecord): void {
    const { fop, args } = this;
    const wire = codecOf(fop).reply.read(reader);
    if (wire.opRet < 0) {
      record.release();
      this.#reject(
        new FopError(errnoName(wire.opErrno), {
          fop,
          xlator: this.#xlator,
          ...(wire.xdata && { xdata: wire.xdata }),
        }),
      );
      return;
    }
    const reply = fopOf(fop).reply(wire, args);
    if (fop === "readv") {
      this.#resolve(withPayload(reply as Reply<"readv">, args as Args<"readv">, reader, record) as Reply<F>);
      return;
    }
    record.release();
    this.onWire?.(wire);
    this.#resolve(reply);
  }

  override onFailure(error: FopError): void {
    const { code, message } = error;
    this.#reject(new FopError(code, { fop: this.fop, xlator: this.#xlator, message, cause: error }));
  }
}

/** Several leases as one. */
class Leases implements Lease {
  readonly #all: readonly Lease[];
  constructor(all: readonly Lease[]) {
    this.#all = all;
  }
  release(): void {
    for (const one of this.#all) one.release();
  }
}

/** The answer does not matter. */
class Unheard extends PendingCall {
  override onReply(_reader: XdrReader, record: ReceivedRecord): void {
    record.release();
  }
  override onFailure(): void {}
}

/** A read's bytes are the rest of the record, which is lent to the caller. */
function withPayload(
  reply: Reply<"readv">,
  args: Args<"readv">,
  reader: XdrReader,
  record: ReceivedRecord,
): Reply<"readv"> {
  const data = record.from(reader.offset);
  const arrived = iovSize(data);
  if (reply.size > arrived || reply.size > args.size)
    throw new XdrError(`readv: ${reply.size} bytes answered, ${arrived} sent, ${args.size} asked for`);
  if (reply.size === 0) {
    record.release();
    return reply;
  }
  return { ...reply, data: arrived === reply.size ? data : iovSlice(data, 0, reply.size), lease: record };
}

/** Blocking locks wait for other clients, not for the brick: the frame timeout is not about them. */
function waitsForOthers(fop: FopName, args: object): boolean {
  switch (fop) {
    case "lk":
    case "inodelk":
    case "finodelk":
      return (args as Args<"lk">).cmd === "setlkw";
    case "entrylk":
    case "fentrylk":
      return (args as Args<"entrylk">).cmd === "lock";
    default:
      return false;
  }
}

/** One entry of a table over all fops, typed for the fop at hand. */
function fopOf<F extends FopName>(fop: F): ClientFop<F> {
  return CLIENT_FOPS[fop];
}

function codecOf<F extends FopProcName>(fop: F): FopCodec<F> & { reply: XdrType<WireReply<F> & Failable> } {
  return FOP_CODECS[fop] as unknown as FopCodec<F> & { reply: XdrType<WireReply<F> & Failable> };
}

/** What every reply begins with. */
interface Failable {
  readonly opRet: number;
  readonly opErrno: number;
  readonly xdata: Reply<"flush">["xdata"];
}

function ask<F extends "open" | "opendir">(rpc: RpcClient, fop: F, call: WireCall<F>): Promise<WireReply<F>> {
  const codec = codecOf(fop);
  return rpc.request(FOP_PROGRAM, codec.proc, codec.call, call, codec.reply);
}
