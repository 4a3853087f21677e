import { describe, expect, it, onTestFinished } from "vitest";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import { Inode } from "../../../src/core/inode.ts";
import { SILENT } from "../../../src/core/log.ts";
import { O_RDONLY, O_RDWR, O_TRUNC } from "../../../src/core/open-flags.ts";
import { nothing, setvolumeReply } from "../../../src/rpc/codec-control.ts";
import { CALLBACK_PROC, HANDSHAKE_PROGRAM } from "../../../src/rpc/programs.ts";
import { RpcServer, type ServedProgram } from "../../../src/rpc/server.ts";
import { dumpProgram } from "../../../xlators/protocol/server-handshake.ts";
import { outcome } from "../../conformance/suite.ts";
import { settle } from "../../support/fake-env.ts";
import { Session } from "../../support/session.ts";
import { kinds, PORT, Rig } from "./rig.ts";

const RETRY_MS = 3000;

describe("a client and its brick", () => {
  it("connect, and what one client writes another reads", async () => {
    await using rig = await Rig.start();
    const [one, two] = [await rig.client(), await rig.client()];
    const fd = await one.session.create("f");
    await one.session.write(fd, Buffer.from("hello"), 0);
    const other = await two.session.open(await two.session.inode("f"), O_RDONLY);
    expect(String(await two.session.read(other, 0, 100))).toBe("hello");
    expect(kinds(one)).toContain("child-up");
  });

  it("come together when the brick starts later: tried often at first, then every 3 s", async () => {
    await using rig = new Rig();
    const client = rig.clientBuilt();
    const started = client.graph.start({ timeoutMs: 60_000 });
    const attempts: number[] = [];
    for (const pauseMs of [0, 1000, 9000, 20_000, 3000, 3000]) {
      await rig.env.clock.advance(pauseMs);
      attempts.push(kinds(client).length);
    }
    // In the first second every 100 ms, then ever more seldom.
    expect(attempts.slice(0, 2)).toEqual([1, 11]);
    expect(attempts[3]).toBeLessThan(50);
    expect([attempts[4]! - attempts[3]!, attempts[5]! - attempts[4]!]).toEqual([1, 1]);
    await rig.startBrick();
    await rig.env.clock.advance(RETRY_MS);
    await started;
    expect(kinds(client).at(-1)).toBe("child-up");
    // A brick that was up is looked for as often again.
    await rig.stopBrick();
    await settle();
    await rig.startBrick();
    await rig.env.clock.advance(100);
    expect(kinds(client).at(-1)).toBe("child-up");
  });

  it("log once that they cannot connect, however often it is tried", async () => {
    await using rig = new Rig();
    const started = outcomeOfStart(rig);
    await rig.env.clock.advance(61_000);
    expect(await started).toMatch(/not up after 60 s: .*connection refused/);
    expect(rig.logged("warn").filter((message) => message === "not connected").length).toBe(1);
  });

  it("fail calls at once while there is no connection", async () => {
    await using rig = await Rig.start();
    const client = await rig.client();
    const fd = await client.session.create("f");
    await rig.stopBrick();
    await settle();
    expect(kinds(client).at(-1)).toBe("child-down");
    expect(await outcome(client.session.write(fd, Buffer.from("x"), 0))).toBe("ENOTCONN");
    expect(await outcome(client.session.lookup("f"))).toBe("ENOTCONN");
  });

  it("fail calls in flight when the connection breaks", async () => {
    await using rig = await Rig.start();
    const client = await rig.client();
    const holder = await rig.client();
    const held = await holder.session.create("f");
    await holder.session.lk(held, "setlk", "wrlck", 0, 0);
    const fd = await client.session.open(await client.session.inode("f"));
    const waiting = outcome(client.session.lk(fd, "setlkw", "wrlck", 0, 0));
    await settle();
    rig.network.connections[0]!.close();
    expect(await waiting).toBe("ENOTCONN");
  });
});

