import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { FopError } from "../../src/core/errors.ts";
import { text, u32, u64 } from "./fake-kernel.ts";
import { MountedGraph, ROOT } from "./mounted-graph.ts";

const OP = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  STATFS: 17,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  BATCH_FORGET: 42,
  READDIRPLUS: 44,
  RENAME2: 45,
} as const;

const open: MountedGraph[] = [];
afterEach(async () => {
  for (const mount of open.splice(0)) {
    expect(mount.kernel.bugs).toEqual([]);
    expect(mount.kernel.unanswered).toBe(0);
    await mount[Symbol.asyncDispose]();
  }
});

async function mounted(...options: [string, string?][]): Promise<MountedGraph> {
  const mount = await MountedGraph.start(...options);
  open.push(mount);
  return mount;
}

const lookup = (mount: MountedGraph, name: string | Buffer, parent = ROOT) =>
  mount.kernel.send(OP.LOOKUP, parent, [text(name)]);

describe("LOOKUP and FORGET", () => {
  it("finds what was made, with its inode number from the gfid and a gfid asked for", async () => {
    const mount = await mounted();
    const { node } = await mount.create("f");
    const { body } = await lookup(mount, "f");
    expect(Number(body.readBigUInt64LE(0))).toBe(node);
    const gfid = mount.state.nodes.get(node)!.inode.gfid;
    expect(body.readBigUInt64LE(40)).toBe(gfid.readBigUInt64BE(8));
    const { xdata } = mount.spy.last("lookup").args as { xdata?: Dict };
    expect(xdata?.gfid("gfid-req")).toHaveLength(16);
  });

  it("is ENOENT for a missing name; with negative-timeout an entry that says so", async () => {
    expect((await lookup(await mounted(), "nothing")).code).toBe("ENOENT");
    const { body } = await lookup(await mounted(["negative-timeout", "2"]), "nothing");
    expect([body.readBigUInt64LE(0), body.readBigUInt64LE(16)]).toEqual([0n, 2n]);
  });

  it("keeps a node until all its lookups are forgotten, then the id is never used again", async () => {
    const mount = await mounted();
    const { node } = await mount.create("f");
    await lookup(mount, "f");
    await lookup(mount, "f");
    const attr = async () => (await mount.kernel.send(OP.GETATTR, node, [u32(0, 0), u64(0)])).code;
    expect((await mount.kernel.send(OP.FORGET, node, [u64(2)])).code).toBe("none");
    expect(await attr()).toBe("ok");
    await mount.kernel.send(OP.BATCH_FORGET, 0, [u32(2, 0), u64(node, 1, 999, 5)]);
    expect(await attr()).toBe("ESTALE");
    expect(Number((await lookup(mount, "f")).body.readBigUInt64LE(0))).toBeGreaterThan(node);
    await mount.kernel.send(OP.FORGET, ROOT, [u64(100)]);
    expect((await mount.kernel.send(OP.GETATTR, ROOT, [u32(0, 0), u64(0)])).code).toBe("ok");
  });

  it("revalidates by the known inode, and once more as new when that fails", async () => {
    const mount = await mounted();
    await mount.create("f");
    let asked = 0;
    mount.spy.answer("lookup", (_call, args, pass) => {
      asked++;
      return args.loc.inode.linked ? Promise.reject(new FopError("ESTALE")) : pass();
    });
    expect((await lookup(mount, "f")).code).toBe("ok");
    expect(asked).toBe(2);
  });

  it("without a gfid in the reply is EIO", async () => {
    const mount = await mounted();
    await mount.create("f");
    mount.spy.answer("lookup", async (_call, _args, pass) => {
      const reply = await pass();
      return { ...reply, stat: { ...reply.stat, gfid: Buffer.alloc(16) as typeof reply.stat.gfid } };
    });
    expect((await lookup(mount, "f")).code).toBe("EIO");
  });

  it("refuses names no brick can have", async () => {
    const mount = await mounted();
    expect((await lookup(mount, "x".repeat(256))).code).toBe("ENAMETOOLONG");
    expect((await lookup(mount, "ü".repeat(128))).code).toBe("ENAMETOOLONG");
    expect((await mount.kernel.send(OP.LOOKUP, ROOT, [Buffer.from("unterminated")])).code).toBe("EINVAL");
  });

  it("takes names as bytes", async () => {
    const mount = await mounted();
    const name = Buffer.from([0x66, 0xff, 0xfe, 0x80]);
    await mount.kernel.ok(OP.MKDIR, ROOT, [u32(0o755, 0), text(name)]);
    expect((await lookup(mount, name)).code).toBe("ok");
    expect((await lookup(mount, Buffer.from([0x66, 0xff, 0xfe, 0x81]))).code).toBe("ENOENT");
  });

  it("above lru-limit the kernel is asked to forget names of files that nobody has open", async () => {
    const mount = await mounted(["lru-limit", "4"]);
    const asked: string[] = [];
    mount.state.forgetAboutNames = (_parent, name) => asked.push(name);
    const files = [];
    for (let i = 0; i < 8; i++) files.push(await mount.create(`f${i}`));
    expect(asked).toEqual([]);
    await mount.kernel.ok(18, files[1]!.node, [u64(files[1]!.fh), u32(2, 0), u64(0)]);
    await mount.mkdir("d");
    await mount.mkdir("e");
    await mount.mkdir("g");
    expect(new Set(asked)).toEqual(new Set(["f1"]));
  });
});

