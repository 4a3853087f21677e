/** performance/read-ahead: what is asked for ahead, when, and when it is thrown away. */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../src/core/call.ts";
import type { Args } from "../../../src/core/fops.ts";
import { newGfid } from "../../../src/core/gfid.ts";
import { S_IFREG, ZERO_IATT } from "../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../src/core/inode.ts";
import { O_DIRECT, O_RDWR } from "../../../src/core/open-flags.ts";
import { readAhead } from "../../../xlators/performance/read-ahead.ts";
import { settle } from "../../support/fake-env.ts";
import { expectSameBytes } from "../../support/same-bytes.ts";
import { above } from "../features/fake-child.ts";
import { CacheRig, KIB } from "./cache-rig.ts";

const TYPE = "performance/read-ahead";
const PAGE = 128 * KIB;

async function opened(rig: CacheRig, bytes: number): Promise<Fd> {
  return rig.here.open(await rig.file("f", Buffer.alloc(bytes, 7)));
}

/** Offsets and sizes of what went down, in KiB. */
async function readsDuring(rig: CacheRig, work: () => Promise<unknown>): Promise<string[]> {
  await rig.during(async () => {
    await work();
    await settle();
  });
  const reads = rig.went.filter(({ fop }) => fop === "readv");
  return reads.map(({ offset, size }) => `${Number(offset) / KIB}+${size! / KIB}`);
}

describe("a file that is read from front to back", () => {
  it("is read ahead by a window that grows with the run", async () => {
    await using rig = await CacheRig.make(TYPE, { "page-count": "2" });
    const fd = await opened(rig, 16 * PAGE);
    const next = (page: number) => readsDuring(rig, () => rig.here.read(fd, page * PAGE, PAGE));
    expect(await next(0)).toEqual(["0+128", "128+128"]);
    expect(await next(1)).toEqual(["256+128", "384+128"]);
    expect(await next(2)).toEqual(["512+128"]);
    expect(await next(3)).toEqual(["640+128"]);
  });

  it("in small pieces is asked for in pages", async () => {
    await using rig = await CacheRig.make(TYPE, { "page-size": "16KB" });
    const fd = await opened(rig, 256 * KIB);
    const went: string[] = [];
    for (let at = 0; at < 64 * KIB; at += 4 * KIB)
      went.push(...(await readsDuring(rig, () => rig.here.read(fd, at, 4 * KIB))));
    expect(went).toEqual([
      ...["0+4", "4+4", "8+4", "12+4", "16+16", "32+16", "48+16", "64+16", "80+16", "96+16", "112+16"],
    ]);
  });

  it("is not read beyond its end, and is asked there whether it has grown", async () => {
    await using rig = await CacheRig.make(TYPE);
    const fd = await opened(rig, 2 * PAGE + 10);
    for (const page of [0, 1]) await rig.here.read(fd, page * PAGE, PAGE);
    await settle();
    const went = await readsDuring(rig, async () => {
      const { size, eof } = await rig.graph.top.readv(rig.here.call, {
        fd,
        offset: 2 * PAGE,
        size: PAGE,
        flags: 0,
      });
      expect({ size, eof }).toEqual({ size: 10, eof: true });
    });
    expect(went).toEqual([]);
    await rig.writeThere("f", "more", 3 * PAGE);
    const atEnd = await readsDuring(rig, async () => {
      expect((await rig.here.read(fd, 3 * PAGE, PAGE)).toString()).toBe("more");
    });
    expect(atEnd[0]).toBe("384+128");
  });

  it("gives a read that goes on beyond the window the rest from the brick", async () => {
    await using rig = await CacheRig.make(TYPE, { "page-count": "1" });
    const fd = await opened(rig, 8 * PAGE);
    await rig.here.read(fd, 0, PAGE);
    const went = await readsDuring(rig, async () => {
      expectSameBytes(await rig.here.read(fd, PAGE, 3 * PAGE), Buffer.alloc(3 * PAGE, 7));
    });
    expect(went).toEqual(["256+256", "512+128"]);
  });
});

