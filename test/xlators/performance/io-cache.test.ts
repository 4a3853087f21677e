/** performance/io-cache: pages that were read once, until they may have changed. */

import { describe, expect, it } from "vitest";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { O_DIRECT, O_RDWR } from "../../../src/core/open-flags.ts";
import { expectSameBytes } from "../../support/same-bytes.ts";
import { CacheRig, KIB } from "./cache-rig.ts";

const TYPE = "performance/io-cache";
const PAGE = 128 * KIB;

/** Bytes that tell where they are from. */
function pattern(bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  for (let at = 0; at + 4 <= bytes; at += 4) buffer.writeUInt32BE(at, at);
  return buffer;
}

async function opened(rig: CacheRig, content: Buffer, name = "f"): Promise<{ fd: Fd; inode: Inode }> {
  const inode = await rig.file(name, content);
  return { inode, fd: await rig.here.open(inode) };
}

describe("a page", () => {
  it("is asked for whole, once, and every read in it is served from memory then", async () => {
    await using rig = await CacheRig.make(TYPE);
    const content = pattern(3 * PAGE - 100);
    const { fd } = await opened(rig, content);
    await rig.here.read(fd, PAGE + 10, 20);
    expect(rig.went.filter(({ fop }) => fop === "readv")).toEqual([
      { fop: "readv", offset: PAGE, size: PAGE },
    ]);
    const went = await rig.during(async () => {
      expectSameBytes(await rig.here.read(fd, PAGE, PAGE), content.subarray(PAGE, 2 * PAGE));
    });
    expect(went).toEqual([]);
    expectSameBytes(await rig.here.read(fd, 0, 4 * PAGE), content);
    const tail = await rig.graph.top.readv(rig.here.call, {
      fd,
      offset: 3 * PAGE - 200,
      size: 500,
      flags: 0,
    });
    expect(tail).toMatchObject({ size: 100, eof: true });
    const beyond = await rig.graph.top.readv(rig.here.call, { fd, offset: 3 * PAGE - 50, size: 9, flags: 0 });
    expect(beyond).toMatchObject({ size: 0, eof: true });
  });

  it("is asked for once by many readers at the same time", async () => {
    await using rig = await CacheRig.make(TYPE);
    const { fd } = await opened(rig, pattern(PAGE));
    const went = await rig.during(() =>
      Promise.all(Array.from({ length: 8 }, (_unused, i) => rig.here.read(fd, i * 100, 100))),
    );
    expect(went).toEqual(["readv"]);
  });

  it("is served after the timeout when the file has not changed, which is asked once", async () => {
    await using rig = await CacheRig.make(TYPE);
    const { fd } = await opened(rig, pattern(2 * PAGE));
    await rig.here.read(fd, 0, 2 * PAGE);
    await rig.env.clock.advance(1000);
    const read = () => Promise.all([rig.here.read(fd, 0, 10), rig.here.read(fd, PAGE, 10)]);
    expect(await rig.during(read)).toEqual(["fstat"]);
    expect(await rig.during(read)).toEqual([]);
  });

  it("is asked for again when the file has changed", async () => {
    await using rig = await CacheRig.make(TYPE);
    const { fd } = await opened(rig, pattern(PAGE));
    await rig.here.read(fd, 0, 10);
    await rig.writeThere("f", "other", 0);
    await rig.env.clock.advance(1000);
    const went = await rig.during(async () => {
      expect((await rig.here.read(fd, 0, 5)).toString()).toBe("other");
    });
    expect(went).toEqual(["fstat", "readv"]);
  });

  it("is not mixed with pages of a later state of the file", async () => {
    await using rig = await CacheRig.make(TYPE, { "cache-timeout": "60" });
    const { fd } = await opened(rig, Buffer.alloc(2 * PAGE, 1));
    await rig.here.read(fd, 0, 10);
    await rig.writeThere("f", Buffer.alloc(2 * PAGE, 2));
    expectSameBytes(await rig.here.read(fd, 0, 2 * PAGE), Buffer.alloc(2 * PAGE, 2));
  });

  it("that was under way when the file changed is not kept", async () => {
    await using rig = await CacheRig.make(TYPE);
    const { fd } = await opened(rig, Buffer.from("abc"));
    const hold = rig.delays.hold("readv", "reply");
    const reading = rig.here.read(fd);
    await hold.arrived();
    await rig.here.write(fd, "xyz");
    rig.delays.unhold(hold);
    await reading;
    expect(await rig.here.text(fd)).toBe("xyz");
  });
});