describe("making entries", () => {
  it("applies the umask, once", async () => {
    const mount = await mounted();
    expect((await mount.create("f", { mode: 0o666, umask: 0o027 })).mode).toBe(0o100640);
    const made = await mount.kernel.ok(OP.MKDIR, ROOT, [u32(0o777, 0o022), text("d")]);
    expect(made.readUInt32LE(40 + 60)).toBe(0o040755);
    const node = await mount.kernel.ok(OP.MKNOD, ROOT, [u32(0o010666, 0, 0o077, 0), text("p")]);
    expect(node.readUInt32LE(40 + 60)).toBe(0o010600);
  });

  it("mknod takes the kernel's device numbers apart", async () => {
    const mount = await mounted();
    const made = await mount.kernel.ok(OP.MKNOD, ROOT, [u32(0o060600, 0x003103e8, 0, 0), text("dev")]);
    expect(mount.spy.last("mknod").args["rdev"]).toBe(259 * 2 ** 32 + 1000);
    expect(made.readUInt32LE(40 + 76)).toBe(0x003103e8);
  });

  it("links and symlinks", async () => {
    const mount = await mounted();
    const { node } = await mount.create("f");
    const linked = await mount.kernel.ok(OP.LINK, ROOT, [u64(node), text("g")]);
    expect([Number(linked.readBigUInt64LE(0)), linked.readUInt32LE(40 + 64)]).toEqual([node, 2]);
    const made = await mount.kernel.ok(OP.SYMLINK, ROOT, [text("s", "../some/where")]);
    const target = await mount.kernel.ok(OP.READLINK, Number(made.readBigUInt64LE(0)));
    expect(target.toString()).toBe("../some/where");
  });

  it("a create that meets a known file goes on with the known inode", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    await mount.write(node, fh, 0, Buffer.from("old"));
    mount.spy.take();
    const again = await mount.create("f");
    expect(again.node).toBe(node);
    expect(mount.spy.take()).toEqual(["create", "open", "release"]);
    expect(await mount.read(again.node, again.fh, 0, 10)).toEqual(Buffer.from("old"));
  });
});

