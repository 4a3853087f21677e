import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FailureLog } from "../../mount/failures.ts";
import { callbacks, InFlight } from "../../mount/fuse-native/callbacks.ts";
import { Operations } from "../../mount/fuse-native/operations.ts";
import { internalCall } from "../../src/core/call.ts";
import { nodeEnv } from "../../src/core/env-node.ts";
import { ERRNO, FopError } from "../../src/core/errors.ts";
import type { FopName } from "../../src/core/fops.ts";
import { SILENT } from "../../src/core/log.ts";
import { O_CREAT, O_DIRECT, O_EXCL, O_RDONLY, O_RDWR, O_SYNC, O_TRUNC } from "../../src/core/open-flags.ts";
import type { XlatorBase } from "../../src/core/xlator.ts";
import { type StartedGraph, startGraph } from "../support/build-graph.ts";
import { FakeClock, MemoryLog } from "../support/fake-env.ts";

const MEMORY = "volume brick\n type storage/memory\nend-volume\n";
const { clock } = nodeEnv(SILENT);

let graph: StartedGraph;
/** Fops in the order they came in, with their args. */
let seen: { fop: string; args: unknown }[];
let top: XlatorBase;
let operations: Operations;

beforeEach(async () => {
  graph = await startGraph(MEMORY);
  seen = [];
  top = spy(graph.top);
  operations = new Operations({ top, clock, entryTtlMs: 60_000, call: internalCall() });
});
afterEach(() => graph[Symbol.asyncDispose]());

/** The translator with every call of it recorded, and some fops replaced. */
function spy(target: XlatorBase, replaced: Partial<Record<FopName, unknown>> = {}): XlatorBase {
  return new Proxy(target, {
    get(object, key) {
      const own = Reflect.get(object, key);
      const value = replaced[key as FopName] ?? own;
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        seen.push({ fop: String(key), args: args[1] ?? args[0] });
        return value.apply(object, args);
      };
    },
  });
}

function fops(): string[] {
  return seen.map(({ fop }) => fop);
}

function argsOf<T>(fop: string): T {
  const last = seen.findLast((one) => one.fop === fop);
  expect(last, `no ${fop} was sent`).toBeDefined();
  return last!.args as T;
}

async function makeFile(path: string, content = "content"): Promise<void> {
  const handle = await operations.create(path, 0o644, O_RDWR | O_CREAT);
  await operations.write(handle, Buffer.from(content), 0);
  await operations.release(handle);
}

