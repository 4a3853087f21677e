import { createRequire } from "node:module";
import type FuseNative from "fuse-native";
import type { FuseOperations, Signal } from "fuse-native";
import { describe, expect, it } from "vitest";
import { loadFuseNative, NativeMount } from "../../mount/fuse-native/binding.ts";
import { libfuseOptions } from "../../mount/fuse-native/limits.ts";
import { createFlags, OP, requestTimes } from "../../mount/fuse-native/request.ts";
import { parseMountOptions } from "../../mount/options.ts";
import { ERRNO } from "../../src/core/errors.ts";
import { O_CREAT, O_DIRECT, O_EXCL, O_RDWR } from "../../src/core/open-flags.ts";

/** A request struct as the package's C code lays it out. */
function requestStruct(fields: {
  op: number;
  mode?: number;
  atimeMs?: bigint;
  mtimeMs?: bigint;
  info?: bigint;
}) {
  const request = Buffer.alloc(360);
  request.writeUInt32LE(fields.op, 8);
  request.writeBigUInt64LE(fields.info ?? 0n, 48);
  request.writeUInt32LE(fields.mode ?? 0, 80);
  request.writeBigInt64LE(fields.atimeMs ?? 0n, 104);
  request.writeBigInt64LE(fields.mtimeMs ?? 0n, 112);
  return request;
}
const low = (ms: bigint) => Number(BigInt.asUintN(32, ms));
const high = (ms: bigint) => Number(BigInt.asUintN(32, ms >> 32n));

describe("what the package forgets", () => {
  it("is the version whose request struct was read", () => {
    const { version } = createRequire(import.meta.url)("fuse-native/package.json");
    expect(version).toBe("2.2.6");
  });

  it("is found for utimens: the modification time, also before 1970", () => {
    const [atimeMs, mtimeMs] = [1_000_000_000_123n, -5000n];
    const request = requestStruct({ op: OP.utimens, atimeMs, mtimeMs });
    expect(requestTimes(request, low(atimeMs), high(atimeMs))).toEqual({
      atimeMs: 1_000_000_000_123,
      mtimeMs: -5000,
    });
  });

  it("is found for create: the open flags", () => {
    const request = requestStruct({ op: OP.create, mode: 0o100644, info: 0x7f00n });
    const flags = O_RDWR | O_CREAT | O_EXCL | O_DIRECT;
    const read = (address: bigint) => (address === 0x7f00n ? flags : 0);
    expect(createFlags(request, 0o100644, read)).toBe(flags);
  });

  it("is not guessed from a struct that does not fit what the package passed", () => {
    const atimeMs = 5n;
    const times = requestStruct({ op: OP.utimens, atimeMs, mtimeMs: 6n });
    expect(requestTimes(times, 4, 0)).toBeUndefined();
    expect(requestTimes(times, 5, 1)).toBeUndefined();
    expect(requestTimes(times.subarray(8), 5, 0)).toBeUndefined();
    expect(requestTimes(requestStruct({ op: OP.create, atimeMs }), 5, 0)).toBeUndefined();
    const never = () => expect.unreachable("an address was followed");
    const create = requestStruct({ op: OP.create, mode: 0o644, info: 0x7f00n });
    expect(createFlags(create, 0o600, never)).toBeUndefined();
    expect(createFlags(create.subarray(1), 0o644, never)).toBeUndefined();
    expect(createFlags(requestStruct({ op: OP.create, mode: 0o644 }), 0o644, never)).toBeUndefined();
  });
});

/** Stands in for the package: keeps what it was made with, and calls handlers as its native half does. */
class FakeFuse {
  static last: FakeFuse;
  readonly ops: FuseOperations;
  readonly mnt: string;
  readonly timeout: unknown;
  declare _fuseOptions: () => string;
  declare _op_getxattr: (signal: Signal, path: string, name: string, into: Buffer) => void;
  declare _op_listxattr: (signal: Signal, path: string, into: Buffer) => void;
  declare _op_fgetattr: (signal: Signal, path: string, handle: number) => void;

  constructor(mountpoint: string, operations: FuseOperations, options: { timeout: unknown }) {
    this.mnt = mountpoint;
    this.ops = operations;
    this.timeout = options.timeout;
    FakeFuse.last = this;
  }

  /**
   * As in index.js: the request, the operation, then the arguments; the operation's method gets a signal
   * first.
   */
  _makeHandlerArray(): ((request: Buffer, op: number, ...args: unknown[]) => void)[] {
    const self = this as unknown as Record<string, (...args: unknown[]) => void>;
    const handlers = [];
    for (const [name, op] of Object.entries(OP)) {
      handlers[op] = (_request: Buffer, _op: number, ...args: unknown[]) =>
        self[`_op_${name}`]!((...values: unknown[]) => this.signals.push(values), ...args);
    }
    return handlers;
  }
  readonly signals: unknown[][] = [];

  _op_getattr(signal: Signal, target: string | number): void {
    this.ops.getattr(target, signal);
  }
}

function mounted(operations: Partial<FuseOperations>, options: string[] = ["big_writes"]): FakeFuse {
  new NativeMount(FakeFuse as unknown as typeof FuseNative, {
    mountpoint: "/mnt",
    options,
    operations: operations as FuseOperations,
  });
  return FakeFuse.last;
}