describe("moving and removing", () => {
  const rename = (mount: MountedGraph, from: string, to: string, toParent = ROOT) =>
    mount.kernel.send(OP.RENAME, ROOT, [u64(toParent), text(from, to)]);
  const rename2 = (mount: MountedGraph, from: string, to: string, flags: number) =>
    mount.kernel.send(OP.RENAME2, ROOT, [u64(ROOT), u32(flags, 0), text(from, to)]);

  it("rename moves the name and keeps the node, over an existing file too", async () => {
    const mount = await mounted();
    const a = await mount.create("a");
    await mount.create("b");
    const d = await mount.mkdir("d");
    expect((await rename(mount, "a", "b")).code).toBe("ok");
    expect((await rename(mount, "b", "c", d)).code).toBe("ok");
    expect((await lookup(mount, "b")).code).toBe("ENOENT");
    expect(Number((await lookup(mount, "c", d)).body.readBigUInt64LE(0))).toBe(a.node);
  });

  it("rename works for names the kernel forgot", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("a");
    await mount.kernel.ok(18, node, [u64(fh), u32(2, 0), u64(0)]);
    await mount.kernel.send(OP.FORGET, node, [u64(1)]);
    expect((await rename(mount, "a", "z")).code).toBe("ok");
    expect((await mount.kernel.send(OP.UNLINK, ROOT, [text("z")])).code).toBe("ok");
    expect((await mount.kernel.send(OP.UNLINK, ROOT, [text("z")])).code).toBe("ENOENT");
  });

  it("NOREPLACE keeps what is there; EXCHANGE is EINVAL", async () => {
    const mount = await mounted();
    await mount.create("a");
    await mount.create("b");
    expect((await rename2(mount, "a", "b", 1)).code).toBe("EEXIST");
    expect((await rename2(mount, "a", "c", 1)).code).toBe("ok");
    expect((await rename2(mount, "b", "c", 2)).code).toBe("EINVAL");
  });

  it("rmdir takes empty directories only", async () => {
    const mount = await mounted();
    const d = await mount.mkdir("d");
    await mount.create("f", { parent: d });
    expect((await mount.kernel.send(OP.RMDIR, ROOT, [text("d")])).code).toBe("ENOTEMPTY");
    await mount.kernel.ok(OP.UNLINK, d, [text("f")]);
    expect((await mount.kernel.send(OP.RMDIR, ROOT, [text("d")])).code).toBe("ok");
  });
});

interface Listed {
  readonly name: string;
  readonly offset: bigint;
  readonly type: number;
  readonly node: number;
}

function parseListing(body: Buffer, plus: boolean): Listed[] {
  const out: Listed[] = [];
  for (let at = 0; at < body.length; ) {
    const dirent = plus ? at + 128 : at;
    const size = body.readUInt32LE(dirent + 16);
    out.push({
      name: body.toString("utf8", dirent + 24, dirent + 24 + size),
      offset: body.readBigUInt64LE(dirent + 8),
      type: body.readUInt32LE(dirent + 20),
      node: plus ? Number(body.readBigUInt64LE(at)) : 0,
    });
    at = (dirent + 24 + size + 7) & ~7;
  }
  return out;
}