describe("files", () => {
  it("give back what was written, short at their end", async () => {
    const handle = await operations.create("/f", 0o640, O_RDWR | O_CREAT);
    expect(await operations.write(handle, Buffer.from("hello world"), 3)).toBe(11);
    const into = Buffer.alloc(100, "?");
    expect(await operations.read(handle, into, 100, 0)).toBe(14);
    expect(into.toString("latin1", 0, 15)).toBe("\0\0\0hello world?");
    expect(await operations.fgetattr(handle)).toMatchObject({ size: 14, mode: 0o100640 });
    await operations.release(handle);
    expect(operations.openFiles).toBe(0);
  });

  it("are created and opened with the flags that the caller gave", async () => {
    const flags = O_RDWR | O_CREAT | O_EXCL | O_SYNC | O_DIRECT;
    const handle = await operations.create("/f", 0o600, flags);
    const { fd, flags: sent } = argsOf<{ fd: { flags: number }; flags: number }>("create");
    expect(sent).toBe(flags);
    expect(fd.flags).toBe(O_RDWR | O_SYNC | O_DIRECT);
    await operations.release(handle);
    const again = operations.create("/f", 0o600, flags);
    await expect(again).rejects.toMatchObject({ code: "EEXIST" });
    const opened = await operations.open("/f", O_RDWR | O_DIRECT | O_TRUNC);
    expect(argsOf<{ flags: number }>("open").flags).toBe(O_RDWR | O_DIRECT);
    await operations.release(opened);
  });

  it("are never opened twice under one inode object that is not the table's own", async () => {
    await makeFile("/f");
    const { fd: first } = argsOf<{ fd: { inode: unknown } }>("create");
    const handle = await operations.create("/f", 0o644, O_RDWR | O_CREAT);
    const { fd } = argsOf<{ fd: { inode: unknown } }>("open");
    expect(fd.inode).toBe(first.inode);
    await operations.release(handle);
  });

  it("carry their open flags with each read and write", async () => {
    await makeFile("/f");
    const handle = await operations.open("/f", O_RDWR | O_SYNC);
    await operations.write(handle, Buffer.from("x"), 0);
    expect(argsOf<{ flags: number }>("writev").flags).toBe(O_RDWR | O_SYNC);
    await operations.read(handle, Buffer.alloc(1), 1, 0);
    expect(argsOf<{ flags: number }>("readv").flags).toBe(O_RDWR | O_SYNC);
    await operations.release(handle);
  });

  it("give the memory of a read back, and never write past the caller's buffer", async () => {
    let released = 0;
    const data = [Buffer.alloc(6, "a"), Buffer.alloc(6, "b")];
    const readv = async () => ({ data, size: 12, eof: false, lease: { release: () => released++ } });
    const above = new Operations({
      top: spy(graph.top, { readv }),
      clock,
      entryTtlMs: 0,
      call: internalCall(),
    });
    const handle = await above.create("/f", 0o644, O_RDWR | O_CREAT);
    const memory = Buffer.alloc(12, "?");
    expect(await above.read(handle, memory.subarray(0, 8), 8, 0)).toBe(8);
    expect(memory.toString()).toBe("aaaaaabb????");
    expect(released).toBe(1);
  });

  it("past 2^53 are refused, as fuse-native rounded the offset already", async () => {
    const handle = await operations.create("/f", 0o644, O_RDWR | O_CREAT);
    const far = 2 ** 53;
    await expect(operations.write(handle, Buffer.alloc(1), far)).rejects.toMatchObject({ code: "EFBIG" });
    await expect(operations.read(handle, Buffer.alloc(1), 1, far)).rejects.toMatchObject({ code: "EFBIG" });
    await expect(operations.ftruncate(handle, far)).rejects.toMatchObject({ code: "EFBIG" });
    await expect(operations.truncate("/f", far)).rejects.toMatchObject({ code: "EFBIG" });
  });

  it("under a handle that is not open are EBADF", async () => {
    const handle = await operations.create("/f", 0o644, O_RDWR | O_CREAT);
    await operations.release(handle);
    for (const work of [
      operations.read(handle, Buffer.alloc(1), 1, 0),
      operations.fsync(handle, true),
      operations.flush(handle),
      operations.release(handle),
      operations.fgetattr(0),
    ])
      await expect(work).rejects.toMatchObject({ code: "EBADF" });
  });

  it("that the kernel left open are closed with the mount", async () => {
    await operations.create("/a", 0o644, O_RDWR | O_CREAT);
    await operations.create("/b", 0o644, O_RDWR | O_CREAT);
    await operations.closeAll();
    expect(operations.openFiles).toBe(0);
    expect(fops().filter((fop) => fop === "release")).toHaveLength(2);
  });
});

