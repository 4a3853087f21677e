import { describe, expect, it } from "vitest";
import { Passthrough } from "../../mount/dev-fuse/passthrough.ts";
import { FileHandle, HandleTable } from "../../mount/handles.ts";
import { Node } from "../../mount/nodes.ts";
import { FopError } from "../../src/core/errors.ts";
import { Fd, Inode } from "../../src/core/inode.ts";
import { SILENT } from "../../src/core/log.ts";

/** A kernel that numbers what it is given, and a graph that has a file for descriptors with these flags. */
function setUp(hasFile: (fd: Fd) => boolean = () => true) {
  const open = new Set<number>();
  let last = 0;
  let refuse = false;
  const backings = {
    open: () => {
      if (refuse) throw new FopError("EPERM");
      open.add(++last);
      return last;
    },
    close: (id: number) => void open.delete(id),
  };
  const asked: Fd[] = [];
  const top = {
    localFile: (fd: Fd) => {
      asked.push(fd);
      return hasFile(fd) ? 7 : undefined;
    },
  };
  const passthrough = new Passthrough(backings, top, SILENT);
  const handles = new HandleTable();
  const node = new Node(2, new Inode());
  const numbers = new Map<FileHandle, number>();
  return {
    open,
    asked,
    refuse: () => {
      refuse = true;
    },
    node,
    opens(flags = 2, uid = 0) {
      const handle = new FileHandle(node, new Fd(node.inode, flags));
      numbers.set(handle, handles.add(handle));
      return { handle, id: passthrough.opened(handle, uid) };
    },
    releases(handle: FileHandle) {
      handles.remove(numbers.get(handle)!);
      passthrough.released(handle);
    },
  };
}

describe("passthrough", () => {
  it("gives all handles of an inode the same file, and takes it back with the last one", () => {
    const mount = setUp();
    const first = mount.opens();
    const second = mount.opens(0);
    expect(second.id).toBe(first.id);
    mount.releases(first.handle);
    expect([...mount.open]).toEqual([first.id]);
    mount.releases(second.handle);
    expect([...mount.open]).toEqual([]);
    expect(mount.opens().id).not.toBe(first.id);
  });

  it("is not for an inode that has a handle without it, until that one is gone", () => {
    const mount = setUp((fd) => fd.flags !== 2);
    const plain = mount.opens(2);
    expect(plain.id).toBe(0);
    const later = mount.opens(0);
    expect(later.id).toBe(0);
    mount.releases(plain.handle);
    expect(mount.opens(0).id).toBe(0);
    mount.releases(later.handle);
  });

  it("holds for every later handle of an inode, since the kernel refuses any other", () => {
    const mount = setUp((fd) => fd.flags === 0);
    const reader = mount.opens(0);
    expect(mount.opens(2).id).toBe(reader.id);
  });

  it("is given up for the mount when the kernel refuses once", () => {
    const mount = setUp();
    mount.refuse();
    const first = mount.opens();
    expect(first.id).toBe(0);
    mount.releases(first.handle);
    expect(mount.opens().id).toBe(0);
    expect(mount.asked).toHaveLength(1);
  });

  it("remembers that somebody else than root writes, until all handles are gone", () => {
    const mount = setUp();
    const root = mount.opens(2, 0);
    const reader = mount.opens(0, 1000);
    expect(mount.node.backing?.unprivileged).toBe(false);
    const writer = mount.opens(1, 1000);
    mount.releases(writer.handle);
    expect(mount.node.backing?.unprivileged).toBe(true);
    for (const { handle } of [root, reader]) mount.releases(handle);
    mount.opens(2, 0);
    expect(mount.node.backing?.unprivileged).toBe(false);
  });
});
