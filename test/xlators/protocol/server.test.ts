import { describe, expect, it } from "vitest";
import { Dict } from "../../../src/core/dict.ts";
import { ERRNO, FopError } from "../../../src/core/errors.ts";
import { type Gfid, NULL_GFID, newGfid, ROOT_GFID } from "../../../src/core/gfid.ts";
import { Inode } from "../../../src/core/inode.ts";
import type { XdrType } from "../../../src/rpc/xdr.ts";
import { outcome } from "../../conformance/suite.ts";
import { settle } from "../../support/fake-env.ts";
import { Session } from "../../support/session.ts";
import { BRICK, Rig } from "./rig.ts";
import { WireClient } from "./wire-client.ts";

const xdata = undefined;
const O_RDWR = 2;
const O_EXCL = 0o200;

/** FTRUNCATE's arguments with an offset of 64 bits. */
const offsetCall: XdrType<{ gfid: Gfid; fd: number; offset: bigint }> = {
  read: () => {
    throw new Error("only written");
  },
  write(w, { gfid, fd, offset }) {
    w.gfid(gfid);
    w.i64(fd);
    w.u64n(offset);
    w.u32(0);
    w.i32(-1);
    w.u32(0);
  },
};

function lookup(client: WireClient, parentGfid: Gfid, name: string) {
  return client.ask("lookup", { gfid: NULL_GFID, parentGfid, flags: 0, name, xdata });
}

async function create(client: WireClient, name: string, parentGfid: Gfid = ROOT_GFID, flags = O_RDWR) {
  const gfidReq = new Dict().setGfid("gfid-req", newGfid());
  return client.ask("create", { parentGfid, flags, mode: 0o644, umask: 0, name, xdata: gfidReq });
}

async function mkdir(client: WireClient, name: string, parentGfid: Gfid = ROOT_GFID) {
  const gfidReq = new Dict().setGfid("gfid-req", newGfid());
  return client.ask("mkdir", { parentGfid, mode: 0o755, umask: 0, name, xdata: gfidReq });
}

describe("what a request may name", () => {
  it("an unknown parent is ESTALE, a parent that is no directory EPERM", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const file = (await create(client, "f")).stat.gfid;
    expect((await lookup(client, newGfid(), "x")).opErrno).toBe(ERRNO.ESTALE);
    expect((await mkdir(client, "d", newGfid())).opErrno).toBe(ERRNO.ESTALE);
    expect((await mkdir(client, "d", file)).opErrno).toBe(ERRNO.EPERM);
    expect(await client.errno("unlink", { parentGfid: newGfid(), name: "x", flags: 0, xdata })).toBe(
      ERRNO.ESTALE,
    );
  });

  it("an unknown gfid is ESTALE, to a lookup and to an anonymous fd ENOENT", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const gfid = newGfid();
    expect(await client.errno("stat", { gfid, xdata })).toBe(ERRNO.ESTALE);
    expect(await client.errno("open", { gfid, flags: O_RDWR, xdata })).toBe(ERRNO.ESTALE);
    expect(await client.errno("lookup", { gfid, parentGfid: NULL_GFID, flags: 0, name: "", xdata })).toBe(
      ERRNO.ENOENT,
    );
    expect(await client.errno("readv", { gfid, fd: -2, offset: 0, size: 1, flags: 0, xdata })).toBe(
      ERRNO.ENOENT,
    );
  });

  it("a missing name is ENOENT, one that is there already EEXIST", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    await create(client, "f");
    expect((await lookup(client, ROOT_GFID, "x")).opErrno).toBe(ERRNO.ENOENT);
    expect(await client.errno("unlink", { parentGfid: ROOT_GFID, name: "x", flags: 0, xdata })).toBe(
      ERRNO.ENOENT,
    );
    expect((await mkdir(client, "f")).opErrno).toBe(ERRNO.EEXIST);
    expect((await create(client, "f", ROOT_GFID, O_RDWR | O_EXCL)).opErrno).toBe(ERRNO.EEXIST);
    expect((await create(client, "f")).opRet).toBe(0);
  });

  it("no gfid at all is EINVAL", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    expect(await client.errno("stat", { gfid: NULL_GFID, xdata })).toBe(ERRNO.EINVAL);
    const nothing = { gfid: NULL_GFID, parentGfid: NULL_GFID, flags: 0, name: "", xdata };
    expect(await client.errno("lookup", nothing)).toBe(ERRNO.EINVAL);
  });

  it("names with a slash are EPERM, long ones ENAMETOOLONG, bytes that are no UTF-8 are fine", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    expect((await create(client, "a/b")).opErrno).toBe(ERRNO.EPERM);
    expect((await create(client, "../escape")).opErrno).toBe(ERRNO.EPERM);
    expect((await create(client, "")).opErrno).toBe(ERRNO.EPERM);
    expect((await create(client, "x".repeat(256))).opErrno).toBe(ERRNO.ENAMETOOLONG);
    expect((await create(client, "x".repeat(255))).opRet).toBe(0);
    const odd = "caf\udce9\udcff";
    const made = await create(client, odd);
    expect((await lookup(client, ROOT_GFID, odd)).stat.gfid).toEqual(made.stat.gfid);
  });

  it("'.' is the directory itself and '..' the one above", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const above = (await mkdir(client, "above")).stat.gfid;
    const below = (await mkdir(client, "below", above)).stat.gfid;
    expect((await lookup(client, ROOT_GFID, ".")).stat.gfid).toEqual(ROOT_GFID);
    expect((await lookup(client, below, ".")).stat.gfid).toEqual(below);
    expect((await lookup(client, below, "..")).stat.gfid).toEqual(above);
    expect((await lookup(client, ROOT_GFID, "..")).stat.gfid).toEqual(ROOT_GFID);
  });

  it("a name decides, whatever gfid stands beside it", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const { gfid } = (await create(client, "f")).stat;
    const reply = await client.ask("lookup", {
      gfid: newGfid(),
      parentGfid: ROOT_GFID,
      flags: 0,
      name: "f",
      xdata,
    });
    expect(reply.stat.gfid).toEqual(gfid);
  });

  it("numbers beyond 2^53 and beyond meaning are errors of the call, not of the connection", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const { stat, fd } = await create(client, "f");
    const { gfid } = stat;
    const huge = (1n << 62n) + 1n;
    expect((await client.askRaw("ftruncate", offsetCall, { gfid, fd, offset: huge })).opErrno).toBe(
      ERRNO.EOVERFLOW,
    );
    expect(await client.errno("seek", { gfid, fd, offset: 0, what: 7, xdata })).toBe(ERRNO.EINVAL);
    const flock = { type: "rdlck" as const, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner: Buffer.alloc(0) };
    expect(await client.errno("lk", { gfid, fd, cmd: 9, type: 0, flock, xdata })).toBe(ERRNO.EINVAL);
    expect(await client.errno("lk", { gfid, fd, cmd: 1, type: 9, flock, xdata })).toBe(ERRNO.EINVAL);
    expect(client.rpc.closed).toBe(false);
  });
});

