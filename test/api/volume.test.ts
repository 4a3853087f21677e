/**
 * A volume in-process: files by path, symbolic links, errors as path_resolution(7) has them, and opening from
 * a SOURCE.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type File, flags, type Identity, openVolume, Volume } from "../../src/api/index.ts";
import type { Trace } from "../../xlators/debug/trace.ts";
import { type StartedGraph, stack, startGraph } from "../support/build-graph.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = flags;

let started: StartedGraph;
let volume: Volume;
beforeEach(async () => {
  const memory = { name: "memory", type: "storage/memory" };
  const locks = { name: "locks", type: "features/locks" };
  started = await startGraph(stack(memory, locks, { name: "ac", type: "features/access-control" }));
  volume = new Volume(started.graph);
});
afterEach(() => volume.close());

async function put(path: string, text: string): Promise<void> {
  const file = await volume.open(path, O_CREAT | O_WRONLY | O_TRUNC);
  await file.write(0, Buffer.from(text));
  await file.close();
}

async function get(path: string): Promise<string> {
  const file = await volume.open(path);
  const text = (await file.read(0, 1 << 20)).toString();
  await file.close();
  return text;
}

async function names(path: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of volume.readdir(path)) found.push(entry.name);
  return found.sort();
}

function as(identity: Identity): Volume {
  return new Volume(started.graph, identity);
}

describe("files", () => {
  it("are made, written, read and removed", async () => {
    await put("/a", "hello");
    expect(await get("a")).toBe("hello");
    expect(await volume.stat("/a")).toMatchObject({ size: 5, mode: 0o100644, nlink: 1 });
    await volume.unlink("/a");
    await expect(volume.open("/a")).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("follow O_CREAT, O_EXCL and O_TRUNC", async () => {
    await put("/a", "hello");
    await expect(volume.open("/a", O_CREAT | O_EXCL | O_RDWR)).rejects.toMatchObject({ code: "EEXIST" });
    await (await volume.open("/a", O_CREAT | O_RDWR)).close();
    expect(await get("/a")).toBe("hello");
    await (await volume.open("/a", O_TRUNC | O_RDWR)).close();
    expect(await get("/a")).toBe("");
    const made = await volume.open("/b", O_CREAT | O_EXCL | O_RDWR, 0o600);
    expect((await made.stat()).mode & 0o777).toBe(0o600);
    await made.close();
  });

  it("have holes, sizes and ranges", async () => {
    const file = await volume.open("/a", O_CREAT | O_RDWR);
    await file.write(8192, [Buffer.from("x".repeat(4096)), Buffer.from("y".repeat(4096))]);
    expect((await file.read(0, 100)).equals(Buffer.alloc(100))).toBe(true);
    expect(await file.seek(0, "data")).toBe(8192);
    await file.discard(8192, 4096);
    expect((await file.read(8192, 1))[0]).toBe(0);
    await file.zerofill(12288, 4096);
    await file.truncate(100);
    expect((await file.stat()).size).toBe(100);
    await file.fallocate(0, 4096);
    expect((await file.stat()).size).toBe(4096);
    await file.fallocate(0, 8192, true);
    expect((await file.stat()).size).toBe(4096);
    await expect(file.seek(4096, "hole")).rejects.toMatchObject({ code: "ENXIO" });
    await file.fsync();
    await file.fdatasync();
    await file.close();
  });

  it("tell the end of the file with a read", async () => {
    await put("/a", "hello");
    const file = await volume.open("/a");
    const result = await file.readVector(3, 100);
    expect(result).toMatchObject({ size: 2, eof: true });
    result.release();
    expect(await file.read(5, 10)).toHaveLength(0);
    await file.close();
  });

  it("are closed once, and not used after", async () => {
    await put("/a", "hello");
    const file = await volume.open("/a");
    await file.close();
    await file.close();
    await expect(file.read(0, 1)).rejects.toMatchObject({ code: "EBADF" });
  });

  it("stay readable while open after their name went", async () => {
    await put("/a", "hello");
    const file = await volume.open("/a");
    await volume.unlink("/a");
    expect((await file.read(0, 5)).toString()).toBe("hello");
    await file.close();
  });

  it("keep locks of different openers apart", async () => {
    await put("/a", "hello");
    const files: File[] = [await volume.open("/a", O_RDWR), await volume.open("/a", O_RDWR)];
    const [one, two] = files as [File, File];
    await one.lock({ type: "wrlck", start: 0, len: 10 });
    await expect(two.lock({ type: "rdlck", start: 5, len: 1 })).rejects.toMatchObject({ code: "EAGAIN" });
    expect(await two.testLock({ type: "rdlck", start: 5, len: 1 })).toEqual({
      type: "wrlck",
      start: 0,
      len: 10,
    });
    expect(await two.testLock({ type: "wrlck", start: 10, len: 0 })).toBeUndefined();
    const waiting = two.lock({ type: "wrlck", start: 0, len: 0 }, { wait: true });
    await one.close();
    await waiting;
    await two.close();
  });
});

describe("names", () => {
  it("are listed, renamed, linked", async () => {
    await volume.mkdir("/d", 0o700);
    await put("/d/a", "1");
    await volume.link("/d/a", "/d/b");
    await volume.rename("/d/a", "/c");
    expect(await names("/")).toEqual(["c", "d"]);
    expect(await names("/d")).toEqual(["b"]);
    expect((await volume.stat("/c")).nlink).toBe(2);
    await expect(volume.rmdir("/d")).rejects.toMatchObject({ code: "ENOTEMPTY" });
    await volume.unlink("/d/b");
    await volume.rmdir("/d");
    await volume.mknod("/pipe", 0o010600);
    expect((await volume.stat("/pipe")).mode).toBe(0o010600);
  });

  it("are found through symbolic links, and lstat does not follow the last one", async () => {
    await volume.mkdir("/d");
    await put("/d/file", "1");
    await volume.symlink("d", "/rel");
    await volume.symlink("/rel/../rel/file", "/d/abs");
    expect(await get("/d/abs")).toBe("1");
    expect(await get("/rel/./file")).toBe("1");
    expect(await volume.readlink("/rel")).toBe("d");
    expect((await volume.lstat("/rel")).mode & 0o170000).toBe(0o120000);
    expect((await volume.stat("/rel")).mode & 0o170000).toBe(0o040000);
    await expect(volume.open("/d/abs", O_RDONLY | O_NOFOLLOW)).rejects.toMatchObject({ code: "ELOOP" });
    await volume.symlink("/d/above/../../../file", "/d/up");
    await expect(volume.stat("/d/up")).rejects.toMatchObject({ code: "ENOENT" });
  });

  it.each([
    ["/none", "ENOENT"],
    ["/file/x", "ENOTDIR"],
    ["/loop", "ELOOP"],
    [`/${"n".repeat(256)}`, "ENAMETOOLONG"],
    ["/a\0b", "EINVAL"],
    [`/${"d/".repeat(3000)}`, "ENAMETOOLONG"],
  ])("%j answers %s", async (path, code) => {
    await put("/file", "");
    await volume.symlink("/loop", "/loop");
    await expect(volume.stat(path)).rejects.toMatchObject({ code });
  });

  it("cost a lookup a component, and none for the root once it was seen", async () => {
    const trace = { name: "trace", type: "debug/trace" };
    await using traced = await startGraph(stack({ name: "memory", type: "storage/memory" }, trace));
    const { history } = traced.xlator<Trace>("trace");
    const other = new Volume(traced.graph);
    await other.mkdir("/d");
    await (await other.open("/d/a", O_CREAT | O_RDWR)).close();
    const before = history.length;
    await (await other.open("/d/a", O_RDWR)).close();
    await other.unlink("/d/a");
    const calls = history.slice(before).filter(({ stage }) => stage === "call");
    const opening = ["lookup", "lookup", "open"];
    const unlinking = ["lookup", "lookup", "unlink"];
    expect(calls.map(({ what }) => what)).toEqual([...opening, "flush", ...unlinking]);
    expect((await other.stat("/d/..")).mode & 0o170000).toBe(0o040000);
  });

  it("cannot be the root, or end in dots, where a name is made or removed", async () => {
    await expect(volume.mkdir("/")).rejects.toMatchObject({ code: "EBUSY" });
    await expect(volume.unlink("/a/..")).rejects.toMatchObject({ code: "EINVAL" });
    await expect(volume.open("/")).rejects.toMatchObject({ code: "EISDIR" });
  });

  it("keep bytes that are no UTF-8", async () => {
    const odd = "/odd-\udcff\udc80";
    await put(odd, "1");
    expect(await names("/")).toEqual([odd.slice(1)]);
    expect(await get(odd)).toBe("1");
  });
});

describe("attributes", () => {
  it("are changed, times to the nanosecond, of links themselves where the name says so", async () => {
    await put("/a", "1");
    await volume.symlink("a", "/l");
    expect((await volume.chmod("/l", 0o600)).mode & 0o7777).toBe(0o600);
    await volume.lchown("/l", 5, 6);
    expect(await volume.stat("/a")).toMatchObject({ uid: 0, mode: 0o100600 });
    expect(await volume.lstat("/l")).toMatchObject({ uid: 5, gid: 6 });
    const times = { atime: { sec: -1, nsec: 1 }, mtime: { sec: 1234567890, nsec: 987654321 } };
    await volume.lutimes("/a", times);
    expect(await volume.stat("/a")).toMatchObject({
      atime: -1,
      atimeNsec: 1,
      mtime: 1234567890,
      mtimeNsec: 987654321,
    });
    await volume.truncate("/a", 10);
    expect((await volume.stat("/a")).size).toBe(10);
    expect((await volume.statfs()).namemax).toBe(255);
  });

  it("include xattrs, by path and by file", async () => {
    await put("/a", "1");
    await volume.setxattr("/a", "user.one", Buffer.from("1"));
    await expect(volume.setxattr("/a", "user.one", Buffer.from("2"), 1)).rejects.toMatchObject({
      code: "EEXIST",
    });
    expect((await volume.getxattr("/a", "user.one")).toString()).toBe("1");
    expect(await volume.listxattr("/a")).toContain("user.one");
    const file = await volume.open("/a", O_RDWR);
    await file.setxattr("user.two", Buffer.from("2"));
    expect((await file.getxattr("user.two")).toString()).toBe("2");
    await file.removexattr("user.two");
    await expect(file.getxattr("user.two")).rejects.toMatchObject({ code: "ENODATA" });
    await file.close();
    await volume.removexattr("/a", "user.one");
    await expect(volume.getxattr("/a", "user.one")).rejects.toMatchObject({ code: "ENODATA" });
  });

  it("decide what other users may do", async () => {
    await volume.mkdir("/shared", 0o777);
    await volume.chmod("/shared", 0o1777);
    await put("/shared/secret", "1");
    await volume.chmod("/shared/secret", 0o640);
    const guest = as({ uid: 1000, gid: 1000 });
    await expect(guest.open("/shared/secret")).rejects.toMatchObject({ code: "EACCES" });
    await expect(guest.unlink("/shared/secret")).rejects.toMatchObject({ code: "EACCES" });
    await expect(guest.access("/shared/secret", 4)).rejects.toMatchObject({ code: "EACCES" });
    await as({ uid: 1000, gid: 1000, groups: [0] }).access("/shared/secret", 4);
    await guest.mkdir("/shared/own");
    expect(await volume.stat("/shared/own")).toMatchObject({ uid: 1000, gid: 1000 });
  });
});

describe("openVolume", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "mortar-api-"));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it("opens a volfile, with another top and options from outside", async () => {
    const path = join(dir, "a.vol");
    await writeFile(
      path,
      stack({ name: "m", type: "storage/memory" }, { name: "ro", type: "features/read-only" }),
    );
    const xlatorOptions = [{ pattern: "r*", key: "read-only", value: "on" }];
    const guarded = await openVolume(path, { xlatorOptions });
    await expect(guarded.mkdir("/a")).rejects.toMatchObject({ code: "EROFS" });
    await guarded.close();
    const bare = await openVolume(path, { top: "m", xlatorOptions });
    await bare.mkdir("/a");
    await bare.close();
  });

  it("rejects with one clear line", async () => {
    await expect(openVolume(join(dir, "none.vol"))).rejects.toThrow(
      /^volfile ".*none\.vol": there is no such file/,
    );
    await expect(openVolume("gluster+rdma://h/v")).rejects.toThrow(/rdma is not supported/);
    await expect(openVolume("gluster://127.0.0.1:1/v")).rejects.toThrow(/^glusterd at 127\.0\.0\.1:1: /);
    await expect(openVolume(`gluster+unix:///v?socket=${dir}/none`)).rejects.toThrow(/^glusterd at .*none/);
  });

  it("names every server that did not answer", async () => {
    const backupServers = [{ transport: "tcp", host: "127.0.0.1", port: 2 } as const];
    await expect(openVolume("gluster://127.0.0.1:1/v", { backupServers })).rejects.toThrow(
      /^no server answers: glusterd at 127\.0\.0\.1:1: .*; glusterd at 127\.0\.0\.1:2: /,
    );
  });
});