describe("what is not kept", () => {
  it("is read with O_DIRECT", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", Buffer.alloc(PAGE));
    const fd = await rig.here.open(inode, O_RDWR | O_DIRECT);
    await rig.here.read(fd, 0, 512);
    expect(rig.went.at(-1)).toEqual({ fop: "readv", offset: 0, size: 512 });
  });

  it("is a file that is too short or too long, which is then read as it is asked for", async () => {
    await using rig = await CacheRig.make(TYPE, { "min-file-size": "1KB", "max-file-size": "2KB" });
    for (const [bytes, isKept] of [
      [1023, false],
      [1024, true],
      [2049, false],
    ] as const) {
      const { fd } = await opened(rig, Buffer.alloc(bytes), `f${bytes}`);
      await rig.here.read(fd, 0, 10);
      await rig.during(() => rig.here.read(fd, 0, 10));
      expect(rig.went, String(bytes)).toEqual(isKept ? [] : [{ fop: "readv", offset: 0, size: 10 }]);
    }
  });

  it("is read while pass-through is on", async () => {
    await using rig = await CacheRig.make(TYPE);
    const { fd } = await opened(rig, Buffer.alloc(10));
    await rig.here.read(fd);
    rig.reconfigure({ "pass-through": "on" });
    expect(await rig.during(() => rig.here.read(fd))).toEqual(["readv"]);
    expect(rig.cache.dump()).toMatchObject({ pages: 0, bytes: 0, files: 0 });
  });

  it("is a failure: who reads hears of it, and the next one asks again", async () => {
    await using rig = await CacheRig.make(TYPE);
    const { fd } = await opened(rig, Buffer.from("abc"));
    rig.errors.failNext("readv", "EIO");
    await expect(rig.here.read(fd)).rejects.toMatchObject({ code: "EIO" });
    expect(await rig.here.text(fd)).toBe("abc");
  });
});

describe("the cache", () => {
  it("stays within its size, and drops pages of low priority first", async () => {
    await using rig = await CacheRig.make(TYPE, { "cache-size": "4MB", priority: "*.hot:9,*.cold:0" });
    const hot = await opened(rig, pattern(4 * PAGE), "f.hot");
    await rig.here.read(hot.fd, 0, 4 * PAGE);
    const cold = await opened(rig, pattern(64 * PAGE), "f.cold");
    for (let page = 0; page < 64; page++) await rig.here.read(cold.fd, page * PAGE, PAGE);
    expect(rig.cache.dump()).toMatchObject({ pages: 31 });
    expect(await rig.during(() => rig.here.read(hot.fd, 0, 4 * PAGE))).toEqual([]);
    expect(await rig.during(() => rig.here.read(cold.fd, 63 * PAGE, PAGE))).toEqual([]);
    expect(await rig.during(() => rig.here.read(cold.fd, 0, PAGE))).toEqual(["readv"]);
  });

  it("is empty when its files were forgotten", async () => {
    await using rig = await CacheRig.make(TYPE);
    for (let i = 0; i < 10; i++) {
      const { fd, inode } = await opened(rig, pattern(PAGE), `f${i}`);
      await rig.here.read(fd, 0, 10);
      rig.cache.forget(inode);
    }
    expect(rig.cache.dump()).toMatchObject({ pages: 0, bytes: 0, files: 0 });
  });
});