describe("listings", () => {
  async function opendir(mount: MountedGraph, node = ROOT): Promise<number> {
    return Number((await mount.kernel.ok(OP.OPENDIR, node, [u32(0, 0)])).readBigUInt64LE(0));
  }

  async function page(
    mount: MountedGraph,
    fh: number,
    offset: bigint,
    plus: boolean,
    size = 4096,
  ): Promise<Listed[]> {
    const opcode = plus ? OP.READDIRPLUS : OP.READDIR;
    return parseListing(
      await mount.kernel.ok(opcode, ROOT, [u64(fh, offset), u32(size, 0), u64(0), u32(0, 0)]),
      plus,
    );
  }

  async function whole(mount: MountedGraph, fh: number, plus: boolean, size = 4096): Promise<Listed[]> {
    const all: Listed[] = [];
    for (let offset = 0n; ; ) {
      const entries = await page(mount, fh, offset, plus, size);
      if (entries.length === 0) return all;
      all.push(...entries);
      offset = entries.at(-1)!.offset;
    }
  }

  it.each([
    [true, 4096],
    [false, 4096],
    [true, 500],
    [false, 300],
  ])("of many entries are complete in small pages (plus %s, %d bytes)", async (plus, size) => {
    const mount = await mounted();
    const names: string[] = [];
    for (let i = 0; i < 300; i++) names.push(`${"n".repeat(i % 50)}${i}`);
    for (const name of names) await mount.kernel.ok(OP.MKDIR, ROOT, [u32(0o755, 0), text(name)]);
    const entries = await whole(mount, await opendir(mount), plus, size);
    const found = entries.map((entry) => entry.name).filter((name) => !/^\.{1,2}$/.test(name));
    expect(found.sort()).toEqual(names.sort());
    expect(new Set(entries.map((entry) => entry.type))).toEqual(new Set([4]));
  });

  it("count a kernel lookup for each entry that brings a node, and none for . and ..", async () => {
    const mount = await mounted();
    const { node } = await mount.create("f");
    const entries = await whole(mount, await opendir(mount), true);
    expect(entries.find((entry) => entry.name === "f")?.node).toBe(node);
    expect(entries.filter((entry) => /^\.{1,2}$/.test(entry.name)).every((entry) => entry.node === 0)).toBe(
      true,
    );
    expect(mount.state.nodes.get(node)?.lookups).toBe(2);
  });

  it("begin anew at offset 0 and go on at any offset given before", async () => {
    const mount = await mounted();
    for (const name of ["a", "b", "c", "d"]) await mount.create(name);
    const fh = await opendir(mount);
    const first = await whole(mount, fh, false);
    expect(await whole(mount, fh, false)).toEqual(first);
    const middle = first[2]!;
    expect(await page(mount, fh, middle.offset, false)).toEqual(first.slice(3));
  });

  it("stop bringing attributes when this mount changed the directory, lest a removed name lives again", async () => {
    const mount = await mounted();
    for (let i = 0; i < 40; i++) await mount.create(`file${i}`);
    const fh = await opendir(mount);
    const first = await page(mount, fh, 0n, true, 1024);
    expect(first.some((entry) => entry.node !== 0)).toBe(true);
    await mount.kernel.ok(OP.UNLINK, ROOT, [text("file39")]);
    const second = await page(mount, fh, first.at(-1)!.offset, true, 1024);
    expect(second.length).toBeGreaterThan(0);
    expect(second.every((entry) => entry.node === 0)).toBe(true);
  });

  it("stop bringing attributes that are older than attribute-timeout", async () => {
    const mount = await mounted();
    for (let i = 0; i < 40; i++) await mount.create(`file${i}`);
    const fh = await opendir(mount);
    const first = await page(mount, fh, 0n, true, 1024);
    await mount.env.clock.advance(1001);
    const second = await page(mount, fh, first.at(-1)!.offset, true, 1024);
    expect(second.every((entry) => entry.node === 0)).toBe(true);
  });
});

