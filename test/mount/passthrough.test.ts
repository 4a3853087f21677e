import { describe, expect, it } from "vitest";
import { Passthrough } from "../../mount/dev-fuse/passthrough.ts";
import { FileHandle, HandleTable } from "../../mount/handles.ts";
import { Node } from "../../mount/nodes.ts";
import { FopError } from "../../src/core/errors.ts";
import { Fd, Inode } from "../../src/core/inode.ts";
import { SILENT } from "../../src/core/log.ts";

const READER = 0;
const WRITER = 2;

/** A kernel that numbers what it is given, and a graph that has a file for some descriptors. */
function setUp({
  hasFile = () => true,
  forWriters = true,
}: {
  hasFile?: (fd: Fd) => boolean;
  forWriters?: boolean;
} = {}) {
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
  const passthrough = new Passthrough(backings, top, forWriters, SILENT);
  const handles = new HandleTable();
  const node = new Node(2, new Inode());
  const numbers = new Map<FileHandle, number>();
  return {
    open,
    asked,
    node,
    refuse: () => {
      refuse = true;
    },
    anotherNode: () => new Node(3, new Inode()),
    opens(flags = READER, of = node) {
      const handle = new FileHandle(of, new Fd(of.inode, flags));
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

  it("serves readers and writers alike", () => {
    const mount = setUp();
    const writer = mount.opens(WRITER);
    const reader = mount.opens(READER);
    expect(reader.id).toBe(writer.id);
    expect([writer, reader].map(({ handle }) => handle.passing)).toEqual(["kernel", "kernel"]);
    mount.releases(writer.handle);
    expect([...mount.open]).toEqual([reader.id]);
    mount.releases(reader.handle);
    expect([...mount.open]).toEqual([]);
    expect(reader.handle.passing).toBe("no");
  });

  it.each([
    { when: "only readers may", only: { forWriters: false } },
    { when: "the graph has a file for readers alone", only: { hasFile: (fd: Fd) => fd.flags === READER } },
  ])("never begins with a writer, and not while one has the file open, when $when", ({ only }) => {
    const mount = setUp(only);
    const writer = mount.opens(WRITER);
    expect(writer).toMatchObject({ id: 0, handle: { passing: "no" } });
    const asked = mount.asked.length;
    const reader = mount.opens();
    expect(reader.id).toBe(0);
    expect(mount.asked).toHaveLength(asked);
    mount.releases(writer.handle);
    mount.releases(reader.handle);
    expect(mount.opens().id).toBeGreaterThan(0);
  });

  it("counts one that comes later and must ask, since the kernel refuses any other", () => {
    const mount = setUp({ forWriters: false });
    const reader = mount.opens();
    const writer = mount.opens(WRITER);
    expect(writer).toMatchObject({ id: reader.id, handle: { passing: "requests" } });
    mount.releases(reader.handle);
    expect([...mount.open]).toEqual([reader.id]);
    mount.releases(writer.handle);
    expect([...mount.open]).toEqual([]);
  });

  it("has writers ask about a file with set-id bits, and readers not", () => {
    const mount = setUp();
    mount.node.mode = 0o104755;
    const reader = mount.opens();
    expect(reader.handle.passing).toBe("kernel");
    expect(mount.opens(WRITER)).toMatchObject({ id: reader.id, handle: { passing: "requests" } });
  });

  it("keeps files that pass through when the kernel refuses another", () => {
    const mount = setUp();
    const first = mount.opens();
    mount.refuse();
    expect(mount.opens(READER, mount.anotherNode()).id).toBe(0);
    expect(mount.opens().id).toBe(first.id);
  });

  it("is not for what the graph has no file of", () => {
    const mount = setUp({ hasFile: () => false });
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
