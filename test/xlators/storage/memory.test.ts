/**
 * What storage/memory has beyond the contract that the conformance suite checks: limits, a disk that outlives
 * it, crashes.
 */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { newGfid } from "../../../src/core/gfid.ts";
import { Fd, Inode, InodeTable } from "../../../src/core/inode.ts";
import { O_RDWR } from "../../../src/core/open-flags.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import { MemoryDisk } from "../../../xlators/storage/memory/disk.ts";
import { memoryOn } from "../../../xlators/storage/memory.ts";
import { stack, startGraph } from "../../support/build-graph.ts";

const call = internalCall();

/** Creates a file in the root and links its inode. */
async function create(top: XlatorBase, table: InodeTable, name: string): Promise<Fd> {
  const inode = new Inode();
  const fd = new Fd(inode, O_RDWR);
  const loc = { inode, parent: table.root, name };
  const xdata = new Dict().setGfid("gfid-req", newGfid());
  const { stat } = await top.create(call, { loc, fd, flags: O_RDWR, mode: 0o644, umask: 0, xdata });
  table.link(inode, stat.gfid, stat.mode);
  return fd;
}

function brick(options: Record<string, string> = {}): string {
  return stack({ name: "brick", type: "storage/memory", options });
}

async function contents(top: XlatorBase, table: InodeTable, name: string): Promise<string> {
  const { stat } = await top.lookup(call, { loc: { inode: new Inode(), parent: table.root, name } });
  const fd = Fd.anonymous(table.link(new Inode(), stat.gfid, stat.mode), O_RDWR);
  const { data } = await top.readv(call, { fd, offset: 0, size: 100, flags: 0 });
  return Buffer.concat(data as Buffer[]).toString();
}

describe("storage/memory", () => {
  it("refuses with ENOSPC what exceeds its capacity and takes it again after a file is gone", async () => {
    await using graph = await startGraph(brick({ capacity: "8192" }));
    const table = new InodeTable();
    const fd = await create(graph.top, table, "a");
    const page = [Buffer.alloc(4096, "x")];
    await graph.top.writev(call, { fd, data: page, offset: 0, flags: 0 });
    await graph.top.writev(call, { fd, data: page, offset: 4096, flags: 0 });
    const more = graph.top.writev(call, { fd, data: page, offset: 8192, flags: 0 });
    await expect(more).rejects.toMatchObject({ code: "ENOSPC", fop: "writev", xlator: "brick" });
    await graph.top.writev(call, { fd, data: page, offset: 0, flags: 0 });
    await graph.top.unlink(call, { loc: { inode: fd.inode, parent: table.root, name: "a" }, flags: 0 });
    await graph.top.release(fd);
    const { statfs } = await graph.top.statfs(call, { loc: { inode: table.root } });
    expect(statfs.bfree).toBe(statfs.blocks);
  });

  it("refuses with ENOSPC more inodes than it may have", async () => {
    await using graph = await startGraph(brick({ "inodes-max": "2" }));
    const table = new InodeTable();
    await create(graph.top, table, "a");
    await expect(create(graph.top, table, "b")).rejects.toMatchObject({ code: "ENOSPC" });
  });

  it("refuses with EMLINK more names than max-hardlinks", async () => {
    await using graph = await startGraph(brick({ "max-hardlinks": "2" }));
    const table = new InodeTable();
    const from = { inode: (await create(graph.top, table, "a")).inode };
    await graph.top.link(call, { from, to: { ...from, parent: table.root, name: "b" } });
    const third = graph.top.link(call, { from, to: { ...from, parent: table.root, name: "c" } });
    await expect(third).rejects.toMatchObject({ code: "EMLINK" });
  });

  it("finds its files again when a new graph stands on the same disk", async () => {
    const disk = new MemoryDisk();
    const table = new InodeTable();
    {
      await using graph = await startGraph(brick(), { definitions: [memoryOn(disk)] });
      const fd = await create(graph.top, table, "a");
      await graph.top.writev(call, { fd, data: [Buffer.from("hello")], offset: 0, flags: 0 });
    }
    await using graph = await startGraph(brick(), { definitions: [memoryOn(disk)] });
    expect(await contents(graph.top, table, "a")).toBe("hello");
  });

  it("loses in a crash what was written but not synced, and removed files that were open", async () => {
    const disk = new MemoryDisk();
    const table = new InodeTable();
    {
      await using graph = await startGraph(brick(), { definitions: [memoryOn(disk)] });
      const fd = await create(graph.top, table, "a");
      await graph.top.writev(call, { fd, data: [Buffer.from("synced")], offset: 0, flags: 0 });
      await graph.top.fsync(call, { fd, datasync: true });
      await graph.top.writev(call, { fd, data: [Buffer.from("UNSYNCED")], offset: 0, flags: 0 });
      const gone = await create(graph.top, table, "gone");
      await graph.top.unlink(call, {
        loc: { inode: gone.inode, parent: table.root, name: "gone" },
        flags: 0,
      });
      expect(disk.inodeCount).toBe(3);
    }
    disk.crash();
    expect(disk.inodeCount).toBe(2);
    await using graph = await startGraph(brick(), { definitions: [memoryOn(disk)] });
    expect(await contents(graph.top, table, "a")).toBe("synced");
  });
});