describe("extended attributes", () => {
  const set = (mount: MountedGraph, name: string, value: Buffer, flags = 0) =>
    mount.kernel.send(OP.SETXATTR, ROOT, [u32(value.length, flags), text(name), value]);
  const get = (mount: MountedGraph, name: string, size = 65536) =>
    mount.kernel.send(OP.GETXATTR, ROOT, [u32(size, 0), text(name)]);

  it("are set, read, measured, listed and removed", async () => {
    const mount = await mounted();
    const value = Buffer.from([0, 1, 2, 0xff, 0]);
    expect((await set(mount, "user.a", value)).code).toBe("ok");
    expect((await get(mount, "user.a")).body).toEqual(value);
    expect((await get(mount, "user.a", 0)).body.readUInt32LE(0)).toBe(5);
    expect((await get(mount, "user.a", 4)).code).toBe("ERANGE");
    expect((await set(mount, "user.a", value, 1)).code).toBe("EEXIST");
    expect((await set(mount, "user.b", value, 2)).code).toBe("ENODATA");
    const list = await mount.kernel.ok(OP.LISTXATTR, ROOT, [u32(4096, 0)]);
    expect(list.toString()).toContain("user.a\0");
    expect((await mount.kernel.send(OP.REMOVEXATTR, ROOT, [text("user.a")])).code).toBe("ok");
    expect((await get(mount, "user.a")).code).toBe("ENODATA");
  });

  it.each([
    ["trusted.gfid", "EPERM"],
    ["trusted.glusterfs.volume-id", "EPERM"],
    ["system.posix_acl_access", "EOPNOTSUPP"],
  ])("%s may not be set: %s", async (name, code) => {
    const mount = await mounted();
    expect((await set(mount, name, Buffer.alloc(16))).code).toBe(code);
    expect((await mount.kernel.send(OP.REMOVEXATTR, ROOT, [text(name)])).code).toBe(code);
  });

  it.each([
    ["security.capability", "ENODATA"],
    ["security.selinux", "ENODATA"],
    ["system.posix_acl_access", "EOPNOTSUPP"],
  ])("%s is not asked of the bricks: %s", async (name, code) => {
    const mount = await mounted();
    mount.spy.take();
    expect((await get(mount, name)).code).toBe(code);
    expect(mount.spy.take()).toEqual([]);
  });

  it("listings hide GlusterFS' own, and trusted ones from ordinary users", async () => {
    const mount = await mounted();
    const names = [
      "user.a",
      "trusted.mine",
      "trusted.gfid",
      "trusted.gfid2path.0123",
      "trusted.glusterfs.dht",
      "trusted.afr.v-client-0",
      "glusterfs.open-fd-count",
    ];
    mount.spy.answer("getxattr", async () => ({
      xattrs: Dict.from(names.map((name) => [name, { type: "ptr", value: Buffer.from("x") }] as const)),
    }));
    const list = (uid: number) => mount.kernel.ok(OP.LISTXATTR, ROOT, [u32(4096, 0)], { uid, pid: 0 });
    expect((await list(0)).toString().split("\0")).toEqual(["user.a", "trusted.mine", ""]);
    expect((await list(1000)).toString().split("\0")).toEqual(["user.a", ""]);
  });
});

describe("the rest", () => {
  it("STATFS tells 64-bit numbers", async () => {
    const mount = await mounted();
    mount.spy.answer("statfs", async () => ({
      statfs: {
        bsize: 4096,
        frsize: 512,
        blocks: 2 ** 40,
        bfree: 2 ** 39,
        bavail: 2 ** 38,
        files: 2 ** 35,
        ffree: 2 ** 34,
        favail: 1,
        fsid: 1,
        flag: 0,
        namemax: 255,
      },
    }));
    const out = await mount.kernel.ok(OP.STATFS, ROOT);
    const wide = [0, 8, 16, 24, 32].map((at) => out.readBigUInt64LE(at));
    expect(wide).toEqual([2n ** 40n, 2n ** 39n, 2n ** 38n, 2n ** 35n, 2n ** 34n]);
    expect([out.readUInt32LE(40), out.readUInt32LE(44), out.readUInt32LE(48)]).toEqual([4096, 255, 512]);
  });

  it.each([
    ["BMAP", 37],
    ["IOCTL", 39],
    ["POLL", 40],
    ["SYNCFS", 50],
    ["TMPFILE", 51],
    ["one of the future", 200],
  ])("%s is ENOSYS", async (_name, opcode) => {
    const mount = await mounted();
    expect((await mount.kernel.send(opcode, ROOT, [u64(0, 0, 0, 0)])).code).toBe("ENOSYS");
  });

  it("every message gets one answer, whatever is in it", async () => {
    const mount = await mounted();
    await mount.create("f");
    const d = await mount.mkdir("d");
    const message = fc.record({
      opcode: fc.integer({ min: 1, max: 60 }).filter((opcode) => opcode !== 26 && opcode !== 33),
      node: fc.constantFrom(0, 1, 2, d, 99, 2 ** 40),
      body: fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ minLength: 0, maxLength: 40 })),
    });
    await fc.assert(
      fc.asyncProperty(message, async ({ opcode, node, body }) => {
        await mount.kernel.send(opcode, node, [Buffer.from(body)]);
        expect(mount.kernel.unanswered).toBe(0);
        expect(mount.kernel.bugs).toEqual([]);
      }),
      { numRuns: 2000 },
    );
  });
});
