/**
 * protocol/server: offers its children as bricks, each under its volume name, to clients over TCP or a unix
 * socket (wire.md 2, 3, 8, 10, 11; translators.md 8.4).
 *
 * Promises: a client that has not been let in reaches no file; what a client holds (open files, locks) goes
 * with its connection; pings are answered while a disk stalls. Needs below: any graph of a brick; it is the
 * top of its own, so fops from above do not exist. Limits: no TLS, no groups looked up here, no changes of
 * auth rules while running.
 */

import type { Call } from "../../src/core/call.ts";
import { FopError, UserError } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { gfidOf, gfidText } from "../../src/core/gfid.ts";
import {
  atLeast,
  type ChildEvent,
  defineXlator,
  type XlatorBase,
  type XlatorDefinition,
  type XlatorInit,
} from "../../src/core/xlator.ts";
import { nothing } from "../../src/rpc/codec-control.ts";
import { CALLBACK_PROC } from "../../src/rpc/programs.ts";
import { type RpcPeer, RpcServer } from "../../src/rpc/server.ts";
import type { Listen, Listener } from "../../src/rpc/transport.ts";
import { listenSocket, resolveHost } from "../../src/rpc/transport-tcp.ts";
import { ForwardingXlator } from "./forwarding.ts";
import { hasRules, type Resolve } from "./server-auth.ts";
import { dumpProgram, HandshakeProgram } from "./server-handshake.ts";
import { listenTarget, SERVER_OPTIONS } from "./server-options.ts";
import { FopProgram } from "./server-program.ts";
import { Brick, type ServerSession } from "./server-session.ts";
import { sendUpcall } from "./upcalls.ts";

/**
 * Internal callers of trusted clients that stay root: geo-replication, no-root-squash, rebalance, quota,
 * self-heal (wire.md 7.8).
 */
const UNSQUASHED_PIDS: ReadonlySet<number> = new Set([-1, -3, -4, -5, -6]);

export const protocolServer: XlatorDefinition = serverOver(listenSocket, resolveHost);

/** The type on a network of the caller's, for tests and simulation. */
export function serverOver(listen: Listen, resolve: Resolve = async () => []): XlatorDefinition {
  return defineXlator({
    type: "protocol/server",
    children: atLeast(1),
    options: SERVER_OPTIONS,
    openOptions: /^auth\.(addr|ip|login)\..+\.(allow|reject|password|ssl-allow)$/,
    create: (init) => new ProtocolServer(init, listen, resolve),
  });
}

export class ProtocolServer extends ForwardingXlator<typeof SERVER_OPTIONS> {
  readonly #listen: Listen;
  readonly #rpc: RpcServer;
  readonly #bricks = new Map<string, Brick>();
  readonly #sessions = new Map<RpcPeer, ServerSession>();
  /** Sessions whose last fops and releases are still running below. */
  readonly #closing = new Set<Promise<void>>();
  #listener: Listener | undefined;

