/**
 * A mount from end to end: a graph comes up, an edge shows it, and both go down in order when somebody wants
 * that.
 */

import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { promisify } from "node:util";
import type { Env } from "../src/core/env.ts";
import { UserError } from "../src/core/errors.ts";
import { FopMeter } from "../src/core/fop-meter.ts";
import type { LiveGraph } from "../src/graph/live-graph.ts";
import { type Edge, type EdgeKind, startEdge } from "./edge.ts";
import type { MountOptions } from "./options.ts";

export interface MountRequest {
  /** Makes the graph, started; called once the mount point was found to be there. */
  readonly openGraph: () => Promise<LiveGraph>;
  readonly mountpoint: string;
  readonly edge: EdgeKind;
  readonly options: MountOptions;
  /** Shown by mount(8) as the device. */
  readonly source: string;
  /** Flags that the kernel keeps for a mount: `noatime`, `nosuid` ... */
  readonly kernelFlags?: readonly string[];
  readonly env: Env;
}

/** A mount that works; `closed` resolves when it is gone and its graph is down. */
export interface RunningMount {
  readonly edge: Edge;
  readonly graph: LiveGraph;
  /** What the kernel's requests cost here, their way through the graph included. */
  readonly meter: FopMeter;
  readonly closed: Promise<void>;
  /** Ends it: unmount, answer what is in flight, stop the graph. Idempotent. */
  stop(): Promise<void>;
}

/** Mounts; resolves when the volume can be used. Rejects with UserError and leaves nothing behind. */
export async function startMount(request: MountRequest): Promise<RunningMount> {
  const { mountpoint, options, source, env } = request;
  await checkMountpoint(mountpoint);
  const graph = await request.openGraph();
  const meter = new FopMeter(env.clock);
  let edge: Edge;
  try {
    edge = await startEdge(request.edge, { top: graph, mountpoint, options, source, env, meter });
  } catch (error) {
    await graph.stop();
    throw error;
  }
  const mount = new Mount(edge, graph, meter, env);
  try {
    await setKernelFlags(edge.mountpoint, request.kernelFlags ?? []);
  } catch (error) {
    await mount.stop();
    throw error;
  }
  return mount;
}

class Mount implements RunningMount {
  readonly edge: Edge;
  readonly graph: LiveGraph;
  readonly meter: FopMeter;
  readonly closed: Promise<void>;
  #unmounting: Promise<void> | undefined;

  constructor(edge: Edge, graph: LiveGraph, meter: FopMeter, env: Env) {
    this.meter = meter;
    this.edge = edge;
    this.graph = graph;
    this.closed = edge.closed.then(() => graph.stop());
    // A brick that refuses us later on will refuse every reconnect: the mount ends, as the C client's does.
    graph.onEvent((event) => {
      if (event.type !== "auth-failed") return;
      env.log.error("a brick refuses this client: unmounting", { why: event.why });
      void this.stop();
    });
  }

  stop(): Promise<void> {
    this.#unmounting ??= this.edge.unmount();
    return this.#unmounting.then(() => this.closed);
  }
}

/** The cheap half of the edge's own checks, before a volume is opened for nothing. */
async function checkMountpoint(mountpoint: string): Promise<void> {
  try {
    if ((await stat(mountpoint)).isDirectory()) return;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why =
      code === "ENOENT"
        ? `there is no such directory; make it: mkdir -p ${mountpoint}`
        : code === "ENOTCONN"
          ? `a dead mount is there; remove it: umount -l ${mountpoint}`
          : code === "EACCES"
            ? "permission denied"
            : message;
    throw new UserError(`mount point "${mountpoint}": ${why}`);
  }
  throw new UserError(`mount point "${mountpoint}": is not a directory`);
}

async function setKernelFlags(mountpoint: string, flags: readonly string[]): Promise<void> {
  if (flags.length === 0) return;
  try {
    await promisify(execFile)("mount", ["-i", "-o", `remount,bind,${flags.join(",")}`, mountpoint]);
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split("\n").at(-1);
    throw new UserError(`mount: flags ${flags.join(",")}: ${said || (error as Error).message}`);
  }
}
