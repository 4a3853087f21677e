/**
 * Making and ending a mount: checks of the mount point, then mount(2) as root, or fusermount3 as anybody
 * else.
 *
 * Every refusal is one UserError line. The mount point must be an existing, empty directory that nothing is
 * mounted on: GlusterFS hides what is in the directory, Mortar asks for `-o nonempty` first.
 */

import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { FopError, UserError } from "../../src/core/errors.ts";
import {
  closeQuietly,
  MNT_DETACH,
  MS_RDONLY,
  mount,
  openFuseDevice,
  receiveDescriptor,
  setNonblocking,
  socketPair,
  unmount,
} from "../../src/os/fuse-dev.ts";
import type { MountOptions } from "../options.ts";
import { mountAt } from "./mount-table.ts";
import { maxWriteBytes } from "./negotiate.ts";

export const MOUNT_TYPE = "fuse.mortar";
const FUSERMOUNT = "fusermount3";
const DIRECTORY_MODE_OCTAL = "40000";

/** Checks that a directory can be mounted on; returns its absolute path without symbolic links. */
export async function checkMountpoint(mountpoint: string, options: MountOptions): Promise<string> {
  const path = resolve(mountpoint);
  mustBeFree(path);
  try {
    const real = await realpath(path);
    mustBeFree(real);
    if (!(await stat(real)).isDirectory()) throw refusal(path, "is not a directory");
    if (!options.nonempty && (await readdir(real)).length > 0)
      throw refusal(path, "is not empty; empty it or mount over its files with -o nonempty");
    return real;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw refusal(path, whyNot((error as NodeJS.ErrnoException).code), error);
  }
}

function mustBeFree(path: string): void {
  const mounted = mountAt(path);
  if (mounted?.type.startsWith("fuse"))
    throw refusal(path, `is mounted already (${mounted.source}); unmount it first: umount "${path}"`);
}

function whyNot(code: string | undefined): string {
  switch (code) {
    case "ENOENT":
      return "does not exist; create the directory first";
    case "ENOTDIR":
      return "is not a directory";
    case "EACCES":
      return "may not be read by this user";
    case "ENOTCONN":
      return "is inside a dead FUSE mount (transport endpoint is not connected); unmount that first";
    default:
      return `cannot be used: ${code ?? "unknown error"}`;
  }
}

function refusal(path: string, why: string, cause?: unknown): UserError {
  return new UserError(`mount: mount point "${path}": ${why}`, cause === undefined ? {} : { cause });
}

/** A made mount: an open, nonblocking /dev/fuse that is closed on exec. */
export interface Mounted {
  readonly fd: number;
  readonly byHelper: boolean;
}

/** Mounts on a checked mount point. */
export function makeMount(source: string, point: string, options: MountOptions): Promise<Mounted> {
  return process.getuid?.() === 0
    ? mountAsRoot(source, point, options)
    : mountByHelper(source, point, options);
}

/** Options that the kernel's fuse file system takes. */
function kernelOptions(options: MountOptions, allowOther: boolean): string[] {
  const list = [`max_read=${maxWriteBytes(options)}`];
  if (allowOther && options["allow-other"]) list.push("allow_other");
  if (options["default-permissions"] && !options.acl) list.push("default_permissions");
  return list;
}

async function mountAsRoot(source: string, point: string, options: MountOptions): Promise<Mounted> {
  const fd = openDevice();
  const data = [
    `fd=${fd}`,
    `rootmode=${DIRECTORY_MODE_OCTAL}`,
    "user_id=0",
    "group_id=0",
    ...kernelOptions(options, true),
  ];
  const flags = options["read-only"] ? MS_RDONLY : 0;
  try {
    await mount(source, point, MOUNT_TYPE, flags, data.join(","));
  } catch (error) {
    closeSync(fd);
    throw refusal(point, mountFailure(error), error);
  }
  return { fd, byHelper: false };
}