describe("fd numbers", () => {
  it("begin at 0, are used again, and are the connection's own", async () => {
    await using rig = await Rig.start();
    const [one, two] = [await WireClient.bound(rig), await WireClient.bound(rig)];
    const { gfid } = (await create(one, "f")).stat;
    expect((await one.ask("open", { gfid, flags: O_RDWR, xdata })).fd).toBe(1);
    expect((await two.ask("open", { gfid, flags: O_RDWR, xdata })).fd).toBe(0);
    await one.ask("release", { gfid, fd: 0, xdata });
    expect((await one.ask("open", { gfid, flags: O_RDWR, xdata })).fd).toBe(0);
    expect(await two.errno("fstat", { gfid, fd: 1, xdata })).toBe(ERRNO.EBADF);
  });

  it("that are not open, were released, or are -1 are EBADF", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const { stat, fd } = await create(client, "f");
    const { gfid } = stat;
    expect(await client.errno("fstat", { gfid, fd: 5, xdata })).toBe(ERRNO.EBADF);
    expect(await client.errno("fstat", { gfid, fd: -1, xdata })).toBe(ERRNO.EBADF);
    expect(await client.errno("fstat", { gfid, fd: -77, xdata })).toBe(ERRNO.EBADF);
    await client.ask("release", { gfid, fd, xdata });
    expect(await client.errno("fstat", { gfid, fd, xdata })).toBe(ERRNO.EBADF);
    expect(await client.errno("release", { gfid, fd, xdata })).toBe(ERRNO.EBADF);
  });

  it("-2 reads and writes by gfid", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const { gfid } = (await create(client, "f")).stat;
    const data = Buffer.from("anonymous");
    const written = await client.ask("writev", { gfid, fd: -2, offset: 0, size: 9, flags: 0, xdata }, [data]);
    expect(written.opRet).toBe(9);
    const read = await client.ask("readv", { gfid, fd: -2, offset: 0, size: 100, flags: 0, xdata });
    expect([read.opRet, read.opErrno, String(read.payload)]).toEqual([9, ERRNO.ENOENT, "anonymous"]);
  });

  it("stay open below until the fop that uses them is done", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const { stat, fd } = await create(client, "f");
    const { gfid } = stat;
    const steps: string[] = [];
    const { writev, release } = rig.brickTop;
    let go: () => void = () => {};
    rig.brickTop.writev = async function (call, args) {
      await new Promise<void>((resolve) => {
        go = resolve;
      });
      const reply = await writev.call(this, call, args);
      steps.push("written");
      return reply;
    };
    rig.brickTop.release = async function (released) {
      steps.push("released");
      await release.call(this, released);
    };
    const write = client.ask("writev", { gfid, fd, offset: 0, size: 1, flags: 0, xdata }, [Buffer.from("x")]);
    const written = write.catch(() => {});
    await client.ask("release", { gfid, fd, xdata });
    client.rpc.close();
    await settle();
    go();
    await written;
    await settle();
    expect(steps).toEqual(["written", "released"]);
  });
});

