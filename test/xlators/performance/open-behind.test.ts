/** performance/open-behind: which opens reach the brick, when, and what becomes of those that fail. */

import { describe, expect, it } from "vitest";
import type { FopName } from "../../../src/core/fops.ts";
import { Fd } from "../../../src/core/inode.ts";
import { O_RDONLY, O_RDWR, O_TRUNC } from "../../../src/core/open-flags.ts";
import type { DelayGen } from "../../../xlators/debug/delay-gen.ts";
import type { ErrorGen } from "../../../xlators/debug/error-gen.ts";
import { stack, startGraph } from "../../support/build-graph.ts";
import { settle } from "../../support/fake-env.ts";
import { Session } from "../../support/session.ts";

async function rig(options: Readonly<Record<string, string>> = {}) {
  const graph = await startGraph(
    stack(
      { name: "brick", type: "storage/memory" },
      { name: "locks", type: "features/locks" },
      { name: "errors", type: "debug/error-gen", options: { failure: "0" } },
      { name: "delays", type: "debug/delay-gen", options: { "delay-percentage": "0" } },
      { name: "open-behind", type: "performance/open-behind", options },
    ),
    { contracts: true },
  );
  const session = new Session(graph.top);
  const errors = graph.xlator<ErrorGen>("errors");
  const went: FopName[] = [];
  errors.failWhere((fop) => {
    went.push(fop);
    return undefined;
  });
  // A file with something in it, and nobody has it open.
  const made = await session.create("f");
  await session.write(made, "bytes");
  await session.release(made);
  const inode = await session.inode("f");
  went.length = 0;
  return {
    graph,
    session,
    errors,
    inode,
    went,
    delays: graph.xlator<DelayGen>("delays"),
    opens: () => went.filter((fop) => fop === "open").length,
    [Symbol.asyncDispose]: async () => {
      await session.end();
      await graph[Symbol.asyncDispose]();
    },
  };
}

type Rig = Awaited<ReturnType<typeof rig>>;

describe("an open", () => {
  it("of a file that is closed untouched never reaches the brick", async () => {
    await using r = await rig();
    const fd = await r.session.open(r.inode);
    await r.session.close(fd);
    expect(r.went).toEqual([]);
    await r.session.open(r.inode);
    expect(r.opens()).toBe(0);
  });

  const uses: readonly (readonly [FopName, (r: Rig, fd: Fd) => Promise<unknown>])[] = [
    ["readv", (r, fd) => r.session.read(fd)],
    ["writev", (r, fd) => r.session.write(fd, "x")],
    ["fstat", (r, fd) => r.session.size(fd)],
    ["lk", (r, fd) => r.session.lk(fd, "setlk", "wrlck", 0, 1)],
    ["fsync", (r, fd) => r.graph.top.fsync(r.session.call, { fd, datasync: true })],
    ["ftruncate", (r, fd) => r.graph.top.ftruncate(r.session.call, { fd, offset: 1 })],
    ["seek", (r, fd) => r.graph.top.seek(r.session.call, { fd, offset: 0, what: "data" })],
    ["discard", (r, fd) => r.graph.top.discard(r.session.call, { fd, offset: 0, size: 1 })],
    ["fgetxattr", (r, fd) => r.graph.top.fgetxattr(r.session.call, { fd, name: undefined })],
  ];
  it.each(uses)("is sent before the first %s through its fd, once", async (fop, use) => {
    await using r = await rig();
    const fd = await r.session.open(r.inode);
    expect(r.went).toEqual([]);
    await Promise.all([use(r, fd), use(r, fd)]);
    expect(r.went).toEqual(["open", fop, fop]);
    await r.session.close(fd);
    expect(r.went.at(-1)).toBe("flush");
  });

  it("is answered by the brick when it truncates, asks something, or with pass-through", async () => {
    await using r = await rig();
    await r.session.release(await r.session.open(r.inode, O_RDWR | O_TRUNC));
    expect(r.opens()).toBe(1);
    await using other = await rig({ "pass-through": "on" });
    await other.session.open(other.inode);
    expect(other.opens()).toBe(1);
  });

  it("of a file that is open already is the brick's, after the late one", async () => {
    await using r = await rig();
    await r.session.open(r.inode, O_RDONLY);
    const hold = r.delays.hold("open");
    const second = r.session.open(r.inode);
    await hold.arrived();
    expect(hold.count).toBe(1);
    r.delays.unhold(hold);
    await second;
    expect(r.opens()).toBe(2);
  });

  it("two at once are two opens, the first of them late", async () => {
    await using r = await rig();
    await Promise.all([r.session.open(r.inode), r.session.open(r.inode)]);
    expect(r.opens()).toBe(2);
  });

  it("goes at once, but answered before, with lazy-open off", async () => {
    await using r = await rig({ "lazy-open": "off" });
    const hold = r.delays.hold("open");
    const fd = await r.session.open(r.inode);
    await hold.arrived();
    const released = r.session.release(fd);
    await settle();
    expect(r.went).toEqual([]);
    r.delays.unhold(hold);
    await released;
    expect(r.opens()).toBe(1);
  });
});