function openDevice(): number {
  try {
    return openFuseDevice();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENODEV" || code === "ENXIO")
      throw new UserError("mount: /dev/fuse: does not exist; load the kernel module (modprobe fuse)", {
        cause: error,
      });
    throw new UserError(`mount: /dev/fuse: cannot be opened: ${code ?? String(error)}`, { cause: error });
  }
}

function mountFailure(error: unknown): string {
  const code = error instanceof FopError ? error.code : String(error);
  if (code === "EPERM") return "the kernel refuses the mount (EPERM); root needs CAP_SYS_ADMIN here";
  if (code === "ENODEV") return "the kernel has no FUSE; load it (modprobe fuse)";
  return `the kernel refuses the mount: ${code}`;
}

/**
 * fusermount3 opens /dev/fuse, mounts, and sends the descriptor over a socket. allow_other is asked for only
 * when the user did, as /etc/fuse.conf forbids it by default.
 */
async function mountByHelper(source: string, point: string, options: MountOptions): Promise<Mounted> {
  const list = [
    `fsname=${escapeOption(source)}`,
    "subtype=mortar",
    ...kernelOptions(options, options.given.has("allow-other")),
    ...(options["read-only"] ? ["ro"] : []),
  ];
  const [ours, theirs] = socketPair();
  try {
    const exited = runHelper(["-o", list.join(","), "--", point], theirs);
    const fd = await receiveDescriptor(ours);
    const { status, complaint } = await exited;
    if (fd === undefined) throw refusal(point, complaint || `${FUSERMOUNT} failed with status ${status}`);
    setNonblocking(fd);
    return { fd, byHelper: true };
  } finally {
    closeQuietly(ours);
  }
}

interface HelperEnd {
  readonly status: number | null;
  /** What it wrote to standard error, in one line. */
  readonly complaint: string;
}

/** Runs fusermount3; `socket`, if given, becomes its descriptor 3 and is closed here. */
function runHelper(args: readonly string[], socket?: number): Promise<HelperEnd> {
  return new Promise((resolve, reject) => {
    const child = spawn(FUSERMOUNT, args, {
      stdio: ["ignore", "ignore", "pipe", ...(socket === undefined ? [] : [socket])],
      env: { ...process.env, _FUSE_COMMFD: "3" },
    });
    if (socket !== undefined) closeSync(socket);
    let complaint = "";
    child.stderr?.on("data", (bytes) => {
      complaint += String(bytes);
    });
    child.on("error", (error: NodeJS.ErrnoException) => {
      const why =
        error.code === "ENOENT" ? "is not installed; install fuse3, or mount as root" : error.message;
      reject(new UserError(`mount: ${FUSERMOUNT}: ${why}`, { cause: error }));
    });
    child.on("close", (status) => {
      const line = complaint
        .trim()
        .replaceAll("\n", "; ")
        .replace(/^fusermount3: /, "");
      resolve({ status, complaint: line });
    });
  });
}

/** fusermount3 takes commas and backslashes in a value behind a backslash. */
function escapeOption(value: string): string {
  return value.replace(/[\\,]/g, "\\$&");
}

/**
 * Unmounts. Returns "busy" when it was in use and its name was only detached. Throws UserError when the mount
 * is still there.
 */
export async function endMount(point: string, byHelper: boolean): Promise<"clean" | "busy"> {
  if (byHelper) {
    if ((await runHelper(["-u", "--", point])).status === 0) return "clean";
    const { status, complaint } = await runHelper(["-u", "-z", "--", point]);
    if (status !== 0) throw new UserError(`unmount: "${point}": ${complaint}`);
    return "busy";
  }
  try {
    await unmount(point, 0);
    return "clean";
  } catch (error) {
    if (!(error instanceof FopError) || error.code !== "EBUSY") throw unmountFailure(point, error);
  }
  try {
    await unmount(point, MNT_DETACH);
    return "busy";
  } catch (error) {
    throw unmountFailure(point, error);
  }
}

function unmountFailure(point: string, error: unknown): UserError {
  const code = error instanceof FopError ? error.code : String(error);
  return new UserError(`unmount: "${point}": ${code}`, { cause: error });
}