describe("names", () => {
  it("lead to renamed, replaced and linked files at once", async () => {
    await operations.mkdir("/d", 0o755);
    await makeFile("/d/old", "old");
    await makeFile("/target", "replaced");
    await operations.rename("/d/old", "/target");
    expect(await operations.getattr("/target")).toMatchObject({ size: 3 });
    await expect(operations.getattr("/d/old")).rejects.toMatchObject({ code: "ENOENT" });
    await operations.link("/target", "/d/second");
    const [one, two] = [await operations.getattr("/target"), await operations.getattr("/d/second")];
    expect(one).toMatchObject({ nlink: 2, ino: two.ino });
    await operations.rename("/d", "/e");
    expect(await operations.getattr("/e/second")).toEqual(two);
    await operations.unlink("/e/second");
    await operations.rmdir("/e");
    await expect(operations.getattr("/e")).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("of symbolic links lead to the link, not to its target", async () => {
    await operations.symlink("no/where", "/s");
    expect(await operations.readlink("/s")).toBe("no/where");
    expect((await operations.getattr("/s")).mode & 0o170000).toBe(0o120000);
  });

  it("that were not UTF-8 never make or remove anything", async () => {
    const bad = "/caf\ufffd";
    await makeFile("/f");
    seen.length = 0;
    for (const work of [
      () => operations.mkdir(bad, 0o755),
      () => operations.mknod(bad, 0o100644, 0),
      () => operations.create(bad, 0o644, O_RDWR),
      () => operations.symlink("x", bad),
      async () => operations.symlink("bad\ufffd", "/s"),
      () => operations.link("/f", bad),
      () => operations.rename("/f", bad),
      () => operations.unlink(bad),
    ])
      await expect(work()).rejects.toMatchObject({ code: "EINVAL" });
    const changes = ["mkdir", "mknod", "create", "symlink", "link", "rename", "unlink"];
    expect(fops().filter((fop) => changes.includes(fop))).toEqual([]);
  });

  it("in a directory are listed whole, with types, however many there are", async () => {
    const wanted = Array.from({ length: 3000 }, (_, i) => `entry-with-a-rather-long-name-${i}`);
    await operations.mkdir("/d", 0o755);
    for (const name of wanted) await operations.mknod(`/d/${name}`, 0o100644, 0);
    const { names, stats } = await operations.readdir("/d");
    expect(names.toSorted()).toEqual([".", "..", ...wanted].toSorted());
    expect(stats).toHaveLength(names.length);
    expect(stats[names.indexOf(wanted[7]!)]!.mode & 0o170000).toBe(0o100000);
    expect(fops().filter((fop) => fop === "readdirp").length).toBeGreaterThan(1);
    expect(fops()).toContain("releasedir");
  });

  it("found stale are looked up again, once", async () => {
    await makeFile("/f");
    let fails = 1;
    const stat = async (...args: Parameters<XlatorBase["setattr"]>) => {
      if (fails-- > 0) throw new FopError("ESTALE");
      return graph.top.setattr(...args);
    };
    const above = new Operations({
      top: spy(graph.top, { setattr: stat }),
      clock,
      entryTtlMs: 60_000,
      call: internalCall(),
    });
    await above.getattr("/f");
    await above.chmod("/f", 0o600);
    fails = 2;
    await expect(above.chmod("/f", 0o600)).rejects.toMatchObject({ code: "ESTALE" });
  });
});

describe("attributes", () => {
  beforeEach(() => makeFile("/f"));

  it("are set one at a time; an owner of -1 stays", async () => {
    await operations.chmod("/f", 0o4711);
    await operations.chown("/f", 7, 0xffffffff);
    await operations.utimens("/f", 1_000_000_000_123, 2_000_000_000_987);
    const stat = await operations.getattr("/f");
    expect(stat).toMatchObject({ uid: 7, gid: 0, atime: 1_000_000_000_123, mtime: 2_000_000_000_987 });
    seen.length = 0;
    await operations.chown("/f", 0xffffffff, 0xffffffff);
    expect(seen).toEqual([]);
  });

  it("keep device numbers", async () => {
    await operations.mknod("/dev", 0o060640, 0x11_11_12_70);
    expect(await operations.getattr("/dev")).toMatchObject({ mode: 0o060640, rdev: 0x11_11_12_70 });
  });
});

describe("extended attributes", () => {
  beforeEach(() => makeFile("/f"));

  it("are set, read, listed and removed", async () => {
    await operations.setxattr("/f", "user.a", Buffer.from("one"), 0);
    await operations.setxattr("/f", "user.b", Buffer.alloc(0), 0);
    expect((await operations.getxattr("/f", "user.a")).toString()).toBe("one");
    expect(await operations.getxattr("/f", "user.b")).toHaveLength(0);
    expect((await operations.listxattr("/f")).toSorted()).toEqual(["user.a", "user.b"]);
    await operations.removexattr("/f", "user.a");
    await expect(operations.getxattr("/f", "user.a")).rejects.toMatchObject({ code: "ENODATA" });
    const twice = operations.setxattr("/f", "user.b", Buffer.alloc(1), 1);
    await expect(twice).rejects.toMatchObject({ code: "EEXIST" });
  });

  it("keep the bytes they were given when the package's memory changes", async () => {
    const value = Buffer.from("kept");
    await operations.setxattr("/f", "user.a", value, 0);
    value.fill("?");
    expect((await operations.getxattr("/f", "user.a")).toString()).toBe("kept");
  });

  it("of the volume itself cannot be set; labels are answered without asking a brick", async () => {
    const gfid = operations.setxattr("/f", "trusted.gfid", Buffer.alloc(16), 0);
    await expect(gfid).rejects.toMatchObject({ code: "EPERM" });
    seen.length = 0;
    await expect(operations.getxattr("/f", "security.capability")).rejects.toMatchObject({ code: "ENODATA" });
    expect(seen).toEqual([]);
  });
});

describe("directories", () => {
  it("are synced through a handle of their own", async () => {
    await operations.mkdir("/d", 0o755);
    seen.length = 0;
    await operations.fsyncdir("/d", false);
    expect(fops()).toEqual(["opendir", "fsyncdir", "releasedir"]);
  });

  it("of the volume can be the root", async () => {
    await operations.mkdir("/d", 0o755);
    await makeFile("/d/f", "below");
    await operations.useRoot("/d");
    expect(await operations.getattr("/f")).toMatchObject({ size: 5 });
    const missing = operations.useRoot("/none");
    await expect(missing).rejects.toThrow('the volume\'s directory "/none": ENOENT');
  });
});

describe("answers to libfuse", () => {
  const log = new MemoryLog();
  const failures = new FailureLog(log, new FakeClock());
  const done = <T>(start: (done: (result: number, value?: T) => void) => void) =>
    new Promise<[number, T | undefined]>((resolve) => start((result, value) => resolve([result, value])));

  it("are counts, values and negative errnos", async () => {
    const table = callbacks(operations, new InFlight(), failures);
    const [created, handle] = await done<number>((cb) => table.create("/f", 0o644, O_RDWR | O_CREAT, cb));
    expect(created).toBe(0);
    expect(handle).toBeGreaterThan(0);
    expect(await done((cb) => table.write("/f", handle!, Buffer.from("abc"), 3, 0, cb))).toEqual([
      3,
      undefined,
    ]);
    const into = Buffer.alloc(8);
    expect(await done((cb) => table.read("/f", handle!, into, 8, 0, cb))).toEqual([3, undefined]);
    const [result, stat] = await done((cb) => table.getattr(handle!, cb));
    expect([result, stat]).toEqual([0, expect.objectContaining({ size: 3 })]);
    expect(await done((cb) => table.getattr("/none", cb))).toEqual([-ERRNO.ENOENT, undefined]);
    expect(await done((cb) => table.open("/none", O_RDONLY, cb))).toEqual([-ERRNO.ENOENT, undefined]);
    expect(await done((cb) => table.rmdir("/f", cb))).toEqual([-ERRNO.ENOTDIR, undefined]);
  });

  it("pass every errno of a brick on", async () => {
    for (const code of ["ENOSPC", "EDQUOT", "EROFS", "ENOTCONN", "EIO"] as const) {
      const fsync = async () => {
        throw new FopError(code);
      };
      const above = new Operations({
        top: spy(graph.top, { fsync }),
        clock,
        entryTtlMs: 0,
        call: internalCall(),
      });
      const handle = await above.create(`/${code}`, 0o644, O_RDWR | O_CREAT);
      const table = callbacks(above, new InFlight(), failures);
      expect(await done((cb) => table.fsync("", 0, handle, cb))).toEqual([-ERRNO[code], undefined]);
    }
    expect(log.lines.map(({ level }) => level)).toEqual(Array(5).fill("warn"));
    log.lines.length = 0;
  });

  it("to a bug are EIO, and the log has it whole", async () => {
    const bug = new TypeError("x is not a function");
    const statfs = async () => {
      throw bug;
    };
    const above = new Operations({
      top: spy(graph.top, { statfs }),
      clock,
      entryTtlMs: 0,
      call: internalCall(),
    });
    const table = callbacks(above, new InFlight(), failures);
    expect(await done((cb) => table.statfs("/", cb))).toEqual([-ERRNO.EIO, undefined]);
    expect(log.lines).toMatchObject([{ level: "error", fields: { operation: "statfs", error: bug } }]);
  });

  it("are waited for at the end of a mount", async () => {
    let answer = (): void => {};
    const statfs = () => new Promise((_, reject) => (answer = () => reject(new FopError("EIO"))));
    const above = new Operations({
      top: spy(graph.top, { statfs }),
      clock,
      entryTtlMs: 0,
      call: internalCall(),
    });
    const inFlight = new InFlight();
    const order: string[] = [];
    callbacks(above, inFlight, failures).statfs("/", () => order.push("answered"));
    const drained = inFlight.drained().then(() => order.push("drained"));
    await new Promise(setImmediate);
    expect(order).toEqual([]);
    answer();
    await drained;
    expect(order).toEqual(["answered", "drained"]);
    await inFlight.drained();
  });
});
