/**
 * What a brick answers before and besides fops: DUMP and PING, SETVOLUME, and no to what only a glusterd
 * knows (wire.md 2.2, 2.3,
 * 3.3 to 3.5).
 */

import type { Call } from "../../src/core/call.ts";
import { internalCall } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import { ERRNO, type ErrnoName, toFopError } from "../../src/core/errors.ts";
import { ROOT_GFID } from "../../src/core/gfid.ts";
import { isDir } from "../../src/core/iatt.ts";
import { Inode } from "../../src/core/inode.ts";
import { PLACE_SETVOLUME } from "../../src/core/keys.ts";
import type { Logger } from "../../src/core/log.ts";
import {
  dumpCall,
  dumpReply,
  getspecReply,
  pingReply,
  setLkVerCall,
  setLkVerReply,
  setvolumeCall,
  setvolumeReply,
} from "../../src/rpc/codec-control.ts";
import { ACCEPT } from "../../src/rpc/message.ts";
import {
  DUMP_PROC,
  DUMP_PROGRAM,
  FOP_PROGRAM,
  HANDSHAKE_PROC,
  HANDSHAKE_PROGRAM,
  type Program,
} from "../../src/rpc/programs.ts";
import type { Exchange, RpcPeer, ServedProgram } from "../../src/rpc/server.ts";
import type { XdrReader } from "../../src/rpc/xdr.ts";
import { type AuthRules, authenticate } from "./server-auth.ts";
import { type Brick, ServerSession } from "./server-session.ts";

const LISTED: readonly Program[] = [FOP_PROGRAM, DUMP_PROGRAM, HANDSHAKE_PROGRAM];
const PONG = { opRet: 0, opErrno: 0, xdata: Buffer.alloc(0) };

/** DUMP and PING: answered whatever else is in flight. */
export const dumpProgram: ServedProgram = {
  ...DUMP_PROGRAM,
  prompt: true,
  dispatch(exchange: Exchange, reader: XdrReader): void {
    switch (exchange.procedure) {
      case DUMP_PROC.DUMP: {
        const { gfsId } = dumpCall.read(reader);
        exchange.record.release();
        exchange.reply(dumpReply, { gfsId, opRet: 0, opErrno: 0, programs: LISTED });
        break;
      }
      case DUMP_PROC.PING:
        exchange.record.release();
        exchange.reply(pingReply, PONG);
        break;
      default:
        exchange.record.release();
        exchange.refuse(ACCEPT.PROC_UNAVAIL);
    }
  },
};

export interface HandshakeInit {
  readonly log: Logger;
  readonly serverId: string;
  /** The brick of a name, when this server has it. */
  brick(name: string): Brick | undefined;
  /** The volume that a brick belongs to, as text; undefined when its graph does not say. */
  volumeIdOf(brick: Brick): string | undefined;
  auth(): AuthRules;
  sessionOf(peer: RpcPeer): ServerSession | undefined;
  /** Whether a connected client has this identity. */
  isTaken(id: string): boolean;
  onSession(peer: RpcPeer, session: ServerSession): void;
}

/** Why a SETVOLUME failed: what the client hears. */
class Refusal extends Error {
  readonly code: ErrnoName;
  constructor(code: ErrnoName, message: string) {
    super(message);
    this.code = code;
  }
}

export class HandshakeProgram implements ServedProgram {
  readonly name = HANDSHAKE_PROGRAM.name;
  readonly number = HANDSHAKE_PROGRAM.number;
  readonly version = HANDSHAKE_PROGRAM.version;
  readonly #init: HandshakeInit;

  constructor(init: HandshakeInit) {
    this.#init = init;
  }

  dispatch(exchange: Exchange, reader: XdrReader): void {
    switch (exchange.procedure) {
      case HANDSHAKE_PROC.SETVOLUME: {
        const { dict } = setvolumeCall.read(reader);
        exchange.record.release();
        void this.#setvolume(exchange, dict ?? new Dict());
        break;
      }
      case HANDSHAKE_PROC.SET_LK_VER: {
        const { lkVersion } = setLkVerCall.read(reader);
        exchange.record.release();
        exchange.reply(setLkVerReply, { opRet: 0, opErrno: 0, lkVersion });
        break;
      }
      case HANDSHAKE_PROC.PING:
        exchange.record.release();
        exchange.reply(pingReply, PONG);
        break;
      case HANDSHAKE_PROC.GETSPEC:
        exchange.record.release();
        exchange.reply(getspecReply, { opRet: -1, opErrno: ERRNO.ENOSYS, spec: "", xdata: undefined });
        break;
      default:
        exchange.record.release();
        exchange.refuse(ACCEPT.PROC_UNAVAIL);
    }
  }

