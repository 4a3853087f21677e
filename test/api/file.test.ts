/**
 * An open file of a volume as qemu and fio use one through libgfapi: buffers without copies, many requests in
 * flight, long requests, holes, locks, and misuse; in one process and over the wire.
 */

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { allocate, type Extent, type File, flags, Volume } from "../../src/api/index.ts";
import { MemoryNetwork } from "../../src/rpc/transport-memory.ts";
import type { DelayGen } from "../../xlators/debug/delay-gen.ts";
import type { ErrorGen } from "../../xlators/debug/error-gen.ts";
import { clientOver } from "../../xlators/protocol/client.ts";
import { serverOver } from "../../xlators/protocol/server.ts";
import {
  type Layer,
  type StartedGraph,
  type StartOptions,
  stack,
  startGraph,
} from "../support/build-graph.ts";

const { O_APPEND, O_CREAT, O_DIRECT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = flags;
const MIB = 1 << 20;
const MEMORY: Layer = { name: "memory", type: "storage/memory" };
const LOCKS: Layer = { name: "locks", type: "features/locks" };
const DELAY: Layer = { name: "delay", type: "debug/delay-gen", options: { "delay-percentage": "0" } };

/** Graphs in the order they started; the last one is the volume's. */
let graphs: StartedGraph[];
let volume: Volume;
afterEach(async () => {
  await volume.close();
  for (const graph of graphs.toReversed()) await graph[Symbol.asyncDispose]();
});

async function startLocal(...above: readonly Layer[]): Promise<void> {
  graphs = [await startGraph(stack(MEMORY, LOCKS, ...above))];
  volume = new Volume(graphs[0]!.graph);
}

async function startRemote(): Promise<void> {
  const network = new MemoryNetwork();
  const options: StartOptions = {
    definitions: [clientOver(network.connect), serverOver(network.listen)],
    contracts: true,
  };
  const server: Layer = {
    name: "server",
    type: "protocol/server",
    options: {
      "auth.addr./brick.allow": "*",
      "rpc-auth-allow-insecure": "on",
      "transport-type": "tcp",
      "transport.socket.listen-port": "49152",
      "transport.socket.bind-address": "127.0.0.1",
    },
  };
  const brick = { name: "/brick", type: "debug/io-stats" };
  const bricks = await startGraph(stack(MEMORY, LOCKS, brick, server), options);
  const to = { "remote-host": "127.0.0.1", "remote-port": "49152", "remote-subvolume": "/brick" };
  const client = { name: "client", type: "protocol/client", options: to };
  graphs = [bricks, await startGraph(stack(client, DELAY), options)];
  volume = new Volume(graphs[1]!.graph);
}

function pattern(size: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  for (let at = 0; at < size; at++) bytes[at] = (at * 7 + (at >> 12) * 13 + seed) & 0xff;
  return bytes;
}

function delay(): DelayGen {
  return graphs.at(-1)!.xlator<DelayGen>("delay");
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe.each([
  ["in one process", () => startLocal(DELAY)],
  ["over the wire", startRemote],
] as const)("%s, a file", (_, start) => {
  let file: File;
  beforeEach(async () => {
    await start();
    file = await volume.open("/image", O_CREAT | O_RDWR);
  });

  it("takes requests longer than a message would be, in pieces, and gives them back whole", async () => {
    const data = pattern(3 * MIB + 4567);
    expect(await file.write(100, data)).toBe(data.length);
    expect((await file.read(100, data.length)).equals(data)).toBe(true);
    const vector = [data.subarray(0, 5), data.subarray(5, 2 * MIB), data.subarray(2 * MIB)];
    await file.write(0, vector);
    expect((await file.read(0, data.length)).equals(data)).toBe(true);
    const past = await file.readVector(2 * MIB, 8 * MIB);
    expect(past).toMatchObject({ size: MIB + 4567 + 100, eof: true });
    past.release();
    past.release();
  });

  it("fills a buffer of the caller's, up to the end of the file", async () => {
    await file.write(0, pattern(5000));
    const own = allocate(8192);
    expect(await file.readInto(own, 1000)).toBe(4000);
    expect(own.subarray(0, 4000).equals(pattern(5000).subarray(1000))).toBe(true);
  });

  it("has many requests in flight", async () => {
    const held = delay().hold("writev");
    const writes = Array.from({ length: 64 }, (_, index) => file.write(index * 4096, pattern(4096, index)));
    await held.arrived();
    expect(held.count).toBe(64);
    held.release(64);
    await Promise.all(writes);
    const reads = await Promise.all(Array.from({ length: 64 }, (_, index) => file.read(index * 4096, 4096)));
    for (const [index, data] of reads.entries()) expect(data.equals(pattern(4096, index))).toBe(true);
  });

  it("is closed when what is in flight has ended, and not before", async () => {
    const held = delay().hold("writev");
    const order: string[] = [];
    const write = file.write(0, Buffer.from("late")).then(() => order.push("written"));
    await held.arrived();
    const close = file.close().then(() => order.push("closed"));
    await expect(file.write(0, Buffer.from("after"))).rejects.toMatchObject({ code: "EBADF" });
    held.release();
    await Promise.all([write, close]);
    expect(order).toEqual(["written", "closed"]);
    await using again = await volume.open("/image");
    expect((await again.read(0, 10)).toString()).toBe("late");
  });

  it("is closed at the end of its block, and a second close is none", async () => {
    let kept: File;
    {
      await using inner = await volume.open("/image");
      kept = inner;
      expect(inner.closed).toBe(false);
    }
    expect(kept.closed).toBe(true);
    await kept.close();
    await expect(kept.stat()).rejects.toMatchObject({ code: "EBADF", message: "the file is closed" });
  });

  it("shows what a truncate by path did (API-01)", async () => {
    await file.write(0, pattern(4096));
    await volume.truncate("/image", 1234);
    expect((await file.stat()).size).toBe(1234);
  });

  it("tells data from holes without gaps", async () => {
    await file.truncate(64 * 4096);
    await file.write(8 * 4096, pattern(4096));
    await file.write(32 * 4096, pattern(8192));
    const extents = await collect(file.extents());
    expect(extents).toEqual<Extent[]>([
      { offset: 0, size: 8 * 4096, isData: false },
      { offset: 8 * 4096, size: 4096, isData: true },
      { offset: 9 * 4096, size: 23 * 4096, isData: false },
      { offset: 32 * 4096, size: 8192, isData: true },
      { offset: 34 * 4096, size: 30 * 4096, isData: false },
    ]);
    expect(await collect(file.extents({ start: 33 * 4096, end: 33 * 4096 + 10 }))).toEqual([
      { offset: 33 * 4096, size: 10, isData: true },
    ]);
  });

  it("is read in chunks, some of them ahead", async () => {
    const data = pattern(10 * 4096 + 7);
    await file.write(0, data);
    const chunks = await collect(file.chunks({ size: 4096, ahead: 3 }));
    expect(chunks.map(({ size }) => size)).toEqual([...new Array(10).fill(4096), 7]);
    expect(Buffer.concat(chunks.flatMap((chunk) => [...chunk.data])).equals(data)).toBe(true);
    for (const chunk of chunks) chunk.release();
    const [part] = await collect(file.chunks({ start: 4090, end: 4100 }));
    expect(Buffer.concat(part!.data as Buffer[]).equals(data.subarray(4090, 4100))).toBe(true);
    for await (const chunk of file.chunks({ size: 4096 })) {
      chunk.release();
      break;
    }
    const ended = collect(file.chunks({ signal: AbortSignal.abort(new Error("enough")) }));
    await expect(ended).rejects.toThrow("enough");
  });

  it("waits for a lock until another owner lets go, a signal says so, or it is closed", async () => {
    await using other = await volume.open("/image", O_RDWR);
    await other.lock({ type: "wrlck", start: 0, len: 10 });
    const range = { type: "wrlck", start: 5, len: 1 } as const;
    await expect(file.lock(range)).rejects.toMatchObject({ code: "EAGAIN" });
    const enough = new AbortController();
    const given = expect(file.lock(range, { wait: true, signal: enough.signal })).rejects.toMatchObject({
      code: "EINTR",
    });
    enough.abort();
    await given;
    const waiting = file.lock(range, { wait: true });
    await other.lock({ type: "unlck", start: 0, len: 0 });
    await waiting;
    const refused = expect(
      other.lock({ type: "wrlck", start: 0, len: 0 }, { wait: true }),
    ).rejects.toMatchObject({ code: "EINTR" });
    await other.close();
    await refused;
  });

  it("changes its own attributes", async () => {
    await file.chmod(0o640);
    await file.chown(5, 6);
    await file.utimes({ mtime: { sec: 1_000_000, nsec: 5 } });
    expect(await file.stat()).toMatchObject({
      mode: 0o100640,
      uid: 5,
      gid: 6,
      mtime: 1_000_000,
      mtimeNsec: 5,
    });
    await file.setxattr("user.a", Buffer.from("1"));
    expect(await file.listxattr()).toContain("user.a");
  });
});

describe("misuse", () => {
  let file: File;
  beforeEach(async () => {
    await startLocal();
    file = await volume.open("/image", O_CREAT | O_RDWR);
  });

  it.each<[what: string, code: string, use: (file: File) => Promise<unknown>]>([
    ["a negative offset to read", "EINVAL", (f) => f.read(-1, 10)],
    ["a fraction as offset to write", "EINVAL", (f) => f.write(0.5, Buffer.from("x"))],
    ["a size that is no number", "EINVAL", (f) => f.read(0, Number.NaN)],
    ["a negative size to discard", "EINVAL", (f) => f.discard(0, -4096)],
    ["a negative size to truncate", "EINVAL", (f) => f.truncate(-1)],
    ["an offset beyond all files", "EFBIG", (f) => f.write(Number.MAX_SAFE_INTEGER, Buffer.from("xx"))],
    ["a negative offset to seek", "EINVAL", (f) => f.seek(-1, "data")],
    ["a negative start to iterate", "EINVAL", (f) => f.chunks({ start: -1 }).next()],
    ["a negative lock", "EINVAL", (f) => f.lock({ type: "rdlck", start: -1, len: 1 })],
  ])("%s is %s", async (_, code, use) => {
    await expect(use(file)).rejects.toMatchObject({ code });
  });

  it("of a file that only reads, or only writes, is EBADF and changes nothing", async () => {
    await file.write(0, Buffer.from("hello"));
    await using reader = await volume.open("/image", O_RDONLY);
    const writes = [
      reader.write(0, Buffer.from("x")),
      reader.truncate(0),
      reader.discard(0, 4096),
      reader.zerofill(0, 5),
      reader.fallocate(0, 10),
    ];
    for (const write of writes) await expect(write).rejects.toMatchObject({ code: "EBADF" });
    await using writer = await volume.open("/image", O_WRONLY);
    await expect(writer.read(0, 1)).rejects.toMatchObject({ code: "EBADF" });
    expect((await file.read(0, 10)).toString()).toBe("hello");
  });

  it("of odd sizes with O_DIRECT is what the brick says it is", async () => {
    await using direct = await volume.open("/image", O_RDWR | O_DIRECT);
    await expect(direct.write(1, allocate(512))).rejects.toMatchObject({ code: "EINVAL" });
    await direct.write(512, allocate(512).fill(1));
    await expect(direct.read(0, 1)).rejects.toMatchObject({ code: "EINVAL" });
  });

  it("of a volume that is closed is EBADF, its files are closed with it, and closing again is nothing", async () => {
    await volume.close();
    expect(file.closed).toBe(true);
    for (const use of [volume.stat("/image"), volume.open("/image"), volume.mkdir("/d"), volume.statfs()])
      await expect(use).rejects.toMatchObject({ code: "EBADF", message: "the volume is closed" });
    await volume.close();
  });
});

describe("data", () => {
  it("appends long data in order", async () => {
    await startLocal();
    await using file = await volume.open("/log", O_CREAT | O_WRONLY | O_APPEND);
    const data = pattern(2 * MIB + 5);
    await file.write(0, data);
    await file.write(0, Buffer.from("end"));
    await using reader = await volume.open("/log");
    expect((await reader.read(0, 4 * MIB)).equals(Buffer.concat([data, Buffer.from("end")]))).toBe(true);
  });

  it("fails when one piece of it fails, after all pieces have given their buffers back", async () => {
    const failing = { name: "failing", type: "debug/error-gen", options: { failure: "0" } };
    await startLocal(failing, DELAY);
    await using file = await volume.open("/image", O_CREAT | O_RDWR);
    const held = delay().hold("writev");
    let settled = false;
    const write = file.write(0, pattern(3 * MIB)).finally(() => {
      settled = true;
    });
    const result = expect(write).rejects.toMatchObject({ code: "EIO" });
    await held.arrived();
    graphs[0]!.xlator<ErrorGen>("failing").failNext("writev", "EIO");
    held.release(2);
    await file.stat();
    expect(settled).toBe(false);
    held.release(1);
    await result;
  });

  it("fails a long read of which one piece failed, rather than give what was before it", async () => {
    const failing = { name: "failing", type: "debug/error-gen", options: { failure: "0" } };
    await startLocal(failing);
    await using file = await volume.open("/image", O_CREAT | O_RDWR);
    await file.write(0, pattern(3 * MIB));
    graphs[0]!.xlator<ErrorGen>("failing").failNext("readv", "EIO");
    await expect(file.read(0, 3 * MIB)).rejects.toMatchObject({ code: "EIO" });
    expect((await file.read(0, 3 * MIB)).equals(pattern(3 * MIB))).toBe(true);
  });

  it("zeroes on a full brick fail with ENOSPC, and the brick goes on", async () => {
    const small = { ...MEMORY, options: { capacity: "1MB" } };
    graphs = [await startGraph(stack(small, LOCKS))];
    volume = new Volume(graphs[0]!.graph);
    await using file = await volume.open("/image", O_CREAT | O_RDWR);
    await expect(file.zerofill(0, 100 * MIB)).rejects.toMatchObject({ code: "ENOSPC" });
    await expect(file.write(0, pattern(2 * MIB))).rejects.toMatchObject({ code: "ENOSPC" });
    await file.truncate(0);
    await file.write(0, pattern(4096));
    expect((await file.read(0, 4096)).equals(pattern(4096))).toBe(true);
  });

  it("truncates on open only what may be written", async () => {
    await startLocal();
    await (await volume.open("/a", O_CREAT | O_WRONLY)).write(0, Buffer.from("hello"));
    await (await volume.open("/a", O_RDONLY | O_TRUNC)).close();
    expect((await volume.stat("/a")).size).toBe(5);
  });
});

describe("views of a volume", () => {
  beforeEach(() => startLocal());

  it("begin at a directory, and lead nowhere above it", async () => {
    await volume.mkdir("/d");
    await volume.mkdir("/d/e");
    await (await volume.open("/d/file", O_CREAT | O_RDWR)).close();
    await (await volume.open("/outside", O_CREAT | O_RDWR)).close();
    await volume.symlink("/file", "/d/link");
    const below = await volume.at("/d");
    expect((await collect(below.readdir("/"))).map(({ name }) => name).sort()).toEqual(["e", "file", "link"]);
    expect((await below.stat("/link")).gfid.equals((await volume.stat("/d/file")).gfid)).toBe(true);
    await expect(below.stat("/../outside")).rejects.toMatchObject({ code: "ENOENT" });
    await below.rename("/file", "/e/file");
    expect((await volume.stat("/d/e/file")).size).toBe(0);
    await expect(volume.at("/outside")).rejects.toMatchObject({ code: "ENOTDIR" });
    await expect(collect(volume.readdir("/outside"))).rejects.toMatchObject({ code: "ENOTDIR" });
  });

  it("are somebody else's, and end together", async () => {
    const guest = volume.as({ uid: 1000, gid: 1000 });
    await volume.chmod("/", 0o777);
    await using file = await guest.open("/own", O_CREAT | O_RDWR);
    expect(await file.stat()).toMatchObject({ uid: 1000, gid: 1000 });
    await guest.fsyncDirectory("/");
    await guest.close();
    await expect(volume.stat("/own")).rejects.toMatchObject({ code: "EBADF" });
  });
});