  constructor(init: XlatorInit<typeof SERVER_OPTIONS>, listen: Listen, resolve: Resolve) {
    super(init);
    this.#listen = listen;
    for (const child of this.children)
      this.#bricks.set(child.name, new Brick(child, this.options["inode-lru-limit"]));
    const sessionOf = (peer: RpcPeer) => this.#sessions.get(peer);
    const handshake = new HandshakeProgram({
      log: this.log,
      serverId: `${this.name}-${gfidText(gfidOf(this.env.random.bytes(16)))}`,
      brick: (name) => this.#bricks.get(name),
      volumeIdOf: (brick) => optionBelow(brick.top, "volume-id"),
      auth: () => ({
        raw: this.rawOptions,
        allowInsecure: this.options["rpc-auth-allow-insecure"],
        strict: this.options["strict-auth-accept"],
        resolve,
      }),
      sessionOf,
      isTaken: (id) => [...this.#sessions.values()].some((session) => session.client.id === id),
      onSession: (peer, session) => void this.#sessions.set(peer, session),
    });
    const squash = (call: Call, session: ServerSession) => this.#squash(call, session);
    const fops = new FopProgram({ log: this.log, sessionOf, squash });
    this.#rpc = new RpcServer([fops, dumpProgram, handshake], {
      log: this.log,
      outstandingMax: () => this.options["rpc.outstanding-rpc-limit"],
      onDisconnect: (peer) => this.#disconnected(peer),
    });
  }

  /** The TCP port in use, once listening; 0 on a unix socket. */
  get port(): number {
    return this.#listener?.port ?? 0;
  }

  /**
   * Listens at once, so that an address in use is an error of the start; who comes too early is told to come
   * again.
   */
  override async init(): Promise<void> {
    const target = listenTarget(this.options);
    for (const name of this.#bricks.keys())
      if (!hasRules(this.rawOptions, name))
        throw new UserError(`brick "${name}" lets nobody in; add: option auth.addr.${name}.allow *`);
    try {
      this.#listener = await this.#listen(target, (transport) => this.#rpc.accept(transport));
    } catch (error) {
      throw new UserError(`cannot listen on ${(error as Error).message}`, { cause: error });
    }
    this.log.info("listening", {
      address: target.kind === "unix" ? target.path : `${target.host}:${this.port}`,
    });
  }

  override async fini(): Promise<void> {
    const closed = this.#listener?.close();
    this.#rpc.close();
    await closed;
    await Promise.all(this.#closing);
  }

  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    const brick = this.#bricks.get(from.name);
    if (brick === undefined) return;
    if (event.type === "child-up" || event.type === "child-down") {
      if (event.type === "child-up") brick.place = event.brickId;
      // A brick that says more of itself is no news for its clients.
      if (brick.up === (event.type === "child-up")) return;
      brick.up = event.type === "child-up";
      const procedure = brick.up ? CALLBACK_PROC.CHILD_UP : CALLBACK_PROC.CHILD_DOWN;
      for (const [peer, session] of this.#sessions)
        if (session.brick === brick) peer.callback(procedure, nothing, {});
    } else if (event.type === "upcall") {
      for (const [peer, session] of this.#sessions)
        if (session.brick === brick && (event.to === undefined || event.to === session.client.id))
          sendUpcall(peer, event.upcall);
      return;
    }
    this.notifyParents(event);
  }

  protected override forward<F extends FopName>(fop: F, _call: Call, _args: Args<F>): Promise<Reply<F>> {
    return Promise.reject(
      new FopError("ENOSYS", { fop, xlator: this.name, message: "a server has no fops of its own" }),
    );
  }

  /** Files first, then locks. Fops below run on: the second step ends those that wait for locks. */
  #disconnected(peer: RpcPeer): void {
    const session = this.#sessions.get(peer);
    if (session === undefined) return;
    this.#sessions.delete(peer);
    const closing: Promise<void> = session.close().finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
    session.brick.top.clientDisconnect(session.client);
    this.log.info("client disconnected", { peer: peer.address.host, client: session.client.id });
  }

  #squash(call: Call, session: ServerSession): Call {
    const { options } = this;
    const all = options["all-squash"];
    if (!all && !options["root-squash"]) return call;
    if (session.trusted && UNSQUASHED_PIDS.has(call.pid)) return call;
    const [uid, gid] = [options.anonuid, options.anongid];
    if (all) return { ...call, uid, gid, groups: [] };
    return {
      ...call,
      uid: call.uid === 0 ? uid : call.uid,
      gid: call.gid === 0 ? gid : call.gid,
      groups: call.groups.map((group) => (group === 0 ? gid : group)),
    };
  }
}

/**
 * The nearest value of an option in a brick's graph, from the top down; volume ids stand in io-stats and in
 * storage/posix.
 */
function optionBelow(top: XlatorBase, key: string): string | undefined {
  const own = top.rawOptions.get(key);
  if (own !== undefined) return own;
  for (const child of top.children) {
    const below = optionBelow(child, key);
    if (below !== undefined) return below;
  }
  return undefined;
}
