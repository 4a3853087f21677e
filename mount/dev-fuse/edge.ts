/**
 * The dev-fuse edge: a started graph behind the kernel's own protocol, from the check of the mount point to
 * the last released handle.
 */

import { internalCall } from "../../src/core/call.ts";
import { Deferred, within } from "../../src/core/concurrency.ts";
import { FopError, UserError } from "../../src/core/errors.ts";
import type { FopMeter } from "../../src/core/fop-meter.ts";
import type { Upcall } from "../../src/core/fops.ts";
import { isDir } from "../../src/core/iatt.ts";
import { Inode, type InodeTable } from "../../src/core/inode.ts";
import type { ChildEvent, Dump, EventSink, XlatorBase } from "../../src/core/xlator.ts";
import { Bridge } from "../bridge.ts";
import type { Edge, EdgeRequest } from "../edge.ts";
import { inodeTableFor, MountState } from "../state.ts";
import { Channel } from "./channel.ts";
import { Guard } from "./guard.ts";
import { checkMountpoint, endMount, type Mounted, makeMount } from "./mounting.ts";
import { Notifier } from "./notify.ts";
import { kernelBackings, Passthrough } from "./passthrough.ts";
import { setWritebackWindow } from "./writeback-window.ts";

/** How long an unmount waits for requests in flight before it gives the connection up, and for releases. */
const DRAIN_MS = 5000;
const DRAIN_POLL_MS = 10;

/** Mounts by /dev/fuse; resolves when the kernel and Mortar agreed and the root answers. */
export async function startDevFuse(request: EdgeRequest): Promise<Edge> {
  const { top, options, env } = request;
  const point = await checkMountpoint(request.mountpoint, options);
  const inodes = inodeTableFor(top);
  const root = await findRoot(top, inodes, options["subdir-mount"]);
  const state = new MountState(top, env, options, inodes, root);
  const mounted = await makeMount(request.source, point, options);
  const edge = new DevFuseEdge(state, point, mounted, request.meter);
  await edge.begin();
  return edge;
}

/** Walks to the directory that the mount shows, which also proves that the volume answers. */
async function findRoot(top: XlatorBase, inodes: InodeTable, subdir: string): Promise<Inode> {
  const call = internalCall();
  let inode = inodes.root;
  let path = "/";
  try {
    await top.lookup(call, { loc: { inode } });
    for (const name of subdir.split("/").filter((part) => part !== "")) {
      path = path === "/" ? `/${name}` : `${path}/${name}`;
      const loc = { parent: inode, name, inode: new Inode() };
      const { stat } = await top.lookup(call, { loc });
      if (!isDir(stat)) throw new FopError("ENOTDIR");
      inode = inodes.link(loc.inode, stat.gfid, stat.mode);
    }
  } catch (error) {
    const code = error instanceof FopError ? error.code : String(error);
    throw new UserError(`mount: volume path "${path}": ${code}`, { cause: error });
  }
  return inode;
}

class DevFuseEdge implements Edge, EventSink {
  readonly kind = "dev-fuse";
  readonly mountpoint: string;
  readonly closed: Promise<void>;
  readonly #closed = new Deferred<void>();
  readonly #state: MountState;
  readonly #mounted: Mounted;
  readonly #channel: Channel;
  readonly #notifier: Notifier;
  #guard: Guard | undefined;
  #unmounting: Promise<void> | undefined;

  constructor(state: MountState, mountpoint: string, mounted: Mounted, meter: FopMeter | undefined) {
    this.mountpoint = mountpoint;
    this.closed = this.#closed.promise;
    this.#state = state;
    this.#mounted = mounted;
    const bridge = new Bridge(state);
    const log = state.log.child({ mountpoint });
    this.#notifier = new Notifier(mounted.fd, log);
    this.#channel = new Channel(
      mounted.fd,
      state.options,
      {
        dispatch: (request) => bridge.dispatch(request),
        failed: (request, error) => bridge.failed(request, error),
        agreed: (agreement) => {
          state.writebackCache = agreement.writebackCache;
          if (!agreement.passthrough) return;
          const forWriters = state.options.passthrough === "on";
          state.passthrough = new Passthrough(kernelBackings(mounted.fd), state.top, forWriters, log);
        },
      },
      { clock: state.env.clock, log },
      meter,
    );
    state.forgetAboutNames = (parent, name) => this.#notifier.invalidateEntry(parent, name);
  }

  /** Serves; resolves after INIT. On failure nothing stays mounted. */
  async begin(): Promise<void> {
    this.#channel.start();
    this.#channel.closed.then(() => this.#ended());
    try {
      await this.#channel.ready;
    } catch (error) {
      await this.unmount().catch(() => {});
      throw error;
    }
    const { options, writebackCache, log } = this.#state;
    this.#guard = Guard.start(this.mountpoint, this.#mounted.byHelper, log);
    this.#state.top.addParent(this);
    if (writebackCache) await setWritebackWindow(this.mountpoint, options["kernel-writeback-window"], log);
  }

  dump(): Dump {
    const { nodes, handles, inodes, lockWaits } = this.#state;
    return {
      edge: this.kind,
      mountpoint: this.mountpoint,
      requestsInFlight: this.#channel.inFlight,
      inodesOfTheKernel: nodes.size,
      inodes: inodes.size,
      openHandles: handles.size,
      lockWaits: lockWaits.size,
    };
  }

  unmount(): Promise<void> {
    this.#unmounting ??= this.#unmount();
    return this.#unmounting;
  }

  async #unmount(): Promise<void> {
    try {
      const how = await endMount(this.mountpoint, this.#mounted.byHelper);
      if (how === "busy") this.#state.log.warn("mount was busy, requests on open files fail from now on");
    } catch (error) {
      // Somebody else was faster; the connection is closing by itself.
      if (!(error instanceof UserError) || !/EINVAL|not found|not mounted/.test(error.message)) throw error;
    }
    for (const wait of this.#state.lockWaits.values()) wait.abort();
    await this.#drained();
    this.#channel.close();
    await this.closed;
  }

  /**
   * Waits until every request was answered, within reason: a brick that hangs must not hold an unmount for
   * ever.
   */
  async #drained(): Promise<void> {
    const { clock } = this.#state.env;
    const deadlineMs = clock.nowMs() + DRAIN_MS;
    while (this.#channel.inFlight > 0 && clock.nowMs() < deadlineMs)
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
  }

  /**
   * The connection is closed: what the kernel left open is released, then nobody is told about this mount any
   * more.
   */
  async #ended(): Promise<void> {
    const { top, handles, log } = this.#state;
    this.#notifier.close();
    this.#guard?.dismiss();
    const releases = [...handles.all()].map((handle) => {
      const released = handle.kind === "file" ? top.release(handle.fd) : top.releasedir(handle.fd);
      return released.catch((error) => log.warn("release failed", { error }));
    });
    const inTime = await within(this.#state.env.clock, DRAIN_MS, Promise.all(releases));
    if (!inTime) log.warn("the volume hangs: files are left open for it to close", { open: releases.length });
    top.removeParent(this);
    this.#closed.resolve();
  }

  onChildEvent(event: ChildEvent): void {
    if (event.type === "upcall") this.#invalidate(event.upcall);
  }

  #invalidate(upcall: Upcall): void {
    if (upcall.kind !== "cache-invalidation") return;
    const inode = this.#state.inodes.find(upcall.gfid);
    const node = inode && this.#state.nodes.find(inode);
    if (node !== undefined) this.#notifier.invalidateInode(node.id);
  }
}