describe("what is asked for as it is", () => {
  it("is a read out of order, which ends the run", async () => {
    await using rig = await CacheRig.make(TYPE);
    const fd = await opened(rig, 16 * PAGE);
    await rig.here.read(fd, 0, PAGE);
    expect(await readsDuring(rig, () => rig.here.read(fd, 9 * PAGE + 512, KIB))).toEqual(["1152.5+1"]);
    expect(await readsDuring(rig, () => rig.here.read(fd, PAGE, KIB))).toEqual(["128+1"]);
  });

  it("is a read with O_DIRECT, and every read while pass-through is on", async () => {
    await using rig = await CacheRig.make(TYPE);
    const fd = await opened(rig, 4 * PAGE);
    const direct = await rig.here.open(fd.inode, O_RDWR | O_DIRECT);
    expect(await readsDuring(rig, () => rig.here.read(direct, 0, PAGE))).toEqual(["0+128"]);
    rig.reconfigure({ "pass-through": "on" });
    expect(await readsDuring(rig, () => rig.here.read(fd, 0, PAGE))).toEqual(["0+128"]);
  });
});

describe("what was read ahead", () => {
  it("is thrown away by a write, through whatever file it comes", async () => {
    await using rig = await CacheRig.make(TYPE);
    const fd = await opened(rig, 4 * PAGE);
    const other = await rig.here.open(fd.inode);
    await rig.here.read(fd, 0, PAGE);
    await rig.here.write(other, Buffer.alloc(PAGE, 8), PAGE);
    expectSameBytes(await rig.here.read(fd, PAGE, PAGE), Buffer.alloc(PAGE, 8));
  });

  it("is thrown away when nobody wanted it for a second", async () => {
    await using rig = await CacheRig.make(TYPE);
    const fd = await opened(rig, 4 * PAGE);
    await rig.here.read(fd, 0, PAGE);
    await rig.writeThere("f", Buffer.alloc(PAGE, 8), PAGE);
    await rig.env.clock.advance(1001);
    expectSameBytes(await rig.here.read(fd, PAGE, PAGE), Buffer.alloc(PAGE, 8));
  });

  it("and failed is asked for again, so that who reads hears why", async () => {
    await using rig = await CacheRig.make(TYPE);
    const fd = await opened(rig, 4 * PAGE);
    const heal = rig.errors.failWhere((fop, _call, args) =>
      fop === "readv" && (args as Args<"readv">).offset >= PAGE ? "EIO" : undefined,
    );
    await rig.here.read(fd, 0, PAGE);
    await expect(rig.here.read(fd, PAGE, PAGE)).rejects.toMatchObject({ code: "EIO" });
    heal();
    expectSameBytes(await rig.here.read(fd, 2 * PAGE, PAGE), Buffer.alloc(PAGE, 7));
  });

  it("is waited for before the brick is told to close the file", async () => {
    await using rig = await CacheRig.make(TYPE);
    const fd = await opened(rig, 4 * PAGE);
    const hold = rig.delays.hold("readv");
    const reading = rig.here.read(fd, 0, PAGE);
    await hold.arrived();
    hold.release(1);
    await reading;
    let closed = false;
    const closing = rig.here.release(fd).then(() => {
      closed = true;
    });
    await settle();
    expect(closed).toBe(false);
    rig.delays.unhold(hold);
    await closing;
  });

  it("gives its memory back once, when the last view of it was released", async () => {
    const released: number[] = [];
    const { top, answers } = above(readAhead, { "page-count": "1" });
    answers.set("readv", ({ args }) => {
      const { offset, size } = args as Args<"readv">;
      const lease = { release: () => released.push(offset / KIB) };
      return { data: [Buffer.alloc(size)], size, stat: ZERO_IATT, eof: false, lease };
    });
    const fd = new Fd(new Inode(newGfid(), S_IFREG), O_RDWR);
    const read = (offset: number, size: number) =>
      top.readv(internalCall(), { fd, offset: offset * KIB, size: size * KIB, flags: 0 });
    (await read(0, 128)).lease!.release();
    expect(released).toEqual([0]);
    const first = await read(128, 64);
    const second = await read(192, 128);
    first.lease!.release();
    expect(released).toEqual([0]);
    second.lease!.release();
    expect(released).toEqual([0, 128]);
    await top.release(fd);
    await settle();
    // What was never wanted goes back, too; the rest of the last page was read through its second half.
    expect(released.sort((a, b) => a - b)).toEqual([...new Set(released)].sort((a, b) => a - b));
    expect(released).toContain(256);
  });
});
