import { describe, expect, it } from "vitest";
import { Passthrough } from "../../mount/dev-fuse/passthrough.ts";
import { FileHandle, HandleTable } from "../../mount/handles.ts";
import { Node } from "../../mount/nodes.ts";
import { FopError } from "../../src/core/errors.ts";
import { Fd, Inode } from "../../src/core/inode.ts";
import { SILENT } from "../../src/core/log.ts";

const READER = 0;
const WRITER = 2;

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
    opens(flags = READER) {
      const handle = new FileHandle(node, new Fd(node.inode, flags));
      numbers.set(handle, handles.add(handle));
      return { handle, id: passthrough.opened(handle) };
    },
    releases(handle: FileHandle) {
      handles.remove(numbers.get(handle)!);
      passthrough.released(handle);
    },
  };
}

describe("passthrough", () => {
  it("gives all readers of an inode the same file, and takes it back with the last handle", () => {
    const mount = setUp();
    const first = mount.opens();
    const second = mount.opens();
    expect(second.id).toBe(first.id);
    mount.releases(first.handle);
    expect([...mount.open]).toEqual([first.id]);
    mount.releases(second.handle);
    expect([...mount.open]).toEqual([]);
    expect(mount.opens().id).not.toBe(first.id);
  });

  it("never begins with a writer, and not while one has the file open", () => {
    const mount = setUp();
    const writer = mount.opens(WRITER);
    expect(writer.id).toBe(0);
    const reader = mount.opens();
    expect(reader.id).toBe(0);
    expect(mount.asked).toHaveLength(0);
    mount.releases(writer.handle);
    mount.releases(reader.handle);
    expect(mount.opens().id).toBeGreaterThan(0);
  });

  it("takes a writer that comes later into the count, since the kernel refuses any other", () => {
    const mount = setUp();
    const reader = mount.opens();
    const writer = mount.opens(WRITER);
    expect(writer.id).toBe(reader.id);
    mount.releases(reader.handle);
    expect([...mount.open]).toEqual([reader.id]);
    mount.releases(writer.handle);
    expect([...mount.open]).toEqual([]);
  });

  it("is not for what the graph has no file of", () => {
    const mount = setUp(() => false);
    expect(mount.opens().id).toBe(0);
    expect(mount.asked).toHaveLength(1);
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
});