describe("end markers and sizes", () => {
  it("a read at the end of the file says so and has no payload", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const { stat, fd } = await create(client, "f");
    const { gfid } = stat;
    const reply = await client.ask("readv", { gfid, fd, offset: 0, size: 10, flags: 0, xdata });
    expect([reply.opRet, reply.opErrno, reply.payload.length]).toEqual([0, ERRNO.ENOENT, 0]);
  });

  it("a write whose size is not its payload's is EINVAL and writes nothing", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const { stat, fd } = await create(client, "f");
    const { gfid } = stat;
    const call = { gfid, fd, offset: 0, size: 10, flags: 0, xdata };
    expect(await client.errno("writev", call, [Buffer.from("short")])).toBe(ERRNO.EINVAL);
    expect((await client.ask("stat", { gfid, xdata })).stat.size).toBe(0);
  });

  it("the last entries of a directory carry the end marker", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    await create(client, "f");
    const { fd } = await client.ask("opendir", { gfid: ROOT_GFID, xdata });
    const reply = await client.ask("readdirp", { gfid: ROOT_GFID, fd, offset: 0n, size: 65_536, xdata });
    expect(reply.opRet).toBe(reply.entries.length);
    expect(reply.opErrno).toBe(ERRNO.ENOENT);
    expect(reply.entries.map((entry) => entry.name)).toContain("f");
  });
});

describe("setvolume", () => {
  it.each([
    ["without a brick", { "remote-subvolume": undefined }, ERRNO.EINVAL],
    ["for a brick that is not there", { "remote-subvolume": "/bricks/none" }, ERRNO.ENOENT],
    ["without an identity", { "process-uuid": undefined }, ERRNO.EINVAL],
    ["without a protocol version", { "fops-version": undefined }, ERRNO.EINVAL],
    ["for another protocol version", { "fops-version": "400" }, ERRNO.EINVAL],
    ["for another volume", { "volume-id": "00000000-0000-4000-8000-000000000000" }, ERRNO.EINVAL],
    ["for a directory that is not there", { "subdir-mount": "/none" }, ERRNO.ENOENT],
    ["for a directory above the root", { "subdir-mount": "/../etc" }, ERRNO.EINVAL],
  ])("%s is refused and opens nothing", async (_what, params, errno) => {
    await using rig = await Rig.start();
    const client = await WireClient.connect(rig);
    expect(await client.setvolume(params)).toMatchObject({ opRet: -1, opErrno: errno });
    await expect(client.errno("stat", { gfid: ROOT_GFID, xdata })).rejects.toThrow(
      "arguments not understood",
    );
  });

  it("tells what clients look for", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.connect(rig);
    const { dict } = await client.setvolume();
    expect(dict?.text("ERROR")).toBe("Success");
    expect(dict?.text("child_up")).toBe("1");
    expect(dict?.text("volume-id")).toBe("5bfff28b-279d-4642-ab29-2af58dc983b0");
    expect(dict?.text("process-uuid")).toBeTruthy();
  });

  it("works once a connection", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    expect(await client.setvolume()).toMatchObject({ opRet: -1, opErrno: ERRNO.EINVAL });
  });

  it("keeps two connections apart that claim the same identity", async () => {
    await using rig = await Rig.start();
    const [one, two] = [
      await WireClient.bound(rig, { "process-uuid": "same" }),
      await WireClient.bound(rig, { "process-uuid": "same" }),
    ];
    const { stat, fd } = await create(one, "f");
    const { gfid } = stat;
    const other = await two.ask("open", { gfid, flags: O_RDWR, xdata });
    const flock = { type: "wrlck" as const, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner: Buffer.alloc(0) };
    expect(await one.errno("lk", { gfid, fd, cmd: 1, type: 1, flock, xdata })).toBe(0);
    expect(await two.errno("lk", { gfid, fd: other.fd, cmd: 1, type: 1, flock, xdata })).toBe(ERRNO.EAGAIN);
  });
});

