import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { EVENT_LOOP } from "../../src/os/busy-poll.ts";
import { type DiskIo, openDiskIo } from "../../src/os/disk-io.ts";
import { alignedBuffer, BufferPool, isAligned } from "../../src/os/memory.ts";
import { cachedBytes, whyCached } from "../support/page-cache.ts";
import { until } from "../support/wait.ts";

const dir = mkdtempSync(join(tmpdir(), "mortar-disk-io-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/**
 * io_uring may be forbidden on a machine; then `auto` must be the pool, and the pool is what is left to test.
 */
const engines: DiskIo[] = [openDiskIo("pool")];
if (openDiskIo("auto").kind === "io_uring") engines.push(openDiskIo("auto"));

describe("writes without the cache", () => {
  const io = openDiskIo("auto");
  const reason = whyCached(dir);

  it.skipIf(reason !== undefined)(
    `leave no pages behind${reason ? ` (skipped: ${reason})` : ""}`,
    async () => {
      const path = join(dir, "uncached");
      for (const [uncached, least, most] of [
        [false, 4 << 20, 4 << 20],
        [true, 0, 0],
      ] as const) {
        const fd = openSync(path, "w+");
        await io.writev(fd, [Buffer.alloc(4 << 20, "a")], 0, uncached);
        await io.fsync(fd, false);
        await until("pages are gone", () => cachedBytes(path) <= most);
        expect(cachedBytes(path)).toBeGreaterThanOrEqual(least);
        closeSync(fd);
      }
    },
  );
});

describe.each(engines.map((engine) => [engine.kind, engine] as const))("disk I/O by %s", (kind, io) => {
  const path = join(dir, kind);
  const open = (): number => openSync(path, "w+");

  it("writes a vector and reads it back through other cuts", async () => {
    const fd = open();
    const parts = [Buffer.from("one"), Buffer.from("two-"), Buffer.alloc(5000, "x")];
    expect(await io.writev(fd, parts, 7)).toBe(5007);
    const into = [Buffer.alloc(8), Buffer.alloc(5006)];
    expect(await io.readv(fd, into, 0)).toBe(5014);
    expect(Buffer.concat(into).toString("latin1")).toBe(`${"\0".repeat(7)}onetwo-${"x".repeat(5000)}`);
    closeSync(fd);
  });

  it("does two, three and seventeen at a time, each once", async () => {
    const fd = open();
    for (const count of [2, 3, 17, 2]) {
      const parts = Array.from({ length: count }, (_, i) => Buffer.alloc(512, 97 + i));
      const sizes = await Promise.all(parts.map((part, i) => io.writev(fd, [part], i * 512)));
      expect(sizes).toEqual(parts.map(() => 512));
      const back = parts.map(() => Buffer.alloc(512));
      await Promise.all(back.map((into, i) => io.readv(fd, [into], i * 512)));
      expect(Buffer.concat(back)).toEqual(Buffer.concat(parts));
    }
    closeSync(fd);
  });

  it("reads short at the end of the file and nothing behind it", async () => {
    const fd = open();
    await io.writev(fd, [Buffer.from("hello")], 0);
    expect(await io.readv(fd, [Buffer.alloc(100)], 2)).toBe(3);
    expect(await io.readv(fd, [Buffer.alloc(100)], 5)).toBe(0);
    closeSync(fd);
  });

  it.each(["/dev/shm", tmpdir()])(
    "writes without the cache, or with it where there is no other way: %s",
    async (parent) => {
      const place = mkdtempSync(join(parent, "mortar-disk-io-"));
      try {
        const fd = openSync(join(place, "f"), "w+");
        const parts = [Buffer.alloc(3 << 20, "a"), Buffer.alloc(1000, "b")];
        expect(await io.writev(fd, parts, 5, true)).toBe((3 << 20) + 1000);
        expect(await io.writev(fd, [Buffer.from("12345")], 0, true)).toBe(5);
        expect(readFileSync(join(place, "f")).equals(Buffer.concat([Buffer.from("12345"), ...parts]))).toBe(
          true,
        );
        closeSync(fd);
      } finally {
        rmSync(place, { recursive: true, force: true });
      }
    },
  );

  it("takes vectors longer than one request can carry", async () => {
    const fd = open();
    const parts = Array.from({ length: 200 }, (_, i) => Buffer.from(String.fromCharCode(97 + (i % 26))));
    expect(await io.writev(fd, parts, 0)).toBe(200);
    expect(readFileSync(path)).toEqual(Buffer.concat(parts));
    closeSync(fd);
  });

  it("answers thousands of requests at once, each with its own bytes", async () => {
    const fd = open();
    const count = 3000;
    const sizes = await Promise.all(
      Array.from({ length: count }, (_, i) => io.writev(fd, [Buffer.alloc(16, i % 251)], i * 16)),
    );
    expect(sizes.every((size) => size === 16)).toBe(true);
    const content = readFileSync(path);
    for (let i = 0; i < count; i++) expect(content[i * 16 + 15]).toBe(i % 251);
    await io.fsync(fd, true);
    await io.fsync(fd, false);
    closeSync(fd);
  });

  it("answers each of those that were asked together while the event loop polls", async () => {
    const fd = open();
    while (!EVENT_LOOP.awake) {
      EVENT_LOOP.touch();
      await nextTurn();
    }
    const answers = await Promise.allSettled(
      Array.from({ length: 40 }, (_, i) => io.writev(i === 20 ? 4095 : fd, [Buffer.alloc(16, i)], i * 16)),
    );
    expect(answers.map(({ status }) => status === "fulfilled")).toEqual(answers.map((_, i) => i !== 20));
    expect(answers[20]).toMatchObject({ reason: { code: "EBADF" } });
    const content = readFileSync(path);
    for (let i = 0; i < 40; i++) if (i !== 20) expect(content[i * 16]).toBe(i);
    closeSync(fd);
  });

  it("rejects with the errno of the call", async () => {
    await expect(io.readv(4095, [Buffer.alloc(4)], 0)).rejects.toMatchObject({ code: "EBADF" });
    writeFileSync(path, "");
    const readOnly = openSync(path, "r");
    await expect(io.writev(readOnly, [Buffer.alloc(4)], 0)).rejects.toMatchObject({ code: "EBADF" });
    closeSync(readOnly);
  });

  it("reaches offsets past 4 GiB", async () => {
    const fd = open();
    const far = 5 * 2 ** 32 + 12345;
    expect(await io.writev(fd, [Buffer.from("far")], far)).toBe(3);
    const back = Buffer.alloc(3);
    expect(await io.readv(fd, [back], far)).toBe(3);
    expect(back.toString()).toBe("far");
    closeSync(fd);
  });
});

describe("payload buffers", () => {
  it("are page aligned, exactly as long as asked, and used again after release", () => {
    const pool = new BufferPool();
    const first = pool.take(5000);
    expect(first.buffer.length).toBe(5000);
    expect(isAligned(first.buffer, 4096)).toBe(true);
    const memory = first.buffer.buffer;
    first.release();
    const second = pool.take(8000);
    expect(second.buffer.length).toBe(8000);
    expect(second.buffer.buffer).toBe(memory);
  });

  it("are lent to one holder at a time, also when released twice", () => {
    const pool = new BufferPool();
    const first = pool.take(4096);
    first.release();
    first.release();
    const a = pool.take(4096);
    const b = pool.take(4096);
    expect(a.buffer.buffer).not.toBe(b.buffer.buffer);
  });

  it("know their alignment", () => {
    const buffer = alignedBuffer(8192);
    expect(isAligned(buffer, 4096)).toBe(true);
    expect(isAligned(buffer.subarray(512), 512)).toBe(true);
    expect(isAligned(buffer.subarray(80), 512)).toBe(false);
  });
});
