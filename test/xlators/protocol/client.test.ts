import { describe, expect, it } from "vitest";
import type { FopName } from "../../../src/core/fops.ts";
import { ROOT_GFID } from "../../../src/core/gfid.ts";
import { Fd, Inode } from "../../../src/core/inode.ts";
import { iovSize } from "../../../src/core/iovec.ts";
import { O_DIRECT, O_RDWR } from "../../../src/core/open-flags.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import { devOf } from "../../../xlators/protocol/client-fops.ts";
import { rdevOf } from "../../../xlators/protocol/server-fops.ts";
import { outcome } from "../../conformance/suite.ts";
import { FakeGlusterd } from "../../rpc/fake-glusterd.ts";
import { settle } from "../../support/fake-env.ts";
import type { Session } from "../../support/session.ts";
import { BRICK, kinds, PORT, Rig } from "./rig.ts";

const MIB = 1024 * 1024;

/** Records what a translator is asked for. */
function spy<F extends FopName>(target: XlatorBase, fop: F): Parameters<XlatorBase[F]>[] {
  const calls: Parameters<XlatorBase[F]>[] = [];
  const original = target[fop] as (...args: unknown[]) => unknown;
  (target as unknown as Record<string, unknown>)[fop] = function (this: unknown, ...args: unknown[]) {
    calls.push(args as Parameters<XlatorBase[F]>);
    return original.apply(this, args);
  };
  return calls;
}

describe("options of protocol/client", () => {
  it.each<[string, Record<string, string>, string]>([
    ["remote-subvolume", { "remote-subvolume": " " }, "remote-subvolume"],
    [
      "rdma",
      { "transport-type": "rdma" },
      'option transport-type: "rdma" left GlusterFS with version 8; use tcp',
    ],
    ["TLS", { "transport.socket.ssl-enabled": "on" }, "TLS is not built"],
    ["a unix socket without a path", { "transport-type": "unix" }, "connect-path is missing"],
    ["a port that is none", { "remote-port": "70000" }, '"70000" is above the maximum 65535'],
  ])("%s: refused in one line that says why", async (_what, options, message) => {
    await using rig = new Rig();
    await expect(rig.client(options)).rejects.toThrow(message);
  });

  it("filter-O_DIRECT hides the flag from the brick in open, create, read and write", async () => {
    await using rig = await Rig.start();
    const seen = { create: spy(rig.brickTop, "create"), open: spy(rig.brickTop, "open") };
    const io = { readv: spy(rig.brickTop, "readv"), writev: spy(rig.brickTop, "writev") };
    const { session } = await rig.client({ "filter-O_DIRECT": "on" });
    const flags = O_RDWR | O_DIRECT;
    await session.create("f", { flags });
    const fd = await session.open(await session.inode("f"), flags);
    await session.top.writev(session.call, { fd, data: [Buffer.from("odd")], offset: 1, flags });
    await session.top.readv(session.call, { fd, offset: 1, size: 3, flags });
    for (const calls of [...Object.values(seen), ...Object.values(io)])
      expect((calls[0]![1] as { flags: number }).flags & O_DIRECT).toBe(0);
  });

  it("send-gids off sends the primary group alone", async () => {
    await using rig = await Rig.start();
    const calls = spy(rig.brickTop, "statfs");
    for (const value of ["on", "off"]) {
      const { session } = await rig.client({ "send-gids": value });
      const caller = { ...session.call, uid: 1, gid: 100, groups: [4, 24] };
      await session.top.statfs(caller, { loc: { inode: session.root } });
    }
    expect(calls.map(([call]) => call.groups)).toEqual([[4, 24], [100]]);
  });
});

