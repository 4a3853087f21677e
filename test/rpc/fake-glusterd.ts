/**
 * A glusterd of a few lines on a network in memory: volfiles, brick ports, the callback for changes.
 */

import { Dict } from "../../src/core/dict.ts";
import { ERRNO } from "../../src/core/errors.ts";
import { SILENT } from "../../src/core/log.ts";
import {
  dumpCall,
  dumpReply,
  getspecCall,
  getspecReply,
  nothing,
  pingReply,
  portByBrickCall,
  portByBrickReply,
} from "../../src/rpc/codec-control.ts";
import { GLUSTERD_PORT } from "../../src/rpc/glusterd.ts";
import { ACCEPT } from "../../src/rpc/message.ts";
import {
  CALLBACK_PROC,
  DUMP_PROC,
  DUMP_PROGRAM,
  HANDSHAKE_PROC,
  HANDSHAKE_PROGRAM,
  PORTMAP_PROGRAM,
} from "../../src/rpc/programs.ts";
import { type Exchange, RpcServer, type ServedProgram } from "../../src/rpc/server.ts";
import type { MemoryNetwork } from "../../src/rpc/transport-memory.ts";
import type { XdrReader } from "../../src/rpc/xdr.ts";

export class FakeGlusterd {
  readonly volfiles = new Map<string, string>();
  readonly ports = new Map<string, number>();
  servers = "";
  /** What GETSPEC calls asked for. */
  readonly asked: { flags: number; key: string; xdata: Dict | undefined }[] = [];
  readonly #rpc: RpcServer;

  constructor() {
    const programs: ServedProgram[] = [
      { ...DUMP_PROGRAM, dispatch: (exchange, reader) => this.#dump(exchange, reader) },
      { ...HANDSHAKE_PROGRAM, dispatch: (exchange, reader) => this.#handshake(exchange, reader) },
      { ...PORTMAP_PROGRAM, dispatch: (exchange, reader) => this.#portmap(exchange, reader) },
    ];
    this.#rpc = new RpcServer(programs, { log: SILENT, outstandingMax: () => 64, onDisconnect: () => {} });
  }

  async listen(network: MemoryNetwork, port = GLUSTERD_PORT): Promise<void> {
    await network.listen({ kind: "tcp", port }, (transport) => void this.#rpc.accept(transport));
  }

  /** Tells every client that its volume has changed. */
  announceChange(): void {
    for (const peer of this.#rpc.peers) peer.callback(CALLBACK_PROC.FETCHSPEC, nothing, {});
  }

  disconnectAll(): void {
    this.#rpc.close();
  }

  get connections(): number {
    return this.#rpc.peers.size;
  }

  #dump(exchange: Exchange, reader: XdrReader): void {
    if (exchange.procedure === DUMP_PROC.PING) {
      exchange.reply(pingReply, { opRet: 0, opErrno: 0, xdata: Buffer.alloc(0) });
      return;
    }
    const { gfsId } = dumpCall.read(reader);
    const programs = [DUMP_PROGRAM, PORTMAP_PROGRAM, HANDSHAKE_PROGRAM];
    exchange.reply(dumpReply, { gfsId, opRet: 0, opErrno: 0, programs });
  }

  #handshake(exchange: Exchange, reader: XdrReader): void {
    if (exchange.procedure !== HANDSHAKE_PROC.GETSPEC) {
      exchange.refuse(ACCEPT.PROC_UNAVAIL);
      return;
    }
    const call = getspecCall.read(reader);
    this.asked.push(call);
    const spec = this.volfiles.get(call.key.replace(/^\//, ""));
    const xdata = this.servers === "" ? undefined : new Dict().setStr("servers-list", this.servers);
    const reply =
      spec === undefined
        ? { opRet: -1, opErrno: ERRNO.ENOENT, spec: "", xdata: undefined }
        : { opRet: Buffer.byteLength(spec), opErrno: 0, spec, xdata };
    exchange.reply(getspecReply, reply);
  }

  #portmap(exchange: Exchange, reader: XdrReader): void {
    const { brick } = portByBrickCall.read(reader);
    const port = this.ports.get(brick);
    const reply = port === undefined ? { opRet: -1, port: 0 } : { opRet: 0, port };
    exchange.reply(portByBrickReply, { ...reply, opErrno: 0, status: 0 });
  }
}
