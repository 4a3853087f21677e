/**
 * The fop program of a brick: one call from its bytes to its reply (wire.md 6, 8, 10.1).
 *
 * The payload of a write is lent to the layers below as it came from the socket; its memory is held until the
 * fop has settled. A read's buffers go to the socket as they are and are given back when they have left.
 */

import type { Call } from "../../src/core/call.ts";
import { ERRNO, FopError, isBug, toFopError } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { EMPTY_IOVEC } from "../../src/core/iovec.ts";
import type { Logger } from "../../src/core/log.ts";
import { wind } from "../../src/core/xlator.ts";
import {
  FOP_CODECS,
  type FopCodec,
  PROC_TO_FOP,
  type WireCall,
  type WireReply,
} from "../../src/rpc/codec-fops.ts";
import { ACCEPT } from "../../src/rpc/message.ts";
import { FOP_PROGRAM, type FopProcName } from "../../src/rpc/programs.ts";
import type { Exchange, RpcPeer, ServedProgram } from "../../src/rpc/server.ts";
import { XdrError, type XdrReader } from "../../src/rpc/xdr.ts";
import { SERVER_FOPS, type Served, type ServerFop } from "./server-fops.ts";
import type { ServerSession } from "./server-session.ts";

export interface FopProgramInit {
  readonly log: Logger;
  /** Undefined for a peer that has not bound itself to a brick. */
  sessionOf(peer: RpcPeer): ServerSession | undefined;
  /** The caller as the layers below shall see it. */
  squash(call: Call, session: ServerSession): Call;
}

export class FopProgram implements ServedProgram {
  readonly name = FOP_PROGRAM.name;
  readonly number = FOP_PROGRAM.number;
  readonly version = FOP_PROGRAM.version;
  readonly #init: FopProgramInit;

  constructor(init: FopProgramInit) {
    this.#init = init;
  }

  dispatch(exchange: Exchange, reader: XdrReader): void {
    const fop = PROC_TO_FOP[exchange.procedure];
    const session = this.#init.sessionOf(exchange.peer);
    if (fop === undefined || session === undefined) {
      exchange.record.release();
      exchange.refuse(fop === undefined ? ACCEPT.PROC_UNAVAIL : ACCEPT.GARBAGE_ARGS);
    } else if (fop === "release" || fop === "releasedir") this.#release(exchange, reader, session, fop);
    else this.#decode(exchange, reader, session, fop);
  }

  #decode<F extends FopName>(exchange: Exchange, reader: XdrReader, session: ServerSession, fop: F): void {
    const codec = FOP_CODECS[fop] as FopCodec<F>;
    const { record } = exchange;
    let wire: WireCall<F>;
    try {
      wire = codec.call.read(reader);
    } catch (error) {
      if (!(error instanceof XdrError) || error.code !== "EOVERFLOW") throw error;
      // An offset that no file has here: an answer for this call, not the end of the connection.
      record.release();
      this.#answerError(exchange, fop, new FopError("EOVERFLOW", { fop, message: error.message }));
      return;
    }
    const patient = blocks(fop, wire);
    if (patient) exchange.uncount();
    const call = this.#init.squash(exchange.call, session);
    let payload = EMPTY_IOVEC;
    if (codec.callPayload) {
      payload = record.from(reader.offset);
      exchange.peer.transport.receiver.expectLike(record, reader.offset);
    } else record.release();
    void this.#serve(exchange, fop, wire, { session, call, payload }, patient);
  }

  async #serve<F extends FopName>(
    exchange: Exchange,
    fop: F,
    wire: WireCall<F>,
    served: Served,
    patient: boolean,
  ): Promise<void> {
    const { session, call } = served;
    const handler = SERVER_FOPS[fop] as ServerFop<F>;
    const inUse: ReturnType<ServerSession["use"]>[] = [];
    if (!patient) session.begin();
    try {
      holdFds(session, fop, wire, inUse);
      const prepared = handler.args(wire, served);
      const args = prepared instanceof Promise ? await prepared : prepared;
      if (session.closed) throw new FopError("ENOTCONN", { fop });
      const reply = await wind(session.brick.top, fop, call, args);
      if (session.closed) dropUnheard(session, fop, args, reply);
      else this.#answer(exchange, fop, handler.reply(reply, served, args), reply);
    } catch (error) {
      this.#answerError(exchange, fop, error);
    } finally {
      for (const open of inUse) session.unuse(open);
      exchange.record.release();
      if (!patient) session.end();
    }
  }

  #answer<F extends FopName>(exchange: Exchange, fop: F, wire: WireReply<F>, reply: Reply<F>): void {
    const codec = FOP_CODECS[fop] as FopCodec<F>;
    if (fop !== "readv") exchange.reply(codec.reply, wire);
    else {
      const { data, size, lease } = reply as Reply<"readv">;
      exchange.reply(codec.reply, wire, data, size, lease);
    }
  }

  #answerError<F extends FopName>(exchange: Exchange, fop: F, error: unknown): void {
    if (isBug(error)) this.#init.log.error("a fop failed in a way that it must not", { fop, error });
    const { code, xdata } = toFopError(error, { fop });
    const codec = FOP_CODECS[fop] as FopCodec<F>;
    exchange.reply(codec.reply, { ...codec.zeroReply, opRet: -1, opErrno: ERRNO[code], xdata });
  }

  #release(
    exchange: Exchange,
    reader: XdrReader,
    session: ServerSession,
    procedure: "release" | "releasedir",
  ): void {
    const { call, reply, zeroReply } = FOP_CODECS[procedure];
    const { fd } = call.read(reader);
    exchange.record.release();
    session.release(fd).then(
      () => exchange.reply(reply, zeroReply),
      (error) => exchange.reply(reply, { ...zeroReply, opRet: -1, opErrno: ERRNO[toFopError(error).code] }),
    );
  }
}

/** What a fop did for a client that is gone by now: a file it opened, memory it took. */
function dropUnheard<F extends FopName>(
  session: ServerSession,
  fop: F,
  args: Args<F>,
  reply: Reply<F>,
): void {
  const { top } = session.brick;
  if (fop === "open" || fop === "create") void top.release((args as Args<"open">).fd);
  else if (fop === "opendir") void top.releasedir((args as Args<"opendir">).fd);
  else if (fop === "readv") (reply as Reply<"readv">).lease?.release();
}

/**
 * Keeps the files of a fop open while it runs. Locks wait for long, and need the file no more than by its
 * gfid.
 */
function holdFds<F extends FopName>(
  session: ServerSession,
  fop: F,
  wire: WireCall<F>,
  inUse: ReturnType<ServerSession["use"]>[],
): void {
  if (fop === "lk" || fop === "finodelk" || fop === "fentrylk") return;
  const { fd, fdIn, fdOut } = wire as { fd?: number; fdIn?: number; fdOut?: number };
  if (fd !== undefined) inUse.push(session.use(fd));
  if (fdIn !== undefined) inUse.push(session.use(fdIn));
  if (fdOut !== undefined) inUse.push(session.use(fdOut));
}

const SETLKW = 2;
const BLOCKING_ENTRYLK = 0;

/** Waits for other calls of the same client, perhaps, and must not keep them out. */
function blocks(fop: FopProcName, wire: object): boolean {
  switch (fop) {
    case "lk":
    case "inodelk":
    case "finodelk":
      return (wire as WireCall<"lk">).cmd === SETLKW;
    case "entrylk":
    case "fentrylk":
      return (wire as WireCall<"entrylk">).cmd === BLOCKING_ENTRYLK;
    default:
      return false;
  }
}