describe("the way to a brick", () => {
  it("leads through glusterd when the volfile names no port", async () => {
    await using rig = await Rig.start();
    const glusterd = new FakeGlusterd();
    await glusterd.listen(rig.network);
    glusterd.ports.set(BRICK, PORT);
    const client = await rig.client({ "remote-port": "0" });
    expect(kinds(client)).toContain("child-up");
    expect(glusterd.connections).toBe(0);
  });

  it("waits while glusterd says that the brick does not run", async () => {
    await using rig = await Rig.start();
    const glusterd = new FakeGlusterd();
    await glusterd.listen(rig.network);
    const client = rig.clientBuilt({ "remote-port": "0" });
    const started = client.graph.start({ timeoutMs: 60_000 });
    await rig.env.clock.advance(3000);
    expect(client.events.find((event) => event.type === "child-connecting")).toMatchObject({
      why: expect.stringContaining(`brick "${BRICK}" does not run`),
    });
    glusterd.ports.set(BRICK, PORT);
    await rig.env.clock.advance(3000);
    await started;
  });

  it("is the same after a reconnect, as the brick may have another port then", async () => {
    await using rig = await Rig.start();
    const glusterd = new FakeGlusterd();
    await glusterd.listen(rig.network);
    glusterd.ports.set(BRICK, PORT);
    const client = await rig.client({ "remote-port": "0" });
    await rig.stopBrick();
    await rig.startBrick({ "transport.socket.listen-port": String(PORT + 7) });
    glusterd.ports.set(BRICK, PORT + 7);
    await rig.env.clock.advance(3000);
    expect(await outcome(client.session.lookup("none"))).toBe("ENOENT");
  });

  it("may be a unix socket", async () => {
    await using rig = await Rig.start({
      "transport-type": "unix",
      "transport.socket.listen-path": "/run/brick.sock",
    });
    const { session } = await rig.client({
      "transport-type": "unix",
      "transport.socket.connect-path": "/run/brick.sock",
    });
    expect(await outcome(session.lookup("none"))).toBe("ENOENT");
  });

  it("ends when the brick belongs to another volume than before", async () => {
    await using rig = await Rig.start();
    const client = await rig.client();
    await rig.stopBrick();
    await rig.startBrick({}, "00000000-0000-4000-8000-000000000001");
    await rig.env.clock.advance(4000);
    expect(await outcome(client.session.lookup("none"))).toBe("ENOTCONN");
    expect(client.events.at(-1)).toMatchObject({
      type: "child-connecting",
      why: expect.stringContaining("volume"),
    });
  });
});

describe("payloads", () => {
  it("larger than a message travel in pieces and come back whole", async () => {
    await using rig = await Rig.start();
    const writes = spy(rig.brickTop, "writev");
    const { session } = await rig.client();
    const fd = await session.create("f");
    const data = [Buffer.alloc(10 * MIB, "abc"), Buffer.alloc(10 * MIB, "defg")];
    const reply = await session.top.writev(session.call, { fd, data, offset: 7, flags: 0 });
    expect(reply.size).toBe(20 * MIB);
    expect(reply.pre.size).toBe(0);
    expect(reply.post.size).toBe(20 * MIB + 7);
    expect(writes.map(([, args]) => iovSize(args.data))).toEqual([16 * MIB, 4 * MIB]);
    const read = await session.top.readv(session.call, { fd, offset: 7, size: 30 * MIB, flags: 0 });
    expect([read.size, read.eof]).toEqual([20 * MIB, true]);
    expect(Buffer.concat(read.data as Buffer[]).equals(Buffer.concat(data))).toBe(true);
    read.lease?.release();
  });

  it("of any size and any number of buffers arrive as they are", async () => {
    await using rig = await Rig.start();
    const { session } = await rig.client();
    const fd = await session.create("f");
    for (const size of [1, 3, 511, 4096, 70_000, 131_072, 300_001]) {
      const data = [Buffer.alloc(1, "x"), Buffer.alloc(0), Buffer.alloc(size - 1, "0123456789")];
      await session.top.writev(session.call, { fd, data, offset: 0, flags: 0 });
      const back = await session.read(fd, 0, size);
      expect(back.equals(Buffer.concat(data))).toBe(true);
    }
  });

  it("stay what they were while later replies arrive, until they are released", async () => {
    await using rig = await Rig.start();
    const { session } = await rig.client();
    const fd = await session.create("f");
    const blocks = Array.from({ length: 50 }, (_, index) => Buffer.alloc(8192, index));
    for (const [index, block] of blocks.entries()) await session.write(fd, block, index * 8192);
    const replies = [];
    for (let index = 0; index < blocks.length; index++)
      replies.push(await session.top.readv(session.call, { fd, offset: index * 8192, size: 8192, flags: 0 }));
    for (const [index, { data, lease }] of replies.entries()) {
      expect(Buffer.concat(data as Buffer[]).equals(blocks[index]!)).toBe(true);
      lease?.release();
    }
  });
});

