/**
 * The fuse-native package, loaded only when it is asked for, with what this edge needs beyond it.
 *
 * A subclass replaces the package's option line (it knows neither big_writes nor direct_io and drops zeros),
 * unmounting (it pastes the mount point into a shell line), getxattr and listxattr (no check that the
 * caller's buffer is big enough, so libfuse would answer with memory behind it), fgetattr (by path), utimens
 * and create (request.ts).
 * Source: index.js and fuse-native.c of fuse-native 2.2.6.
 */

import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import type FuseNative from "fuse-native";
import type { FuseOperations, Handler, Signal } from "fuse-native";
import { ERRNO, UserError } from "../../src/core/errors.ts";
import { encodeName } from "../../src/core/name.ts";
import { createFlags, OP, requestTimes } from "./request.ts";

/** The package copies the option line and the mount point into C arrays of this size. */
const C_STRING_BYTES = 1024;

export interface NativeMountInit {
  /** Absolute, symbolic links resolved. */
  readonly mountpoint: string;
  /** libfuse's own mount options, as they stand after -o. */
  readonly options: readonly string[];
  readonly operations: FuseOperations;
}

/**
 * Loads the package and with it libfuse 2.
 * @throws UserError: what is missing, in one line
 */
export async function loadFuseNative(
  load: () => Promise<{ default: typeof FuseNative }> = () => import("fuse-native"),
): Promise<typeof FuseNative> {
  try {
    return (await load()).default;
  } catch (error) {
    const why = (error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "";
    const fix = why.includes("libfuse")
      ? "install libfuse 2 (Debian: apt-get install libfuse2)"
      : "it has no build for this system";
    throw new UserError(`mount: edge fuse-native: ${why}: ${fix}, or use --edge dev-fuse`, { cause: error });
  }
}

/** A mount by libfuse 2; `mount` and `unmount` once each. */
export class NativeMount {
  readonly #fuse: FuseNative;

  constructor(Fuse: typeof FuseNative, init: NativeMountInit) {
    const line = `-o${init.options.join(",")}`;
    if (encodeName(line).length >= C_STRING_BYTES || encodeName(init.mountpoint).length >= C_STRING_BYTES) {
      throw new UserError(
        `mount: edge fuse-native: mount point and options must each be shorter than ${C_STRING_BYTES} bytes`,
      );
    }
    this.#fuse = new (subclass(Fuse))(init.mountpoint, init.operations, line);
  }

  /** Resolves when the kernel's first request has arrived. */
  mount(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#fuse.mount((error) => (error ? reject(error) : resolve()));
    });
  }

  /** Detaches the mount point: new paths fail at once, files that are open still end orderly. */
  unmount(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#fuse.unmount((error) => (error ? reject(error) : resolve()));
    });
  }
}

type FuseSubclass = new (mountpoint: string, operations: FuseOperations, line: string) => FuseNative;

function subclass(Fuse: typeof FuseNative): FuseSubclass {
  return class MortarFuse extends Fuse {
    readonly #line: string;

    constructor(mountpoint: string, operations: FuseOperations, line: string) {
      // The package would give up on a request after 15 s and free its memory, though a fop may still use it.
      super(mountpoint, operations, { timeout: false });
      this.#line = line;
    }

    protected override _fuseOptions(): string {
      return this.#line;
    }

    /** Appends the request struct to the arguments of the two operations that need to look into it. */
    protected override _makeHandlerArray(): Handler[] {
      const handlers = super._makeHandlerArray();
      for (const op of [OP.utimens, OP.create]) {
        const handler = handlers[op]!;
        handlers[op] = (request, number, ...args) => handler(request, number, ...args, request);
      }
      return handlers;
    }

    protected override _op_fgetattr(signal: Signal, _path: string, handle: number): void {
      this._op_getattr(signal, handle);
    }

    protected override _op_utimens(signal: Signal, path: string, ...rest: unknown[]): void {
      const [low, high, , , request] = rest as [number, number, number, number, Buffer];
      const times = requestTimes(request, low, high);
      if (times === undefined) signal(-ERRNO.EOPNOTSUPP);
      else this.ops.utimens(path, times.atimeMs, times.mtimeMs, signal);
    }

    protected override _op_create(signal: Signal, path: string, mode: number, ...rest: unknown[]): void {
      const flags = createFlags(rest[0] as Buffer, mode);
      if (flags === undefined) signal(-ERRNO.EOPNOTSUPP);
      else this.ops.create(path, mode, flags, signal);
    }

    protected override _op_getxattr(signal: Signal, path: string, name: string, into: Buffer): void {
      this.ops.getxattr(path, name, (result, value) => {
        signal(value === undefined ? result : fill(into, value), into.buffer);
      });
    }

    protected override _op_listxattr(signal: Signal, path: string, into: Buffer): void {
      this.ops.listxattr(path, (result, names) => {
        signal(names === undefined ? result : fill(into, nameList(names)), into.buffer);
      });
    }

    protected override _close(done: (error: Error | null) => void): void {
      detach(this.mnt, (error) => {
        if (error === null) releaseEventLoop(this.mnt, this._thread);
        done(error);
      });
    }
  };
}

/**
 * The rules of getxattr(2): the length, and the bytes if there is room; a buffer of no bytes asks for the
 * length.
 */
function fill(into: Buffer, value: Buffer): number {
  if (into.length > 0) {
    if (value.length > into.length) return -ERRNO.ERANGE;
    value.copy(into);
  }
  return value.length;
}

/** Names as listxattr(2) gives them, each with a NUL behind it. */
function nameList(names: readonly string[]): Buffer {
  return encodeName(names.map((name) => `${name}\0`).join(""));
}

/**
 * Unmounts lazily. fusermount works for root and others alike; where libfuse 2 brought none, umount is left.
 */
function detach(mountpoint: string, done: (error: Error | null) => void): void {
  execFile("fusermount", ["-u", "-z", "--", mountpoint], (error) => {
    if (error?.code !== "ENOENT") return done(error);
    const [command, args] =
      process.platform === "darwin" ? ["diskutil", ["unmount", "force"]] : ["umount", ["-l"]];
    execFile(command as string, [...(args as string[]), mountpoint], done);
  });
}

/** Lets the package's wake-up handle go; otherwise it keeps the process alive for ever. */
function releaseEventLoop(mountpoint: string, thread: Buffer | null): void {
  const require = createRequire(import.meta.url);
  const load = require("node-gyp-build") as (directory: string) => {
    fuse_native_unmount(mountpoint: string, thread: Buffer | null): void;
  };
  load(dirname(require.resolve("fuse-native"))).fuse_native_unmount(mountpoint, thread);
}