describe("a directory as root", () => {
  it("looks like the root of a volume", async () => {
    await using rig = await Rig.start();
    const whole = await WireClient.bound(rig);
    const directory = (await mkdir(whole, "vm")).stat.gfid;
    await create(whole, "outside");
    const client = await WireClient.bound(rig, { "subdir-mount": "/vm" });
    await create(client, "inside");
    expect((await client.ask("stat", { gfid: ROOT_GFID, xdata })).stat.gfid).toEqual(ROOT_GFID);
    expect((await lookup(client, ROOT_GFID, "outside")).opErrno).toBe(ERRNO.ENOENT);
    expect((await lookup(client, ROOT_GFID, "..")).stat.gfid).toEqual(ROOT_GFID);
    expect((await lookup(client, ROOT_GFID, "inside")).postParent.gfid).toEqual(ROOT_GFID);
    expect((await lookup(whole, directory, "inside")).opRet).toBe(0);
  });
});

describe("squashing", () => {
  async function ownerOf(server: Record<string, string>, caller: { uid: number; pid?: number }, params = {}) {
    await using rig = await Rig.start({ [`auth.addr.${BRICK}.allow`]: "*", ...server });
    const root = new Session(rig.brickTop);
    await root.top.setattr(root.call, {
      loc: { inode: new Inode(ROOT_GFID, 0o040000) },
      stat: { ...(await root.statInode(root.root)), mode: 0o040777 },
      valid: 1,
    });
    const client = await WireClient.bound(rig, params);
    client.caller = { ...client.caller, gid: caller.uid, ...caller };
    const { stat } = await create(client, "f");
    return [stat.uid, stat.gid];
  }

  it("makes root nobody, and leaves others alone", async () => {
    expect(await ownerOf({ "root-squash": "on" }, { uid: 0 })).toEqual([65534, 65534]);
    expect(await ownerOf({ "root-squash": "on" }, { uid: 1000 })).toEqual([1000, 1000]);
    expect(await ownerOf({}, { uid: 0 })).toEqual([0, 0]);
  });

  it("makes everyone the one that is configured", async () => {
    const server = { "all-squash": "on", anonuid: "33", anongid: "44" };
    expect(await ownerOf(server, { uid: 1000 })).toEqual([33, 44]);
  });

  it("spares internal callers of clients that showed a password", async () => {
    const login = { [`auth.login.${BRICK}.allow`]: "u", "auth.login.u.password": "p" };
    const healer = { uid: 0, pid: -6 };
    expect(
      await ownerOf({ "root-squash": "on", ...login }, healer, { username: "u", password: "p" }),
    ).toEqual([0, 0]);
    expect(await ownerOf({ "root-squash": "on", ...login }, healer)).toEqual([65534, 65534]);
  });
});

describe("a disconnect", () => {
  it("releases files and locks, and what is opened too late", async () => {
    await using rig = await Rig.start();
    const released: string[] = [];
    const { open, release } = rig.brickTop;
    rig.brickTop.release = async function (fd) {
      released.push("released");
      await release.call(this, fd);
    };
    let go: () => void = () => {};
    rig.brickTop.open = async function (call, args) {
      await new Promise<void>((resolve) => {
        go = resolve;
      });
      return open.call(this, call, args);
    };
    const client = await WireClient.bound(rig);
    const { gfid } = (await create(client, "f")).stat;
    const late = client.ask("open", { gfid, flags: O_RDWR, xdata }).catch(() => {});
    await settle();
    client.rpc.close();
    await settle();
    expect(released).toEqual(["released"]);
    go();
    await late;
    await settle();
    expect(released).toEqual(["released", "released"]);
  });

  it("ends what a client waits for, and another client's turn comes", async () => {
    await using rig = await Rig.start();
    const [one, two, three] = [
      await WireClient.bound(rig),
      await WireClient.bound(rig),
      await WireClient.bound(rig),
    ];
    const { stat, fd } = await create(one, "f");
    const { gfid } = stat;
    const flock = { type: "wrlck" as const, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner: Buffer.alloc(0) };
    await one.ask("lk", { gfid, fd, cmd: 1, type: 1, flock, xdata });
    const fds = [];
    for (const client of [two, three])
      fds.push((await client.ask("open", { gfid, flags: O_RDWR, xdata })).fd);
    const second = two.errno("lk", { gfid, fd: fds[0]!, cmd: 2, type: 1, flock, xdata }).catch(() => "gone");
    await settle();
    const third = three.errno("lk", { gfid, fd: fds[1]!, cmd: 2, type: 1, flock, xdata });
    await settle();
    two.rpc.close();
    expect(await second).toBe("gone");
    one.rpc.close();
    expect(await third).toBe(0);
  });
});