describe("the subclass of the package", () => {
  it("passes libfuse's options on as one line and never times out", () => {
    const fuse = mounted({}, ["big_writes", "attr_timeout=0", "direct_io"]);
    expect(fuse._fuseOptions()).toBe("-obig_writes,attr_timeout=0,direct_io");
    expect(fuse.timeout).toBe(false);
  });

  it("refuses a line that the package would cut", () => {
    expect(() => mounted({}, [`fsname=${"x".repeat(1100)}`])).toThrow("shorter than 1024 bytes");
  });

  it("answers getxattr by the rules of the system call", () => {
    const value = Buffer.from("0123456789");
    const fuse = mounted({
      getxattr: (_path, name, done) =>
        done(name === "user.a" ? 0 : -61, name === "user.a" ? value : undefined),
    });
    const ask = (name: string, room: number) => {
      const into = Buffer.alloc(room);
      let answer: unknown[] = [];
      fuse._op_getxattr((...values) => (answer = values), "/f", name, into);
      expect(answer[1], "the memory must go back to libfuse").toBe(into.buffer);
      return { result: answer[0], into };
    };
    expect(ask("user.a", 0).result).toBe(10);
    expect(ask("user.a", 9).result).toBe(-ERRNO.ERANGE);
    expect(ask("user.a", 10)).toEqual({ result: 10, into: value });
    expect(ask("user.b", 10).result).toBe(-61);
  });

  it("answers listxattr by the rules of the system call", () => {
    const fuse = mounted({ listxattr: (_path, done) => done(0, ["user.a", "user.\u00e9"]) });
    const ask = (room: number) => {
      const into = Buffer.alloc(room);
      let result: unknown;
      fuse._op_listxattr((...values) => ([result] = values), "/f", into);
      return { result, text: into.toString() };
    };
    expect(ask(0).result).toBe(15);
    expect(ask(14).result).toBe(-ERRNO.ERANGE);
    expect(ask(15)).toEqual({ result: 15, text: "user.a\0user.\u00e9\0" });
  });

  it("asks for the attributes of an open file by its handle", () => {
    let asked: unknown;
    const fuse = mounted({ getattr: (target) => (asked = target) });
    fuse._op_fgetattr(() => {}, "/.fuse_hidden1", 7);
    expect(asked).toBe(7);
  });

  it("sets both times of utimens, or none", () => {
    const calls: unknown[] = [];
    const fuse = mounted({ utimens: (path, atimeMs, mtimeMs) => calls.push([path, atimeMs, mtimeMs]) });
    const handler = fuse._makeHandlerArray()[OP.utimens]!;
    const request = requestStruct({ op: OP.utimens, atimeMs: 5n, mtimeMs: 6n });
    handler(request, OP.utimens, "/f", 5, 0, 5, 0);
    expect(calls).toEqual([["/f", 5, 6]]);
    handler(request, OP.utimens, "/f", 9, 0, 9, 0);
    expect(calls).toHaveLength(1);
    expect(fuse.signals).toEqual([[-ERRNO.EOPNOTSUPP]]);
  });

  it("refuses create when the flags cannot be known", () => {
    const fuse = mounted({ create: () => expect.unreachable("created with made-up flags") });
    const handler = fuse._makeHandlerArray()[OP.create]!;
    handler(requestStruct({ op: OP.create, mode: 0o644 }), OP.create, "/f", 0o600);
    expect(fuse.signals).toEqual([[-ERRNO.EOPNOTSUPP]]);
  });
});

describe("loading the package", () => {
  it("names the missing library and the package that has it", async () => {
    const load = () => Promise.reject(new Error("libfuse.so.2: cannot open shared object file\nmore"));
    await expect(loadFuseNative(load)).rejects.toThrow(
      "mount: edge fuse-native: libfuse.so.2: cannot open shared object file: " +
        "install libfuse 2 (Debian: apt-get install libfuse2), or use --edge dev-fuse",
    );
  });

  it("says so when there is no build for the system", async () => {
    const load = () => Promise.reject(new Error("No native build was found for platform=linux arch=riscv64"));
    await expect(loadFuseNative(load)).rejects.toThrow(
      "it has no build for this system, or use --edge dev-fuse",
    );
  });
});

describe("mount options", () => {
  const lines = (text: Record<string, string | undefined>) =>
    libfuseOptions("host:/vol", parseMountOptions(new Map(Object.entries(text))).options);

  it("become libfuse's own", () => {
    expect(lines({ "attribute-timeout": "0", "entry-timeout": "2.5", ro: undefined })).toEqual(
      expect.arrayContaining([
        "attr_timeout=0",
        "entry_timeout=2.5",
        "ro",
        "big_writes",
        "use_ino",
        "max_write=131072",
      ]),
    );
    expect(lines({ "direct-io-mode": "enable" })).toContain("direct_io");
    expect(lines({})).not.toContain("direct_io");
    expect(lines({})).not.toContain("allow_other");
  });

  it("keep a comma of the source inside its option", () => {
    const options = libfuseOptions("a,b\\c", parseMountOptions(new Map()).options);
    expect(options).toContain("fsname=a\\,b\\\\c");
  });

  it.each(["allow-other", "kernel-writeback-cache", "acl", "selinux", "capability"])(
    "refuse %s, with the reason and the way out",
    (name) => {
      expect(() => lines({ [name]: "on" })).toThrow(new RegExp(`option ${name}: .+; use --edge dev-fuse$`));
      expect(() => lines({ [name]: "off" })).not.toThrow();
    },
  );
});