describe("fds", () => {
  it("that are anonymous need no open; others that the brick never saw work by gfid where that is possible", async () => {
    await using rig = await Rig.start();
    const { session } = await rig.client();
    const { inode } = await session.create("f");
    const anonymous = Fd.anonymous(inode, O_RDWR);
    await session.write(anonymous, Buffer.from("data"), 0);
    expect(String(await session.read(anonymous, 0, 4))).toBe("data");
    const unknown = new Fd(inode, O_RDWR);
    expect(String(await session.read(unknown, 0, 4))).toBe("data");
    expect(await outcome(session.top.flush(session.call, { fd: unknown }))).toBe("EBADFD");
  });

  it("with strict-locks nothing is written through an fd that the brick never saw", async () => {
    await using rig = await Rig.start();
    const { session } = await rig.client({ "strict-locks": "on" });
    const { inode } = await session.create("f");
    const unknown = new Fd(inode, O_RDWR);
    expect(await outcome(session.write(unknown, Buffer.from("data"), 0))).toBe("EBADFD");
    expect(await outcome(session.read(unknown, 0, 4))).toBe("ok");
  });
});

describe("a blocked lock", () => {
  it("that the caller gives up is given back when it comes", async () => {
    await using rig = await Rig.start();
    const [one, two] = [await rig.client(), await rig.client()];
    const held = await one.session.create("f");
    await one.session.lk(held, "setlk", "wrlck", 0, 0);
    const fd = await two.session.open(await two.session.inode("f"));
    const giveUp = new AbortController();
    const waiting = outcome(two.session.as({ signal: giveUp.signal }).lk(fd, "setlkw", "wrlck", 0, 0));
    await settle();
    giveUp.abort();
    expect(await waiting).toBe("EINTR");
    await one.session.lk(held, "setlk", "unlck", 0, 0);
    await settle();
    expect(await outcome(one.session.lk(held, "setlk", "wrlck", 0, 0))).toBe("ok");
  });

  it("of a translator that gives up is given back too", async () => {
    await using rig = await Rig.start();
    const [one, two] = [await rig.client(), await rig.client()];
    const loc = { inode: one.session.root };
    const volume = "d";
    const range = { whence: 0, start: 0n, len: 0n, pid: 1 };
    const locks = [
      ({ top, call }: Session, step: "take" | "wait" | "give") => {
        const type = step === "give" ? "unlck" : "wrlck";
        const cmd = step === "wait" ? "setlkw" : "setlk";
        return top.inodelk(call, { loc, volume, cmd, flock: { ...range, type, lkOwner: call.lkOwner } });
      },
      ({ top, call }: Session, step: "take" | "wait" | "give") => {
        const cmd = { take: "lock-nb", wait: "lock", give: "unlock" } as const;
        return top.entrylk(call, { loc, volume, name: "n", cmd: cmd[step], type: "wrlck" });
      },
    ];
    for (const lock of locks) {
      await lock(one.session, "take");
      const giveUp = new AbortController();
      const waiting = outcome(lock(two.session.as({ signal: giveUp.signal }), "wait"));
      await settle();
      giveUp.abort();
      expect(await waiting).toBe("EINTR");
      await lock(one.session, "give");
      await settle();
      expect(await outcome(lock(one.session, "take"))).toBe("ok");
    }
  });

  it("outlives the frame timeout", async () => {
    await using rig = await Rig.start();
    const [one, two] = [await rig.client(), await rig.client({ "frame-timeout": "20" })];
    const held = await one.session.create("f");
    await one.session.lk(held, "setlk", "wrlck", 0, 0);
    const fd = await two.session.open(await two.session.inode("f"));
    const waiting = outcome(two.session.lk(fd, "setlkw", "wrlck", 0, 0));
    await rig.env.clock.advance(1_000_000);
    await one.session.lk(held, "setlk", "unlck", 0, 0);
    expect(await waiting).toBe("ok");
  });
});

describe("device numbers", () => {
  it.each([
    [0, 0],
    [1, 3],
    [259, 1_048_575],
    [4095, 255],
    [1_048_575, 4_294_967_295],
  ])("%i:%i travel as Linux' dev_t and come back", (major, minor) => {
    const rdev = major * 2 ** 32 + minor;
    expect(rdevOf(devOf(rdev))).toBe(rdev);
  });

  it("have the layout of glibc's makedev", () => {
    expect(devOf(8 * 2 ** 32 + 1)).toBe(0x801);
    expect(devOf(0x123 * 2 ** 32 + 0x45678)).toBe(0x45612378);
  });
});

describe("root", () => {
  it("is the brick's root", async () => {
    await using rig = await Rig.start();
    const { session } = await rig.client();
    const reply = await session.top.lookup(session.call, { loc: { inode: new Inode(ROOT_GFID, 0o040000) } });
    expect(reply.stat.gfid).toEqual(ROOT_GFID);
  });
});