describe("failures below", () => {
  it("travel with their xdata", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    rig.brickTop.stat = () => Promise.reject(new FopError("EIO", { xdata: new Dict().setInt("k", 7) }));
    const reply = await client.ask("stat", { gfid: ROOT_GFID, xdata });
    expect([reply.opRet, reply.opErrno, reply.xdata?.number("k")]).toEqual([-1, ERRNO.EIO, 7]);
  });

  it("that are bugs are logged whole and answered with EIO", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    rig.brickTop.stat = () => Promise.reject(new TypeError("oops"));
    expect(await client.errno("stat", { gfid: ROOT_GFID, xdata })).toBe(ERRNO.EIO);
    expect(rig.logged("error")).toEqual(["a fop failed in a way that it must not"]);
  });

  it("a read that fails carries the whole reply struct", async () => {
    await using rig = await Rig.start();
    const { session } = await rig.client();
    const fd = await session.create("f");
    rig.brickTop.readv = () => Promise.reject(new FopError("EIO"));
    expect(await outcome(session.read(fd, 0, 10))).toBe("EIO");
  });
});

describe("upcalls", () => {
  it("reach the client that they are for, or all", async () => {
    await using rig = await Rig.start();
    const [one, two] = [await rig.client(), await rig.client()];
    const flock = {
      type: "wrlck" as const,
      whence: 0,
      start: 5n,
      len: 7n,
      pid: 3,
      lkOwner: Buffer.from("o"),
    };
    const contention = { kind: "inodelk-contention", gfid: ROOT_GFID, domain: "d", flock } as const;
    const invalidation = { kind: "cache-invalidation", gfid: ROOT_GFID, flags: 3, expireSec: 60 } as const;
    const to = [...rig.env.log.lines].reverse().find((line) => line.message === "client connected")?.fields[
      "client"
    ];
    rig.server.onChildEvent({ type: "upcall", upcall: invalidation }, rig.brickTop);
    rig.server.onChildEvent({ type: "upcall", upcall: contention, to: String(to) }, rig.brickTop);
    await settle();
    const upcalls = [one, two].map((client) => client.events.filter((event) => event.type === "upcall"));
    expect(upcalls[0]).toEqual([{ type: "upcall", upcall: invalidation }]);
    expect(upcalls[1]).toEqual([
      { type: "upcall", upcall: invalidation },
      { type: "upcall", upcall: contention },
    ]);
  });

  it("child down and up reach the clients of that brick", async () => {
    await using rig = await Rig.start();
    const client = await rig.client();
    const fd = await client.session.create("f");
    rig.server.onChildEvent({ type: "child-down" }, rig.brickTop);
    await settle();
    expect(await outcome(client.session.lookup("x"))).toBe("ENOTCONN");
    rig.server.onChildEvent({ type: "child-up" }, rig.brickTop);
    await settle();
    expect(await outcome(client.session.lookup("x"))).toBe("ENOENT");
    expect(await outcome(client.session.top.fstat(client.session.call, { fd }))).toBe("ok");
  });
});

describe("the end of a brick", () => {
  it("waits for fops that run below, before the layers below end", async () => {
    await using rig = await Rig.start();
    const client = await WireClient.bound(rig);
    const { stat, fd } = await create(client, "f");
    const steps: string[] = [];
    const { writev, release, fini } = rig.brickTop;
    let go: () => void = () => {};
    rig.brickTop.writev = async function (call, args) {
      await new Promise<void>((resolve) => {
        go = resolve;
      });
      const reply = await writev.call(this, call, args);
      steps.push("written");
      return reply;
    };
    rig.brickTop.release = async function (released) {
      await release.call(this, released);
      steps.push("released");
    };
    rig.brickTop.fini = async function () {
      steps.push("ended");
      await fini.call(this);
    };
    const { gfid } = stat;
    const write = { gfid, fd, offset: 0, size: 1, flags: 0, xdata };
    const writing = client.errno("writev", write, [Buffer.from("x")]).catch(() => "gone");
    await settle();
    const stopped = rig.stopBrick();
    await settle();
    expect(steps).toEqual([]);
    go();
    await stopped;
    expect(steps).toEqual(["written", "released", "ended"]);
    expect(await writing).toBe("gone");
  });
});
