/** features/arbiter over a brick: names and marks, and never a byte of data. */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { XATTROP } from "../../../src/core/fops.ts";
import { newGfid, ROOT_GFID } from "../../../src/core/gfid.ts";
import { S_IFDIR, S_IFREG } from "../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { O_RDWR } from "../../../src/core/open-flags.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import { stack, startGraph } from "../../support/build-graph.ts";

const call = internalCall(1);
const root = new Inode(ROOT_GFID, S_IFDIR);

async function withArbiter(test: (top: XlatorBase, below: XlatorBase, fd: Fd) => Promise<void>) {
  const volfile = stack(
    { name: "storage", type: "storage/memory" },
    { name: "arbiter", type: "features/arbiter" },
  );
  await using graph = await startGraph(volfile, { contracts: true });
  const inode = new Inode();
  const fd = new Fd(inode, O_RDWR);
  const gfid = newGfid();
  const loc = { inode, parent: root, name: "f" };
  const xdata = new Dict().setGfid(KEY.GFID_REQ, gfid);
  await graph.top.create(call, { loc, fd, flags: O_RDWR, mode: 0o640, umask: 0, xdata });
  inode.gfid = gfid;
  inode.type = S_IFREG;
  await test(graph.top, graph.xlator("storage"), fd);
  await graph.top.release(fd);
}

describe("features/arbiter", () => {
  it("says yes to whatever changes data, and stores nothing", () =>
    withArbiter(async (top, below, fd) => {
      const data = [Buffer.alloc(3000, 1), Buffer.alloc(1096, 2)];
      const written = await top.writev(call, { fd, data, offset: 8192, flags: 0 });
      expect(written.size).toBe(4096);
      for (const reply of [
        written,
        await top.truncate(call, { loc: { inode: fd.inode }, offset: 100 }),
        await top.ftruncate(call, { fd, offset: 100 }),
        await top.fallocate(call, { fd, keepSize: false, offset: 0, size: 100 }),
        await top.discard(call, { fd, offset: 0, size: 100 }),
        await top.zerofill(call, { fd, offset: 0, size: 100 }),
      ]) {
        expect(reply.post).toMatchObject({ size: 0, mode: S_IFREG | 0o640, gfid: fd.inode.gfid });
        expect(reply.pre).toEqual(reply.post);
      }
      expect((await below.fstat(call, { fd })).stat).toMatchObject({ size: 0, blocks: 0 });
    }));

  it("has no data to read", () =>
    withArbiter(async (top, _below, fd) => {
      for (const read of [
        top.readv(call, { fd, offset: 0, size: 10, flags: 0 }),
        top.seek(call, { fd, offset: 0, what: "data" }),
        top.rchecksum(call, { fd, offset: 0, size: 10 }),
      ])
        await expect(read).rejects.toMatchObject({ code: "ENOSYS", xlator: "arbiter" });
    }));

  it("answers writev's questions about open fds and appending", () =>
    withArbiter(async (top, _below, fd) => {
      const second = new Fd(fd.inode, O_RDWR);
      await top.open(call, { loc: { inode: fd.inode }, fd: second, flags: O_RDWR });
      const xdata = new Dict().setUint(KEY.OPEN_FD_COUNT, 0).setUint(KEY.WRITE_IS_APPEND, 0);
      const ask = async (): Promise<(number | undefined)[]> => {
        const reply = await top.writev(call, { fd, data: [Buffer.alloc(1)], offset: 0, flags: 0, xdata });
        return [KEY.OPEN_FD_COUNT, KEY.WRITE_IS_APPEND].map((key) => reply.xdata?.number(key));
      };
      expect(await ask()).toEqual([2, 1]);
      await top.release(second);
      expect(await ask()).toEqual([1, 1]);
    }));

  it("keeps attributes, marks and names like any brick", () =>
    withArbiter(async (top, _below, fd) => {
      const xattrs = Dict.ofBytes({ "trusted.afr.v-client-0": Buffer.alloc(12, 1) });
      const marked = await top.fxattrop(call, { fd, op: XATTROP.ADD_ARRAY, xattrs });
      expect(marked.xattrs.bytes("trusted.afr.v-client-0")).toEqual(Buffer.alloc(12, 1));
      const { stat } = await top.fstat(call, { fd });
      await top.fsetattr(call, { fd, stat: { ...stat, mode: 0o600 }, valid: 1 });
      const looked = await top.lookup(call, { loc: { inode: new Inode(), parent: root, name: "f" } });
      expect(looked.stat).toMatchObject({ mode: S_IFREG | 0o600, size: 0 });
    }));

  it("knows attributes without a lookup before, as after a restart", () =>
    withArbiter(async (top, _below, fd) => {
      const again = new Inode(fd.inode.gfid, S_IFREG);
      const reply = await top.truncate(call, { loc: { inode: again }, offset: 5 });
      expect(reply.post).toMatchObject({ size: 0, mode: S_IFREG | 0o640 });
    }));
});