describe("changes of a name", () => {
  it("unlink sends the open first, and the file lives on", async () => {
    await using r = await rig();
    const fd = await r.session.open(r.inode);
    const loc = { inode: r.inode, parent: r.session.root, name: "f" };
    await r.graph.top.unlink(r.session.call, { loc, flags: 0 });
    expect(r.went).toEqual(["open", "unlink"]);
    expect(await r.session.text(fd)).toBe("bytes");
  });

  it("so does an unlink that does not know the inode, and a rename onto the name", async () => {
    for (const how of ["unlink", "rename"] as const) {
      await using r = await rig();
      const fd = await r.session.open(r.inode);
      if (how === "unlink") await r.session.unlink("f");
      else {
        await r.session.release(await r.session.create("g"));
        await r.session.rename("g", "f");
      }
      expect(await r.session.text(fd), how).toBe("bytes");
    }
  });

  it("a change of mode or of xattrs sends it too; of another file it does not", async () => {
    await using r = await rig();
    await r.session.open(r.inode);
    await r.session.release(await r.session.create("g"));
    await r.session.setattr(await r.session.inode("g"), 1, { mode: 0o600 });
    expect(r.opens()).toBe(0);
    await r.session.setattr(r.inode, 1, { mode: 0o400 });
    expect(r.opens()).toBe(1);
  });
});

describe("a late open that fails", () => {
  it("fails every fop through its fd with its errno, and the next open is tried afresh", async () => {
    await using r = await rig();
    const fd = await r.session.open(r.inode);
    r.errors.failNext("open", "EACCES");
    await expect(r.session.read(fd)).rejects.toMatchObject({ code: "EACCES", xlator: "open-behind" });
    await expect(r.session.write(fd, "x")).rejects.toMatchObject({ code: "EACCES" });
    await expect(r.graph.top.flush(r.session.call, { fd })).rejects.toMatchObject({ code: "EACCES" });
    await r.session.release(fd);
    expect(r.opens()).toBe(1);
    expect(await r.session.text(await r.session.open(r.inode))).toBe("bytes");
  });
});

describe("use-anonymous-fd", () => {
  it("reads and looks without an open, and writes with one", async () => {
    await using r = await rig({ "use-anonymous-fd": "on", "read-after-open": "off" });
    const fd = await r.session.open(r.inode);
    expect(await r.session.text(fd)).toBe("bytes");
    expect(await r.session.size(fd)).toBe(5);
    expect(r.went).toEqual(["readv", "fstat"]);
    await r.session.write(fd, "BYTES");
    expect(r.went).toEqual(["readv", "fstat", "open", "writev"]);
    expect(await r.session.text(fd)).toBe("BYTES");
  });

  it("with read-after-open sends the open before a read all the same", async () => {
    await using r = await rig({ "use-anonymous-fd": "on" });
    const fd = await r.session.open(r.inode);
    await r.session.size(fd);
    await r.session.text(fd);
    expect(r.went).toEqual(["fstat", "open", "readv"]);
  });

  it("leaves fds alone that were anonymous to begin with", async () => {
    await using r = await rig();
    expect(await r.session.text(Fd.anonymous(r.inode, O_RDWR))).toBe("bytes");
    expect(r.opens()).toBe(0);
  });
});
