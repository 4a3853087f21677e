/**
 * The fuse-native edge: the same graph through libfuse 2 and the fuse-native package, for systems without the
 * dev-fuse edge and for comparison.
 *
 * Limits: no fallocate, no SEEK_HOLE, locks stay on this host, requests of at most 128 KiB, direct I/O one
 * request at a time, times in milliseconds, 32-bit inode numbers, names must be UTF-8, every call is made as
 * the user who mounted (so no allow_other), removed files that are open stay as .fuse_hidden names until
 * closed, touch -a or -m alone does nothing.
 * Needs: libfuse 2, /dev/fuse, fusermount, and that no synchronous file call of this process touches the
 * mount.
 */

import { readFileSync } from "node:fs";
import { access, constants, realpath } from "node:fs/promises";
import type { Call } from "../../src/core/call.ts";
import { Deferred } from "../../src/core/concurrency.ts";
import type { Timer } from "../../src/core/env.ts";
import { UserError } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import type { ChildEvent, Dump, EventSink } from "../../src/core/xlator.ts";
import type { Guard } from "../dev-fuse/guard.ts";
import { type MountEntry, mountAt, parseMountTable } from "../dev-fuse/mount-table.ts";
import type { Edge, EdgeRequest } from "../edge.ts";
import { FailureLog } from "../failures.ts";
import { loadFuseNative, NativeMount } from "./binding.ts";
import { callbacks, InFlight } from "./callbacks.ts";
import { libfuseOptions } from "./limits.ts";
import { Operations } from "./operations.ts";

/** How often the edge looks whether somebody else unmounted it: libfuse 2 tells nobody. */
const WATCH_MS = 500;

const onLinux = process.platform === "linux";

/** Mounts a started graph; see `startEdge`. */
export async function startFuseNative(request: EdgeRequest): Promise<Edge> {
  const options = libfuseOptions(request.source, request.options);
  const Fuse = await loadFuseNative();
  await checkDevice();
  const afterlife = onLinux ? await loadAfterlife() : undefined;
  const mountpoint = await checkedMountpoint(request);
  const operations = new Operations({
    top: request.top,
    clock: request.env.clock,
    entryTtlMs: request.options["entry-timeout"] * 1000,
    call: ownCall(),
  });
  await operations.useRoot(request.options["subdir-mount"]);
  const inFlight = new InFlight();
  const log = request.env.log.child({ edge: "fuse-native" });
  const native = new NativeMount(Fuse, {
    mountpoint,
    options,
    operations: callbacks(operations, inFlight, new FailureLog(log, request.env.clock), request.meter),
  });
  await native.mount().catch((cause) => {
    throw new UserError(`mount: edge fuse-native: "${mountpoint}": ${cause.message}`, { cause });
  });
  const guard = afterlife?.(mountpoint, log);
  const edge = new FuseNativeEdge({ request, mountpoint, native, operations, inFlight, guard, log });
  if (onLinux) edge.watchMount();
  return edge;
}

interface EdgeParts {
  readonly request: EdgeRequest;
  readonly mountpoint: string;
  readonly native: NativeMount;
  readonly operations: Operations;
  readonly inFlight: InFlight;
  readonly guard: Guard | undefined;
  readonly log: Logger;
}

class FuseNativeEdge implements Edge, EventSink {
  readonly kind = "fuse-native";
  readonly #parts: EdgeParts;
  readonly #closed = new Deferred<void>();
  /** Set once somebody unmounts, us or others; then nothing is watched any more. */
  #ending: Promise<void> | undefined;
  #watch: Timer | undefined;

  constructor(parts: EdgeParts) {
    this.#parts = parts;
    parts.request.top.addParent(this);
  }

  get mountpoint(): string {
    return this.#parts.mountpoint;
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  dump(): Dump {
    const { operations } = this.#parts;
    return { edge: this.kind, mountpoint: this.mountpoint, openFiles: operations.openFiles };
  }

  unmount(): Promise<void> {
    this.#ending ??= this.#parts.native.unmount().then(() => this.#end());
    return this.#ending;
  }

  onChildEvent(event: ChildEvent): void {
    if (event.type !== "auth-failed") return;
    const { log } = this.#parts;
    log.error("a brick refused this client, unmounting", { why: event.why });
    this.unmount().catch((error) => log.error("unmounting failed", { error: String(error) }));
  }

  /** Begins to look for this very mount now and then; one that is made anew has another id or device. */
  watchMount(): void {
    const entry = mountAt(this.mountpoint);
    if (entry !== undefined) this.#watchEntry(entry);
  }

  #watchEntry(entry: MountEntry): void {
    this.#watch = this.#parts.request.env.clock.after(WATCH_MS, () => {
      if (this.#ending) return;
      if (isMounted(entry)) return this.#watchEntry(entry);
      this.#parts.log.info("unmounted by somebody else", { mountpoint: this.mountpoint });
      this.#ending = this.#end();
    });
  }

  async #end(): Promise<void> {
    this.#watch?.cancel();
    this.#parts.guard?.dismiss();
    await this.#parts.inFlight.drained();
    await this.#parts.operations.closeAll();
    this.#parts.request.top.removeParent(this);
    this.#closed.resolve();
  }
}

/** The process's own user: fuse-native does not tell who asks. */
function ownCall(): Call {
  return {
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    groups: process.getgroups?.() ?? [],
    pid: process.pid,
    lkOwner: Buffer.alloc(0),
  };
}

/**
 * What sees to it that the death of this process leaves no dead mount: the guard of the other edge. libfuse's
 * own auto_unmount comes too early at times, when the kernel has not closed the connection yet. Loaded before
 * there is a mount to guard.
 */
async function loadAfterlife(): Promise<(mountpoint: string, log: Logger) => Guard | undefined> {
  const [{ Guard }, { closeDeviceOnExec }] = await Promise.all([
    import("../dev-fuse/guard.ts"),
    import("./device.ts"),
  ]);
  return (mountpoint, log) => {
    closeDeviceOnExec();
    return Guard.start(mountpoint, process.getuid?.() !== 0, log);
  };
}

/** Whether this very mount stands, be it under another one. */
function isMounted({ id, device }: MountEntry): boolean {
  const table = parseMountTable(readFileSync("/proc/self/mountinfo", "utf8"));
  return table.some((entry) => entry.id === id && entry.device === device);
}

/** The same checks and words as the other edge's, where that one can be loaded. */
async function checkedMountpoint({ mountpoint, options }: EdgeRequest): Promise<string> {
  if (!onLinux) return realpath(mountpoint);
  const { checkMountpoint } = await import("../dev-fuse/mounting.ts");
  return checkMountpoint(mountpoint, options);
}

async function checkDevice(): Promise<void> {
  if (!onLinux) return;
  await access("/dev/fuse", constants.R_OK | constants.W_OK).catch((cause) => {
    const fix = cause.code === "ENOENT" ? "load the kernel module fuse" : "give this user access to it";
    throw new UserError(`mount: edge fuse-native: /dev/fuse: ${cause.code}: ${fix}`, { cause });
  });
}
