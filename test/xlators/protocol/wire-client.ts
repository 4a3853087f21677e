/**
 * A client without a translator: sends the structs that a test writes, for what no honest client would send.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { FopError } from "../../../src/core/errors.ts";
import type { IoVec } from "../../../src/core/iovec.ts";
import { iovSize } from "../../../src/core/iovec.ts";
import { SILENT } from "../../../src/core/log.ts";
import { PendingCall, RpcClient } from "../../../src/rpc/client.ts";
import { setvolumeCall, setvolumeReply } from "../../../src/rpc/codec-control.ts";
import { FOP_CODECS, type FopCodec, type WireCall, type WireReply } from "../../../src/rpc/codec-fops.ts";
import { SELF } from "../../../src/rpc/message.ts";
import {
  FOP_PROGRAM,
  type FopProcName,
  HANDSHAKE_PROC,
  HANDSHAKE_PROGRAM,
} from "../../../src/rpc/programs.ts";
import type { ReceivedRecord } from "../../../src/rpc/record.ts";
import type { XdrReader, XdrType } from "../../../src/rpc/xdr.ts";
import { BRICK, PORT, type Rig } from "./rig.ts";

let nextId = 1;

export class WireClient {
  readonly rpc: RpcClient;
  caller: Call = { ...SELF, lkOwner: Buffer.from("wire") };

  private constructor(rpc: RpcClient) {
    this.rpc = rpc;
  }

  /** Connected, but nobody yet. */
  static async connect(rig: Rig): Promise<WireClient> {
    const transport = await rig.network.connect({ kind: "tcp", host: "brick.example", port: PORT });
    const rpc = new RpcClient(transport, {
      env: { ...rig.env, log: SILENT },
      frameTimeoutMs: () => 0,
      pingTimeoutMs: () => 0,
      onClose: () => {},
    });
    rpc.credentialVersion = "v3";
    rpc.trustPeer();
    return new WireClient(rpc);
  }

  /** Connected and let in. */
  static async bound(rig: Rig, params: Readonly<Record<string, string>> = {}): Promise<WireClient> {
    const client = await WireClient.connect(rig);
    const reply = await client.setvolume(params);
    if (reply.opRet < 0) throw new Error(`setvolume: ${reply.dict?.text("ERROR")}`);
    return client;
  }

  setvolume(params: Readonly<Record<string, string | undefined>> = {}) {
    const dict = new Dict();
    const all = {
      "remote-subvolume": BRICK,
      "process-uuid": `wire-${nextId++}`,
      "fops-version": "1298437",
      opversion: "100000",
      ...params,
    };
    for (const [key, value] of Object.entries(all)) if (value !== undefined) dict.setStr(key, value);
    return this.rpc.request(
      HANDSHAKE_PROGRAM,
      HANDSHAKE_PROC.SETVOLUME,
      setvolumeCall,
      { dict },
      setvolumeReply,
    );
  }

  /** One call; the reply's struct, and a read's bytes. */
  ask<F extends FopProcName>(
    fop: F,
    call: WireCall<F>,
    payload: IoVec = [],
  ): Promise<WireReply<F> & { payload: Buffer }> {
    const codec = FOP_CODECS[fop] as FopCodec<F>;
    return new Promise((resolve, reject) => {
      const pending = new Raw(codec, resolve, reject);
      this.rpc.send(
        FOP_PROGRAM,
        codec.proc,
        this.caller,
        codec.call,
        call,
        pending,
        payload,
        iovSize(payload),
      );
    });
  }

  /** One call with arguments of another shape than the codec's. */
  askRaw<F extends FopProcName, T>(
    fop: F,
    type: XdrType<T>,
    call: T,
  ): Promise<WireReply<F> & { payload: Buffer }> {
    const codec = FOP_CODECS[fop] as FopCodec<F>;
    return new Promise((resolve, reject) => {
      this.rpc.send(FOP_PROGRAM, codec.proc, this.caller, type, call, new Raw(codec, resolve, reject));
    });
  }

  /** op_errno of a call that fails, 0 of one that does not. */
  async errno<F extends FopProcName>(fop: F, call: WireCall<F>, payload: IoVec = []): Promise<number> {
    const { opRet, opErrno } = (await this.ask(fop, call, payload)) as { opRet: number; opErrno: number };
    return opRet < 0 ? opErrno : 0;
  }
}

class Raw<F extends FopProcName> extends PendingCall {
  readonly #codec: FopCodec<F>;
  readonly #resolve: (reply: WireReply<F> & { payload: Buffer }) => void;
  readonly #reject: (error: FopError) => void;

  constructor(
    codec: FopCodec<F>,
    resolve: (reply: WireReply<F> & { payload: Buffer }) => void,
    reject: (error: FopError) => void,
  ) {
    super();
    this.#codec = codec;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  override onReply(reader: XdrReader, record: ReceivedRecord): void {
    const reply = this.#codec.reply.read(reader);
    const payload = Buffer.concat(record.from(reader.offset) as Buffer[]);
    record.release();
    this.#resolve({ ...reply, payload });
  }

  override onFailure(error: FopError): void {
    this.#reject(error);
  }
}