describe("the disk behind a brick", () => {
  it("counts by what was heard last: up by a callback that came along with a SETVOLUME that said down", async () => {
    await using rig = new Rig();
    await serveDiskThatComesUp(rig);
    const client = rig.clientBuilt();
    void client.graph.start({ timeoutMs: 60_000 });
    await settle();
    expect(kinds(client)).toContain("child-up");
  });

  it("may have failed while a client was let in: it hears so, and again when the disk is back", async () => {
    await using rig = await Rig.start();
    const { brickTop, server } = rig;
    const lookup = brickTop.lookup;
    brickTop.lookup = (call, args) => {
      brickTop.lookup = lookup;
      server.onChildEvent({ type: "child-down" }, brickTop);
      return lookup.call(brickTop, call, args);
    };
    const client = rig.clientBuilt();
    const started = client.graph.start({ timeoutMs: 60_000 });
    await settle();
    expect(kinds(client)).not.toContain("child-up");
    server.onChildEvent({ type: "child-up" }, brickTop);
    await started;
  });
});

/** A brick that says of its disk that it is not up, and right after that it is, in one piece. */
async function serveDiskThatComesUp(rig: Rig): Promise<void> {
  const handshake: ServedProgram = {
    ...HANDSHAKE_PROGRAM,
    dispatch(exchange) {
      exchange.record.release();
      const dict = new Dict().setStr("child_up", "0");
      exchange.reply(setvolumeReply, { opRet: 0, opErrno: 0, dict });
      exchange.peer.callback(CALLBACK_PROC.CHILD_UP, nothing, {});
    },
  };
  const rpc = new RpcServer([dumpProgram, handshake], {
    log: SILENT,
    outstandingMax: () => 64,
    onDisconnect: () => {},
  });
  onTestFinished(() => rpc.close());
  await rig.network.listen({ kind: "tcp", port: PORT }, (transport) => void rpc.accept(transport));
}

function outcomeOfStart(rig: Rig): Promise<string> {
  return rig.client().then(
    () => "up",
    (error: Error) => error.message,
  );
}

