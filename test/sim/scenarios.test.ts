/**
 * Scenarios of the specification on virtual time, each under the name it has there (spec scenarios.md): what
 * GlusterFS' own tests check of replicas, quorum, arbiter, heal and split brain.
 */

import { describe, expect, it } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { Scene } from "./scene.ts";

const counts = (...values: [number, number, number]): Buffer => {
  const bytes = Buffer.alloc(12);
  for (const [index, value] of values.entries()) bytes.writeInt32BE(value, 4 * index);
  return bytes;
};

/** `{ dirty: [1, 0, 0], 2: [1, 0, 0] }` as increments. */
function marks(of: Readonly<Record<string, readonly [number, number, number]>>): Dict {
  const dict = new Dict();
  for (const [name, values] of Object.entries(of))
    dict.setBytes(`trusted.afr.${name === "dirty" ? name : `vol-client-${name}`}`, counts(...values));
  return dict;
}

describe("scenarios", () => {
  it("QUO-04: quorum of three copies", async () => {
    const scene = await Scene.start();
    const fd = await scene.file("f", "abc");
    await scene.down(2);
    expect(await scene.code(scene.write(fd, "d"))).toBe("ok");
    await scene.down(1);
    expect(await scene.code(scene.write(fd, "e"))).toBe("ENOTCONN");
    expect(await scene.code(scene.read(fd))).toBe("ENOTCONN");
    await scene.up(1, 2);
    expect(await scene.read(fd)).toBe("dbc");
    expect(await scene.heal()).toEqual([]);
    await scene.end();
  });

  it("QUO-04: fixed 3 with one copy down", async () => {
    const scene = await Scene.start({ options: { "quorum-type": "fixed", "quorum-count": "3" } });
    const fd = await scene.file("f", "abc");
    await scene.down(1);
    expect(await scene.code(scene.write(fd, "d"))).toBe("ENOTCONN");
    expect(await scene.code(scene.read(fd))).toBe("ENOTCONN");
    await scene.up(1);
    expect(await scene.read(fd)).toBe("abc");
    await scene.end();
  });

  it("ARB-02: with the arbiter as the only good copy there is nothing to read or to write", async () => {
    const scene = await Scene.start({ arbiter: true });
    const fd = await scene.file("f", "abc");
    await scene.down(0);
    await scene.write(fd, "de");
    await scene.settle();
    await scene.up(0);
    await scene.down(1);
    expect(await scene.code(scene.write(fd, "x"))).not.toBe("ok");
    expect(await scene.code(scene.read(fd))).not.toBe("ok");
    await scene.up(1);
    expect(await scene.heal()).toEqual([]);
    expect(await scene.read(fd)).toBe("dec");
    expect(await scene.code(scene.write(fd, "x"))).toBe("ok");
    await scene.end();
  });

  it("ARB-08: no lock is left on the arbiter after a heal", async () => {
    const scene = await Scene.start({ arbiter: true });
    const fd = await scene.file("f", "abc");
    await scene.down(2);
    await scene.write(fd, "d");
    await scene.settle();
    await scene.up(2);
    expect(await scene.heal()).toEqual([]);
    expect(await scene.code(scene.write(fd, "e"))).toBe("ok");
    await scene.end();
  });

  it("RSV-01: a copy that missed a write is not read, preferred or not", async () => {
    const scene = await Scene.start({ bricks: 2, options: { "read-subvolume-index": "1" } });
    const fd = await scene.file("f", "old");
    await scene.down(1);
    await scene.write(fd, "newer");
    await scene.settle();
    await scene.up(1);
    expect((await scene.step(scene.edge.stat(fd.inode))).size).toBe(5);
    expect(await scene.read(fd)).toBe("newer");
    await scene.end();
  });

  it("EAG-02: a writer stops before its last good copy is gone, and that copy is blamed by nobody", async () => {
    const scene = await Scene.start();
    const fd = await scene.file("f", "0");
    await scene.down(0);
    await scene.write(fd, "1");
    await scene.up(0);
    await scene.down(1);
    await scene.write(fd, "2");
    await scene.up(1);
    await scene.down(2);
    expect(await scene.code(scene.write(fd, "3"))).not.toBe("ok");
    await scene.settle();
    const { gfid } = fd.inode;
    for (const index of [0, 1]) expect(scene.marks(index, gfid)).not.toHaveProperty("2");
    await scene.up(2);
    expect(await scene.heal()).toEqual([]);
    for (const index of [0, 1, 2]) expect(scene.content(index, gfid)).toBe("2");
    await scene.end();
  });

  it("SB-11a: two copies against one", async () => {
    const scene = await Scene.start();
    const fd = await scene.file("f", "good");
    await scene.mark(0, fd, marks({ 1: [1, 0, 0] }));
    await scene.mark(2, fd, marks({ 1: [1, 0, 0] }));
    await scene.mark(1, fd, marks({ 0: [1, 0, 0], 2: [1, 0, 0] }));
    scene.node(1, fd.inode.gfid).data!.write([Buffer.from("evil")], 0);
    expect(await scene.heal()).toEqual([]);
    expect(scene.content(1, fd.inode.gfid)).toBe("good");
    await scene.end();
  });

  it("SB-11b: blame in a circle", async () => {
    const scene = await Scene.start();
    const fd = await scene.file("f", "a");
    for (const [index, blamed] of [1, 2, 0].entries())
      await scene.mark(index, fd, marks({ [blamed]: [1, 0, 0], dirty: [1, 0, 0] }));
    scene.node(1, fd.inode.gfid).data!.write([Buffer.from("longer")], 0);
    expect(await scene.heal()).toEqual([]);
    await scene.end();
  });

  it("HEAL-02: of copies without marks, or dirty, the larger one stays", async () => {
    const scene = await Scene.start();
    const fd = await scene.file("f", "abcd");
    const { gfid } = fd.inode;
    scene.node(1, gfid).data!.write([Buffer.from("abcde")], 0);
    await scene.mark(0, fd, marks({ dirty: [1, 0, 0] }));
    expect(await scene.heal()).toEqual([]);
    for (const index of [0, 1, 2]) expect(scene.content(index, gfid)).toBe("abcde");
    await scene.end();
  });

  it("HEAL-04a: a copy that blames itself accuses nobody", async () => {
    const scene = await Scene.start({ bricks: 2 });
    const fd = await scene.file("f", "abc");
    const { gfid } = fd.inode;
    scene.node(1, gfid).data!.write([Buffer.from("xyz")], 0);
    await scene.mark(1, fd, marks({ 1: [1, 0, 0], 0: [1, 0, 0] }));
    await scene.mark(0, fd, marks({ 1: [1, 0, 0] }));
    expect(await scene.heal()).toEqual([]);
    expect(scene.content(1, gfid)).toBe("abc");
    await scene.end();
  });

  it("HEAL-05: mode, owner and xattrs come back", async () => {
    const scene = await Scene.start();
    const fd = await scene.file("f", "abc");
    await scene.step(scene.edge.setxattr(fd.inode, "user.gone", "1"));
    await scene.down(0);
    await scene.step(scene.edge.setattr(fd.inode, 7, { mode: 0o600, uid: 7, gid: 8 }));
    await scene.step(scene.edge.setxattr(fd.inode, "user.new", "2"));
    const args = { loc: { inode: fd.inode }, name: "user.gone" };
    await scene.step(scene.edge.top.removexattr(scene.edge.call, args));
    await scene.up(0);
    expect(await scene.heal()).toEqual([]);
    const node = scene.node(0, fd.inode.gfid);
    expect([node.mode & 0o7777, node.uid, node.gid]).toEqual([0o600, 7, 8]);
    expect([node.xattrs.has("user.gone"), node.xattrs.get("user.new")?.toString()]).toEqual([false, "2"]);
    await scene.end();
  });

  it("HEAL-08: a name that became another object while a copy was away", async () => {
    const scene = await Scene.start();
    const { edge } = scene;
    await scene.file("a", "old");
    await scene.file("b", "b");
    await scene.down(1);
    await scene.step(edge.unlink(edge.root, "a"));
    await scene.step(edge.mkdir(edge.root, "a", edge.newGfid()));
    await scene.step(edge.rename(edge.root, "b", "c"));
    await scene.up(1);
    expect(await scene.heal()).toEqual([]);
    expect((await scene.step(edge.list(edge.root))).sort()).toEqual(["a", "c"]);
    await scene.end();
  });
});