  async #setvolume(exchange: Exchange, params: Dict): Promise<void> {
    const { log, serverId } = this.#init;
    const { peer } = exchange;
    const { host, port } = peer.address;
    try {
      const session = await this.#bind(peer, params);
      const dict = new Dict()
        .setStr("process-uuid", serverId)
        .setStr("child_up", session.brick.up ? "1" : "0")
        .setStr("ERROR", "Success");
      dict.setStr("clnt-lk-version", "0").setStr("transport-ptr", "0");
      const volumeId = this.#init.volumeIdOf(session.brick);
      if (volumeId !== undefined) dict.setStr("volume-id", volumeId);
      const { place } = session.brick;
      if (place !== undefined) dict.setStr(PLACE_SETVOLUME, place);
      log.info("client connected", {
        peer: host,
        port,
        brick: session.brick.name,
        client: session.client.id,
      });
      exchange.reply(setvolumeReply, { opRet: 0, opErrno: 0, dict });
    } catch (error) {
      const { code, message } = error instanceof Refusal ? error : toFopError(error);
      if (!(error instanceof Refusal)) log.error("setvolume failed", { peer: host, port, error });
      const dict = new Dict().setStr("ERROR", message);
      exchange.reply(setvolumeReply, { opRet: -1, opErrno: ERRNO[code], dict });
    }
  }

  /** Checks everything and gives the connection its session. */
  async #bind(peer: RpcPeer, params: Dict): Promise<ServerSession> {
    const init = this.#init;
    if (init.sessionOf(peer)) throw new Refusal("EINVAL", "this connection is bound to a brick already");
    const brickName = required(params, "remote-subvolume");
    const processId = required(params, "process-uuid");
    const brick = init.brick(brickName);
    if (brick === undefined) throw new Refusal("ENOENT", `remote-subvolume "${brickName}" is not found`);
    if (!brick.up) throw new Refusal("EAGAIN", `brick "${brickName}" is not up yet`);
    if (required(params, "fops-version") !== String(FOP_PROGRAM.number))
      throw new Refusal("EINVAL", `fops-version must be ${FOP_PROGRAM.number}`);
    const [asked, own] = [params.text("volume-id"), init.volumeIdOf(brick)];
    if (asked !== undefined && own !== undefined && asked !== own)
      throw new Refusal("EINVAL", `volume-id ${asked} is not that of brick "${brickName}"`);
    const verdict = await authenticate(init.auth(), brickName, peer.address, params);
    if (!verdict.allowed) {
      const { host, port } = peer.address;
      init.log.warn("client refused", { peer: host, port, brick: brickName, why: verdict.why });
      throw new Refusal("EACCES", "Authentication failed");
    }
    const id = this.#freeId(processId);
    const client = { id, opVersion: params.number("opversion") ?? 0 };
    const root = await rootOf(brick, internalCall(0, client), params.text("subdir-mount") ?? "/");
    if (peer.closed) throw new Refusal("ENOTCONN", "the client left");
    const session = new ServerSession({ client, brick, trusted: verdict.trusted, root });
    peer.trust(client);
    init.onSession(peer, session);
    return session;
  }

  /** Locks and open files go by the identity, so a second connection must not have that of a first. */
  #freeId(id: string): string {
    let free = id;
    for (let n = 2; this.#init.isTaken(free); n++) free = `${id}#${n}`;
    return free;
  }
}

function required(params: Dict, key: string): string {
  const value = params.text(key);
  if (value === undefined || value === "") throw new Refusal("EINVAL", `${key} is not specified`);
  return value;
}

/** The gfid of the directory that a client takes for its root; the volume's root must answer in any case. */
async function rootOf(brick: Brick, call: Call, subdir: string) {
  const { stat } = await brick.top.lookup(call, { loc: { inode: brick.inodes.root } });
  let found = stat;
  let parent = brick.inodes.root;
  for (const name of subdir.split("/").filter((part) => part !== "")) {
    if (name === "." || name === "..")
      throw new Refusal("EINVAL", `subdir-mount "${subdir}" is no plain path`);
    try {
      const inode = new Inode();
      const reply = await brick.top.lookup(call, { loc: { inode, parent, name } });
      found = reply.stat;
      parent = brick.inodes.link(inode, found.gfid, found.mode);
    } catch (error) {
      const { code } = toFopError(error);
      throw new Refusal(code, `subdir-mount "${subdir}": ${code === "ENOENT" ? "no such directory" : code}`);
    }
  }
  if (!isDir(found)) throw new Refusal("ENOTDIR", `subdir-mount "${subdir}" is no directory`);
  return parent === brick.inodes.root ? ROOT_GFID : found.gfid;
}
