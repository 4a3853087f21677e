/** performance/write-behind: acknowledged writes that fail. Never lost in silence, never told when untrue. */

import { describe, expect, it } from "vitest";
import type { ErrnoName } from "../../../../src/core/errors.ts";
import { O_RDWR, O_SYNC } from "../../../../src/core/open-flags.ts";
import { settle } from "../../../support/fake-env.ts";
import { type Rig, rig, watch } from "./rig.ts";

/** From now on writes fail, those for which `where` holds. */
function failing(
  r: Rig,
  code: ErrnoName = "ENOSPC",
  where: (offset: number) => boolean = () => true,
): () => void {
  return r.errors.failWhere((fop, _call, args) =>
    fop === "writev" && where((args as { offset: number }).offset) ? code : undefined,
  );
}

function code(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "ok",
    (error: { code: string }) => error.code,
  );
}

describe("a write that fails after its acknowledgement", () => {
  it("is told to readers of its bytes and to the next writer, and is done when there is room (WB-03)", async () => {
    await using r = await rig();
    const { session, top } = r;
    const fd = await session.create("f");
    await session.write(fd, "old", 0, O_SYNC);
    const makeRoom = failing(r);
    expect((await session.write(fd, "new", 3)).size).toBe(3);
    await settle();
    expect(await code(session.read(fd, 3, 3))).toBe("ENOSPC");
    expect((await session.read(fd, 0, 3)).toString()).toBe("old");
    expect(await code(session.write(fd, "more", 6))).toBe("ENOSPC");
    expect(await code(top.fsync(session.call, { fd, datasync: false }))).toBe("ENOSPC");
    makeRoom();
    expect(await code(top.fsync(session.call, { fd, datasync: false }))).toBe("ok");
    await session.write(fd, "more", 6);
    expect(await session.text(fd)).toBe("oldnewmore");
    expect(await code(session.close(fd))).toBe("ok");
  });

  it("is told to the next writer once; other bytes can be written meanwhile, but not early", async () => {
    await using r = await rig();
    const { session } = r;
    const fd = await session.create("f");
    const repair = failing(r, "EIO", (offset) => offset < 100);
    await session.write(fd, "bad", 0);
    await settle();
    expect(await code(session.write(fd, "good", 1000))).toBe("EIO");
    expect((await session.write(fd, "good", 1000)).size).toBe(4);
    expect(r.writes().at(-1)).toBe("1000+4");
    expect(await code(session.write(fd, "over", 1))).toBe("EIO");
    repair();
    await session.close(fd);
    const reader = await session.open(fd.inode);
    expect((await session.read(reader, 0, 3)).toString()).toBe("bad");
    await session.end();
  });

  it("fails each fsync until it is done, as QEMU repeats nothing but the fsync", async () => {
    await using r = await rig();
    const { session, top } = r;
    const fd = await session.create("f");
    const makeRoom = failing(r);
    await session.write(fd, "bytes");
    for (let n = 0; n < 3; n++)
      expect(await code(top.fsync(session.call, { fd, datasync: true }))).toBe("ENOSPC");
    expect(r.went.some(({ fop }) => fop === "fsync")).toBe(false);
    makeRoom();
    expect(await code(top.fsync(session.call, { fd, datasync: true }))).toBe("ok");
    expect(r.disk.find(fd.inode.gfid)!.data!.read(0, 10).toString()).toBe("bytes");
    await session.end();
  });

  it("is forgotten after an fsync told of it, with resync-failed-syncs-after-fsync off", async () => {
    await using r = await rig({ "resync-failed-syncs-after-fsync": "off" });
    const { session, top } = r;
    const fd = await session.create("f");
    const other = await session.open(fd.inode);
    const makeRoom = failing(r);
    await session.write(fd, "bytes");
    expect(await code(top.fsync(session.call, { fd, datasync: true }))).toBe("ENOSPC");
    makeRoom();
    expect(await code(top.fsync(session.call, { fd, datasync: true }))).toBe("ok");
    expect(await session.size(fd)).toBe(0);
    // Everybody who had the file open hears of it, once.
    expect(await code(top.fsync(session.call, { fd: other, datasync: true }))).toBe("ENOSPC");
    expect(await code(top.fsync(session.call, { fd: other, datasync: true }))).toBe("ok");
    const later = await session.open(fd.inode);
    expect(await code(top.fsync(session.call, { fd: later, datasync: true }))).toBe("ok");
    await session.end();
  });

  it("is told at the close, kept for another one, and lost with a word in the log when the fd goes", async () => {
    await using r = await rig();
    const { session, top, env } = r;
    const fd = await session.create("f");
    const other = await session.open(fd.inode);
    const makeRoom = failing(r);
    await session.write(fd, "bytes");
    expect(await code(top.flush(session.call, { fd }))).toBe("ENOSPC");
    expect(await code(top.flush(session.call, { fd }))).toBe("ENOSPC");
    expect(r.went.filter(({ fop }) => fop === "flush").length).toBe(2);
    await session.release(fd);
    expect(env.log.lines.filter(({ level }) => level === "error")).toMatchObject([
      { message: expect.stringContaining("lost"), fields: { bytes: 5 } },
    ]);
    makeRoom();
    expect(await code(top.fsync(session.call, { fd: other, datasync: true }))).toBe("ENOSPC");
    expect(await session.size(other)).toBe(0);
    await session.end();
  });

  it("is done when the last close finds room, and nobody hears of it", async () => {
    await using r = await rig();
    const { session, env } = r;
    const fd = await session.create("f");
    const makeRoom = failing(r);
    await session.write(fd, "bytes");
    await settle();
    makeRoom();
    await session.release(fd);
    expect(env.log.lines.filter(({ level }) => level === "error")).toEqual([]);
    expect(await session.size(await session.open(fd.inode))).toBe(5);
    await session.end();
  });

  it("is tried again when the child comes back, before anybody asks", async () => {
    await using r = await rig();
    const { session, graph } = r;
    const fd = await session.create("f");
    const reconnect = failing(r, "ENOTCONN");
    await session.write(fd, "bytes");
    await settle();
    reconnect();
    const writeBehind = graph.xlator("write-behind");
    writeBehind.onChildEvent({ type: "child-up" }, writeBehind.children[0]!);
    await settle();
    expect(r.disk.find(fd.inode.gfid)!.data!.size).toBe(5);
    await session.close(fd);
  });

  it("fails those that wait for its bytes or for room, and no promise waits for ever", async () => {
    await using r = await rig({ "cache-size": "512KB" });
    const { session, top, delays } = r;
    const fd = await session.create("f");
    const makeRoom = failing(r);
    const hold = delays.hold("writev");
    await session.write(fd, Buffer.alloc(500 * 1024, "a"), 0);
    await session.write(fd, Buffer.alloc(50 * 1024, "b"), 100);
    const waiting = [
      session.write(fd, "room", 600 * 1024),
      session.read(fd, 50, 10),
      session.write(fd, "synced", 50, O_SYNC),
      top.discard(session.call, { fd, offset: 0, size: 4096 }),
      top.fsync(session.call, { fd, datasync: true }),
      top.rename(session.call, {
        from: { inode: fd.inode, parent: session.root, name: "f" },
        to: { inode: fd.inode, parent: session.root, name: "g" },
      }),
    ].map((promise: Promise<unknown>) => watch(promise));
    await settle();
    expect(waiting.map(({ state }) => state)).toEqual(new Array(6).fill("pending"));
    delays.unhold(hold);
    await settle();
    expect(waiting.map(({ error }) => (error as { code: string })?.code)).toEqual(
      new Array(6).fill("ENOSPC"),
    );
    makeRoom();
    expect(await code(top.fsync(session.call, { fd, datasync: true }))).toBe("ok");
    const all = await session.read(fd, 0, 500 * 1024);
    expect(all[99]).toBe(0x61);
    expect(all[100]).toBe(0x62);
    await session.end();
  });

  it("leaves attributes to be seen, as the brick has them", async () => {
    await using r = await rig();
    const { session } = r;
    const fd = await session.create("f");
    failing(r);
    await session.write(fd, "bytes");
    await settle();
    expect([await session.size(fd), (await session.stat("f")).size]).toEqual([0, 0]);
    expect(await code(session.setattr(fd.inode, 1, { mode: 0o600 }))).toBe("ENOSPC");
    expect(await code(session.lk(fd, "setlk", "unlck", 0, 0))).toBe("ok");
    await session.end();
  });

  it("is done with when the file is cut before it", async () => {
    await using r = await rig();
    const { session, top } = r;
    const fd = await session.create("f");
    await session.write(fd, "head", 0, O_SYNC);
    const makeRoom = failing(r);
    await session.write(fd, "tail", 4);
    await settle();
    expect(await code(top.ftruncate(session.call, { fd, offset: 6 }))).toBe("ENOSPC");
    expect(await code(top.ftruncate(session.call, { fd, offset: 4 }))).toBe("ok");
    makeRoom();
    expect(await code(top.fsync(session.call, { fd, datasync: true }))).toBe("ok");
    expect(await session.text(fd)).toBe("head");
    await session.close(fd);
  });

  it("is kept when the truncation fails as well", async () => {
    await using r = await rig();
    const { session, top, errors } = r;
    const fd = await session.create("f");
    const makeRoom = failing(r);
    await session.write(fd, "bytes");
    await settle();
    errors.failNext("ftruncate", "EIO");
    expect(await code(top.ftruncate(session.call, { fd, offset: 0 }))).toBe("EIO");
    makeRoom();
    expect(await code(top.fsync(session.call, { fd, datasync: true }))).toBe("ok");
    expect(await session.text(fd)).toBe("bytes");
    await session.close(fd);
  });

  it.each(["off", "on"])(
    "is tried again before a cut that another failed write waits for (strict ordering %s)",
    async (strict) => {
      await using r = await rig({ "strict-write-ordering": strict });
      const { session, top } = r;
      const fd = await session.create("f");
      const makeRoom = failing(r);
      // The cut would clear the first; the second lies on both sides of it, and behind the first.
      await session.write(fd, "22222", 5);
      await session.write(fd, "33333", 3);
      await settle();
      expect(await code(top.ftruncate(session.call, { fd, offset: 5 }))).toBe("ENOSPC");
      makeRoom();
      expect(await code(top.ftruncate(session.call, { fd, offset: 5 }))).toBe("ok");
      expect(await code(top.fsync(session.call, { fd, datasync: true }))).toBe("ok");
      expect(await session.text(fd)).toBe("\0\0\x0033");
      await session.close(fd);
    },
  );

  it("is written in the end when a cut that would have cleared it was refused its turn", async () => {
    await using r = await rig();
    const { session, top } = r;
    const fd = await session.create("f");
    const makeRoom = failing(r);
    await session.write(fd, "11111", 8);
    await session.write(fd, "22222", 2);
    await settle();
    // The second is in its way and fails again.
    expect(await code(top.ftruncate(session.call, { fd, offset: 5 }))).toBe("ENOSPC");
    makeRoom();
    expect(await code(top.fsync(session.call, { fd, datasync: true }))).toBe("ok");
    expect(await session.text(fd)).toBe("\0\x0022222\x0011111");
    await session.close(fd);
  });

  it("in part is gone on with where it stopped", async () => {
    await using r = await rig();
    const { session, errors } = r;
    const fd = await session.create("f");
    const options = (errors as unknown as { options: object }).options;
    errors.reconfigure({
      ...options,
      failure: 100,
      "error-no": "GF_ERROR_SHORT_WRITE",
      enable: ["writev"],
    } as never);
    await session.write(fd, "0123456789abcdef");
    await session.close(fd);
    expect(r.writes()).toEqual(["0+16", "8+8", "12+4", "14+2", "15+1"]);
    errors.reconfigure(options as never);
    const reader = await session.open(fd.inode, O_RDWR);
    expect(await session.text(reader)).toBe("0123456789abcdef");
    await session.end();
  });

  it("holds no memory once it is given up", async () => {
    await using r = await rig();
    const { session, graph } = r;
    failing(r);
    const fd = await session.create("f");
    await session.write(fd, Buffer.alloc(300 * 1024));
    await session.release(fd);
    const { slabs } = graph.xlator("write-behind") as unknown as { slabs: { keptBytes: number } };
    expect(slabs.keptBytes).toBeGreaterThanOrEqual(300 * 1024);
  });
});

describe("the end of the graph", () => {
  it("still sends what belongs to an fd that nobody released", async () => {
    const r = await rig({ "trickling-writes": "off" });
    const fd = await r.session.create("f");
    await r.session.write(fd, "kept");
    // Nobody waits for it, but it goes.
    await r.graph.graph.stop();
    expect(r.disk.find(fd.inode.gfid)!.data!.read(0, 10).toString()).toBe("kept");
  });
});