describe("a reconnect", () => {
  async function breakAndReturn(rig: Rig): Promise<void> {
    rig.network.connections.at(-1)!.close();
    await settle();
    await rig.env.clock.advance(RETRY_MS);
  }

  it("brings open files back before the client is up again", async () => {
    await using rig = await Rig.start();
    const client = await rig.client();
    const fd = await client.session.create("f");
    const directory = await client.session.mkdir("d");
    const listing = await client.session.opendir(directory);
    await client.session.write(fd, Buffer.from("before"), 0);
    await breakAndReturn(rig);
    const ups = kinds(client).filter((kind) => kind === "child-up" || kind === "child-down");
    expect(ups).toEqual(["child-up", "child-down", "child-up"]);
    await client.session.write(fd, Buffer.from("after!"), 0);
    expect(String(await client.session.read(fd, 0, 6))).toBe("after!");
    expect((await client.session.top.fstat(client.session.call, { fd })).stat.size).toBe(6);
    await client.session.top.readdir(client.session.call, { fd: listing, size: 4096, offset: 0n });
  });

  it("does not truncate what was opened with O_TRUNC", async () => {
    await using rig = await Rig.start();
    const client = await rig.client();
    await client.session.create("f");
    const fd = await client.session.open(await client.session.inode("f"), O_RDWR | O_TRUNC);
    await client.session.write(fd, Buffer.from("kept"), 0);
    await breakAndReturn(rig);
    expect(String(await client.session.read(fd, 0, 4))).toBe("kept");
  });

  it("does not open files again that were released meanwhile", async () => {
    await using rig = await Rig.start();
    const client = await rig.client();
    const fd = await client.session.create("f");
    rig.network.connections.at(-1)!.close();
    await settle();
    await client.session.release(fd);
    await rig.env.clock.advance(RETRY_MS);
    expect(await openCount(rig, client.session.table.find(fd.inode.gfid) ?? fd.inode)).toBe(0);
  });

  it("reads, writes and syncs by gfid a file that could not be opened again, and refuses the rest", async () => {
    await using rig = await Rig.start();
    const client = await rig.client();
    const { session } = client;
    const fd = await session.create("f");
    await session.write(fd, Buffer.from("data"), 0);
    using refusing = refuseOpens(rig);
    await breakAndReturn(rig);
    refusing.stop();
    expect(String(await session.read(fd, 0, 4))).toBe("data");
    expect(await outcome(session.write(fd, Buffer.from("DATA"), 0))).toBe("ok");
    expect(await outcome(session.top.fsync(session.call, { fd, datasync: false }))).toBe("ok");
    expect(await outcome(session.top.fstat(session.call, { fd }))).toBe("EBADFD");
    expect(await outcome(session.top.ftruncate(session.call, { fd, offset: 0 }))).toBe("EBADFD");
  });

  it("refuses even reads of such a file when it held POSIX locks", async () => {
    await using rig = await Rig.start();
    const { session } = await rig.client();
    const fd = await session.create("f");
    await session.lk(fd, "setlk", "wrlck", 0, 0);
    using refusing = refuseOpens(rig);
    await breakAndReturn(rig);
    refusing.stop();
    expect(await outcome(session.read(fd, 0, 4))).toBe("EBADFD");
  });

  it("with strict-locks leaves files closed that held locks", async () => {
    await using rig = await Rig.start();
    const { session } = await rig.client({ "strict-locks": "on" });
    const [locked, free, unlocked] = [
      await session.create("l"),
      await session.create("f"),
      await session.create("u"),
    ];
    await session.lk(locked, "setlk", "wrlck", 0, 0);
    await session.lk(unlocked, "setlk", "wrlck", 0, 0);
    await session.lk(unlocked, "setlk", "unlck", 0, 0);
    await breakAndReturn(rig);
    expect(await outcome(session.write(locked, Buffer.from("x"), 0))).toBe("EBADFD");
    expect(await outcome(session.write(free, Buffer.from("x"), 0))).toBe("ok");
    expect(await outcome(session.write(unlocked, Buffer.from("x"), 0))).toBe("ok");
  });

  it("is another client to the brick: locks of the old connection are gone", async () => {
    await using rig = await Rig.start();
    const [one, two] = [await rig.client(), await rig.client()];
    const fd = await two.session.create("f");
    await two.session.lk(fd, "setlk", "wrlck", 0, 0);
    const other = await one.session.open(await one.session.inode("f"));
    expect(await outcome(one.session.lk(other, "setlk", "wrlck", 0, 0))).toBe("EAGAIN");
    rig.network.connections.at(-1)!.close();
    await settle();
    expect(await outcome(one.session.lk(other, "setlk", "wrlck", 0, 0))).toBe("ok");
  });

  it("happens too when the brick was restarted, and files are found by gfid without a lookup", async () => {
    await using rig = await Rig.start();
    const client = await rig.client();
    const fd = await client.session.create("f");
    await rig.stopBrick();
    await settle();
    await rig.startBrick();
    await rig.env.clock.advance(RETRY_MS);
    expect(await outcome(client.session.write(fd, Buffer.from("x"), 0))).toBe("ok");
    expect(await outcome(client.session.top.stat(client.session.call, { loc: { inode: fd.inode } }))).toBe(
      "ok",
    );
  });

  it("follows when a peer is silent for the ping timeout", async () => {
    await using rig = await Rig.start();
    const client = await rig.client({ "ping-timeout": "10" });
    client.link().silent = true;
    const lost = outcome(client.session.lookup("f"));
    await rig.env.clock.advance(2 * 10_000 + 2500);
    expect(await lost).toBe("ENOTCONN");
    await rig.env.clock.advance(RETRY_MS);
    expect(
      kinds(client)
        .filter((kind) => kind !== "child-ping")
        .at(-1),
    ).toBe("child-up");
  });
});

/** Open fds of an inode, as the brick itself counts them. */
async function openCount(rig: Rig, inode: Inode): Promise<number> {
  const below = new Session(rig.brickTop);
  const xdata = new Dict().setUint("glusterfs.open-fd-count", 0);
  const reply = await below.top.lookup(below.call, { loc: { inode: new Inode(inode.gfid) }, xdata });
  return reply.xdata?.number("glusterfs.open-fd-count") ?? 0;
}

/** Makes every open at the brick fail until `stop`. */
function refuseOpens(rig: Rig) {
  const top = rig.brickTop;
  const original = top.open;
  top.open = () => Promise.reject(new FopError("EMFILE"));
  const stop = () => {
    top.open = original;
  };
  return { stop, [Symbol.dispose]: stop };
}
