/**
 * features/locks over storage/memory, fop by fop: owners, waiting, releasing, counts, contention, removal,
 * clearing.
 */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import type { Upcall } from "../../../../src/core/fops.ts";
import type { Fd, Inode } from "../../../../src/core/inode.ts";
import { O_NONBLOCK, O_RDWR, O_TRUNC } from "../../../../src/core/open-flags.ts";
import type { DelayGen } from "../../../../xlators/debug/delay-gen.ts";
import { stack, startGraph } from "../../../support/build-graph.ts";
import { type FakeEnv, fakeEnv, settle } from "../../../support/fake-env.ts";
import { clientIdentity, Session } from "../../../support/session.ts";

const DOMAIN = "vol-replicate-0";
const METADATA = 2n ** 63n - 2n;

interface Fixture extends AsyncDisposable {
  readonly env: FakeEnv;
  readonly a: Session;
  readonly b: Session;
  readonly inode: Inode;
  /** The same file, opened by each. */
  readonly fdA: Fd;
  readonly fdB: Fd;
  readonly upcalls: { readonly to: string | undefined; readonly upcall: Upcall }[];
}

/** Two clients, one file. */
async function fixture(options: Record<string, string> = {}): Promise<Fixture> {
  const env = fakeEnv();
  const layers = [
    { name: "brick", type: "storage/memory" },
    { name: "locks", type: "features/locks", options },
  ];
  const graph = await startGraph(stack(...layers), { env });
  const upcalls: { to: string | undefined; upcall: Upcall }[] = [];
  graph.graph.onEvent((event) => {
    if (event.type === "upcall") upcalls.push({ to: event.to, upcall: event.upcall });
  });
  const a = new Session(graph.top, { client: clientIdentity(), owner: "a" });
  const b = new Session(graph.top, { client: clientIdentity(), owner: "b" });
  const fdA = await a.create("f");
  const inode = await a.inode("f");
  const fdB = await b.open(await b.inode("f"));
  return { env, a, b, inode, fdA, fdB, upcalls, [Symbol.asyncDispose]: () => graph.graph.stop() };
}

/** What became of a promise so far. */
function watch(work: Promise<unknown>): { state: string } {
  const seen = { state: "waiting" };
  work.then(
    () => (seen.state = "done"),
    (error) => (seen.state = (error as { code: string }).code),
  );
  return seen;
}

describe("lk", () => {
  it("refuses a conflicting lock at once and grants a waiting one after the unlock", async () => {
    await using f = await fixture();
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 10);
    await expect(f.b.lk(f.fdB, "setlk", "rdlck", 9, 1)).rejects.toMatchObject({
      code: "EAGAIN",
      fop: "lk",
      xlator: "locks",
    });
    const waiting = watch(f.b.lk(f.fdB, "setlkw", "rdlck", 9, 1));
    await settle();
    expect(waiting.state).toBe("waiting");
    await f.a.lk(f.fdA, "setlk", "unlck", 5, 5);
    await settle();
    expect(waiting.state).toBe("done");
  });

  it("tells of a conflicting lock: its type, range and pid; type unlck when there is none", async () => {
    await using f = await fixture();
    await f.a.lk(f.fdA, "setlk", "rdlck", 100, 1);
    const { flock } = await f.b.lk(f.fdB, "getlk", "wrlck", 0, 0);
    expect(flock).toMatchObject({ type: "rdlck", start: 100n, len: 1n, pid: f.a.call.pid });
    expect((await f.b.lk(f.fdB, "getlk", "rdlck", 0, 0)).flock.type).toBe("unlck");
    expect((await f.a.lk(f.fdA, "getlk", "wrlck", 0, 0)).flock.type).toBe("unlck");
    expect((await f.b.lk(f.fdB, "getlk", "unlck", 0, 0)).flock.type).toBe("unlck");
  });

  it("tells owners apart by lk-owner and by client", async () => {
    await using f = await fixture();
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 0);
    const sameOwnerElsewhere = f.b.as({ owner: "a" });
    const otherOwnerHere = f.a.as({ owner: "z" });
    await expect(sameOwnerElsewhere.lk(f.fdB, "setlk", "wrlck", 0, 0)).rejects.toMatchObject({
      code: "EAGAIN",
    });
    await expect(otherOwnerHere.lk(f.fdA, "setlk", "wrlck", 0, 0)).rejects.toMatchObject({ code: "EAGAIN" });
    await f.a.lk(f.fdA, "setlk", "rdlck", 0, 0);
  });

  it("wants an lk-owner, but for clients older than 7.0", async () => {
    await using f = await fixture();
    const nobody = f.a.as({ lkOwner: Buffer.alloc(8) });
    await expect(nobody.lk(f.fdA, "setlk", "wrlck", 0, 0)).rejects.toMatchObject({ code: "EINVAL" });
    await expect(nobody.inodelk(f.inode, DOMAIN, "setlk", "wrlck")).rejects.toMatchObject({ code: "EINVAL" });
    await expect(nobody.entrylk(f.a.root, DOMAIN, "lock", "n")).rejects.toMatchObject({ code: "EINVAL" });
    const old = f.a.as({ lkOwner: Buffer.alloc(8), client: clientIdentity("old", 60000) });
    await old.lk(f.fdA, "setlk", "wrlck", 0, 0);
  });

  it.each([
    ["a start below zero", -1n, 1n],
    ["a range that ends beyond the last offset", 2n ** 63n - 1n, 2n],
    ["a negative length that begins below zero", 3n, -4n],
  ])("refuses %s", async (_, start, len) => {
    await using f = await fixture();
    await expect(f.a.lk(f.fdA, "setlk", "wrlck", start, len)).rejects.toMatchObject({ code: "EINVAL" });
  });

  it("takes a negative length as the bytes before the start", async () => {
    await using f = await fixture();
    await f.a.lk(f.fdA, "setlk", "wrlck", 10, -4);
    const { flock } = await f.b.lk(f.fdB, "getlk", "wrlck", 0, 0);
    expect(flock).toMatchObject({ start: 6n, len: 4n });
  });

  it("says at unlock whether the fd has locks left, and echoes xdata", async () => {
    await using f = await fixture();
    const xdata = new Dict().setInt("fd-reopen-status", -1);
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 10);
    const some = await f.a.lk(f.fdA, "setlk", "unlck", 0, 5, { xdata });
    expect(some.flock.type).toBe("rdlck");
    expect(some.xdata?.number("fd-reopen-status")).toBe(-1);
    expect((await f.a.lk(f.fdA, "setlk", "unlck", 5, 5)).flock.type).toBe("unlck");
  });

  it("drops an owner's locks at its flush and keeps those of other owners of the client", async () => {
    await using f = await fixture();
    const other = f.a.as({ owner: "other" });
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 1);
    await other.lk(f.fdA, "setlk", "wrlck", 1, 1);
    await f.a.top.flush(f.a.call, { fd: f.fdA });
    await f.b.lk(f.fdB, "setlk", "wrlck", 0, 1);
    await expect(f.b.lk(f.fdB, "setlk", "wrlck", 1, 1)).rejects.toMatchObject({ code: "EAGAIN" });
  });

  it("drops every lock set through an fd when it is flushed without an owner", async () => {
    await using f = await fixture();
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 1);
    await f.a.top.flush(f.a.as({ lkOwner: Buffer.alloc(0) }).call, { fd: f.fdA });
    await f.b.lk(f.fdB, "setlk", "wrlck", 0, 1);
  });

  it("drops locks at release, whoever their owner is, before release settles: OFD locks come without an unlock", async () => {
    await using f = await fixture();
    const first = f.a.as({ owner: "ofd-1" });
    const second = f.a.as({ owner: "ofd-2" });
    const secondFd = await second.open(f.inode);
    await first.lk(f.fdA, "setlk", "rdlck", 100, 1);
    await second.lk(secondFd, "setlk", "rdlck", 101, 1);
    await f.a.release(f.fdA);
    expect((await f.b.lk(f.fdB, "getlk", "wrlck", 100, 1)).flock.type).toBe("unlck");
    expect((await f.b.lk(f.fdB, "getlk", "wrlck", 101, 1)).flock.type).toBe("rdlck");
  });

  it("refuses what waits through an fd when that is released", async () => {
    await using f = await fixture();
    await f.b.lk(f.fdB, "setlk", "wrlck", 0, 0);
    const waiting = watch(f.a.lk(f.fdA, "setlkw", "wrlck", 0, 0));
    await settle();
    await f.a.release(f.fdA);
    await settle();
    expect(waiting.state).toBe("EAGAIN");
  });

  it("ends a wait with EINTR when the caller's signal fires, and lets the next one go", async () => {
    await using f = await fixture();
    const c = f.b.as({ owner: "c" });
    const giveUp = new AbortController();
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 0);
    const interrupted = watch(f.b.lk(f.fdB, "setlkw", "wrlck", 0, 0, { signal: giveUp.signal }));
    const next = watch(c.lk(f.fdB, "setlkw", "wrlck", 0, 0));
    await settle();
    giveUp.abort();
    await settle();
    expect(interrupted.state).toBe("EINTR");
    await f.a.lk(f.fdA, "setlk", "unlck", 0, 0);
    await settle();
    expect(next.state).toBe("done");
  });

  it("moves its locks to another brick by getactivelk and setactivelk", async () => {
    await using f = await fixture();
    await using g = await fixture();
    await f.a.lk(f.fdA, "setlk", "wrlck", 5, 5);
    const { locks } = await f.a.top.getactivelk(f.a.call, { loc: { inode: f.inode } });
    expect(locks).toHaveLength(1);
    expect(locks[0]).toMatchObject({
      clientUid: f.a.call.client!.id,
      flock: { type: "wrlck", start: 5n, len: 5n },
    });
    await g.a.top.setactivelk(g.a.call, { loc: { inode: g.inode }, locks });
    await expect(g.b.lk(g.fdB, "setlk", "wrlck", 9, 1)).rejects.toMatchObject({ code: "EAGAIN" });
    const again = g.a.top.setactivelk(g.a.call, { loc: { inode: g.inode }, locks });
    await expect(again).rejects.toMatchObject({ code: "EINVAL" });
  });
});

describe("inodelk and entrylk", () => {
  it("keep domains apart", async () => {
    await using f = await fixture();
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck");
    await f.b.inodelk(f.inode, `${DOMAIN}:self-heal`, "setlk", "wrlck");
    await expect(f.b.inodelk(f.inode, DOMAIN, "setlk", "wrlck")).rejects.toMatchObject({ code: "EAGAIN" });
    await f.a.entrylk(f.a.root, DOMAIN, "lock-nb", "n");
    await f.b.entrylk(f.b.root, "other", "lock-nb", "n");
    await expect(f.b.entrylk(f.b.root, DOMAIN, "lock-nb", "n")).rejects.toMatchObject({ code: "EAGAIN" });
  });

  it("never let the metadata range meet a data lock", async () => {
    await using f = await fixture();
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck", 0n, 0n);
    await f.b.inodelk(f.inode, DOMAIN, "setlk", "wrlck", METADATA, 0n);
    await expect(f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck", METADATA, 0n)).rejects.toMatchObject({
      code: "EAGAIN",
    });
    await f.b.inodelk(f.inode, DOMAIN, "setlk", "unlck", METADATA, 0n);
  });

  it("refuse an unlock that matches nothing, and getlk", async () => {
    await using f = await fixture();
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck", 0n, 10n);
    await expect(f.a.inodelk(f.inode, DOMAIN, "setlk", "unlck", 0n, 9n)).rejects.toMatchObject({
      code: "EINVAL",
    });
    await expect(f.b.inodelk(f.inode, DOMAIN, "setlk", "unlck", 0n, 10n)).rejects.toMatchObject({
      code: "EINVAL",
    });
    await expect(f.a.entrylk(f.a.root, DOMAIN, "unlock", "n")).rejects.toMatchObject({ code: "EINVAL" });
    await expect(f.a.inodelk(f.inode, DOMAIN, "getlk", "wrlck")).rejects.toMatchObject({
      code: "EOPNOTSUPP",
    });
  });

  it("grant what waits, by fd as by loc, when the holder lets go", async () => {
    await using f = await fixture();
    await f.a.inodelk(f.inode, DOMAIN, "setlkw", "wrlck");
    const flock = f.b.flock("wrlck", 0, 0);
    const waiting = watch(f.b.top.finodelk(f.b.call, { fd: f.fdB, volume: DOMAIN, cmd: "setlkw", flock }));
    await f.a.entrylk(f.a.root, DOMAIN, "lock", undefined);
    const fd = await f.b.opendir();
    const entry = watch(
      f.b.top.fentrylk(f.b.call, { fd, volume: DOMAIN, cmd: "lock", name: "n", type: "wrlck" }),
    );
    await settle();
    expect([waiting.state, entry.state]).toEqual(["waiting", "waiting"]);
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "unlck");
    await f.a.entrylk(f.a.root, DOMAIN, "unlock", undefined);
    await settle();
    expect([waiting.state, entry.state]).toEqual(["done", "done"]);
  });

  it("end a wait with EINTR when the caller's signal fires", async () => {
    await using f = await fixture();
    const giveUp = new AbortController();
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "rdlck");
    const writer = watch(f.b.inodelk(f.inode, DOMAIN, "setlkw", "wrlck", 0n, 0n, giveUp.signal));
    const c = new Session(f.a.top, { client: clientIdentity() });
    const reader = watch(c.inodelk(f.inode, DOMAIN, "setlkw", "rdlck"));
    await settle();
    expect(reader.state).toBe("waiting");
    giveUp.abort();
    await settle();
    expect([writer.state, reader.state]).toEqual(["EINTR", "done"]);
  });
});

describe("a client's disconnect", () => {
  it("drops all its locks and answers what it waits for with EAGAIN", async () => {
    await using f = await fixture();
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 10);
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck");
    await f.a.entrylk(f.a.root, DOMAIN, "lock", "n");
    await f.b.inodelk(f.inode, "other", "setlk", "wrlck");
    const refused = watch(f.a.inodelk(f.inode, "other", "setlkw", "wrlck"));
    const lk = watch(f.b.lk(f.fdB, "setlkw", "wrlck", 0, 0));
    const inodelk = watch(f.b.inodelk(f.inode, DOMAIN, "setlkw", "wrlck"));
    const entrylk = watch(f.b.entrylk(f.b.root, DOMAIN, "lock", undefined));
    await settle();
    f.a.top.clientDisconnect(f.a.call.client!);
    await settle();
    expect(refused.state).toBe("EAGAIN");
    expect([lk.state, inodelk.state, entrylk.state]).toEqual(["done", "done", "done"]);
  });

  it("keeps a lock call that was still on its way from leaving a lock behind", async () => {
    await using f = await fixture();
    f.a.top.clientDisconnect(f.a.call.client!);
    await expect(f.a.lk(f.fdA, "setlk", "wrlck", 0, 0)).rejects.toMatchObject({ code: "ENOTCONN" });
    await expect(f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck")).rejects.toMatchObject({ code: "ENOTCONN" });
    await expect(f.a.entrylk(f.a.root, DOMAIN, "lock", "n")).rejects.toMatchObject({ code: "ENOTCONN" });
  });
});

describe("the graph's stop", () => {
  it("answers whoever waits with ENOTCONN", async () => {
    const f = await fixture();
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 0);
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck");
    const lk = watch(f.b.lk(f.fdB, "setlkw", "wrlck", 0, 0));
    const inodelk = watch(f.b.inodelk(f.inode, DOMAIN, "setlkw", "wrlck"));
    await settle();
    await f[Symbol.asyncDispose]();
    await settle();
    expect([lk.state, inodelk.state]).toEqual(["ENOTCONN", "ENOTCONN"]);
  });
});

describe("lock counts in xdata", () => {
  it("tell of granted and waiting locks, by domain and of all", async () => {
    await using f = await fixture();
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck");
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck", METADATA);
    void watch(f.b.inodelk(f.inode, DOMAIN, "setlkw", "wrlck"));
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 1);
    const xdata = new Dict()
      .setInt("glusterfs.inodelk-count", 0)
      .setInt("glusterfs.posixlk-count", 0)
      .setInt("glusterfs.multi-dom-lk-cnt-req", 0)
      .setInt(`glusterfs.inodelk-dom-prefix:${DOMAIN}`, 0)
      .setInt("glusterfs.inodelk-dom-prefix:none", 0);
    const { xdata: reply } = await f.a.top.fstat(f.a.call, { fd: f.fdA, xdata });
    expect(reply!.number("glusterfs.inodelk-count")).toBe(3);
    expect(reply!.number("glusterfs.posixlk-count")).toBe(1);
    expect(reply!.number(`glusterfs.inodelk-dom-prefix:${DOMAIN}`)).toBe(2);
    expect(reply!.number("glusterfs.inodelk-dom-prefix:none")).toBe(0);
  });

  it("tell of one domain under the plain key, as replicate asks with each write", async () => {
    await using f = await fixture();
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck");
    await f.a.inodelk(f.inode, "other", "setlk", "wrlck");
    const xdata = new Dict()
      .setStr("glusterfs.inodelk-dom-count", DOMAIN)
      .setUint("glusterfs.write-is-append", 1);
    const args = { fd: f.fdA, data: [Buffer.from("x")], offset: 0, flags: 0, xdata };
    const { xdata: reply } = await f.a.top.writev(f.a.call, args);
    expect(reply!.number("glusterfs.inodelk-count")).toBe(1);
    expect(reply!.number("glusterfs.write-is-append")).toBe(1);
    expect(reply!.has("glusterfs.inodelk-dom-count")).toBe(false);
  });

  it("tell at lookup whether that very name is locked in its parent", async () => {
    await using f = await fixture();
    const xdata = new Dict().setInt("glusterfs.parent-entrylk", 0).setInt("glusterfs.entrylk-count", 0);
    const locked = async (): Promise<number | undefined> =>
      (await f.b.lookup("f", f.b.root, xdata)).xdata!.number("glusterfs.parent-entrylk");
    expect(await locked()).toBe(0);
    await f.a.entrylk(f.a.root, DOMAIN, "lock", undefined);
    expect(await locked()).toBe(0);
    await f.a.entrylk(f.a.root, DOMAIN, "lock", "f");
    expect(await locked()).toBe(1);
  });
});

describe("contention", () => {
  it("tells the holder once in a while that somebody waits", async () => {
    await using f = await fixture();
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck");
    await expect(f.b.inodelk(f.inode, DOMAIN, "setlk", "wrlck")).rejects.toMatchObject({ code: "EAGAIN" });
    void watch(f.b.inodelk(f.inode, DOMAIN, "setlkw", "wrlck"));
    const upcall = expect.objectContaining({ kind: "inodelk-contention", domain: DOMAIN });
    expect(f.upcalls).toEqual([{ to: f.a.call.client!.id, upcall }]);
    await f.env.clock.advance(5000);
    await expect(f.b.inodelk(f.inode, DOMAIN, "setlk", "wrlck")).rejects.toMatchObject({ code: "EAGAIN" });
    expect(f.upcalls).toHaveLength(2);
  });

  it("tells the next holder as well, for those who still wait", async () => {
    await using f = await fixture();
    const c = new Session(f.a.top, { client: clientIdentity() });
    await f.a.entrylk(f.a.root, DOMAIN, "lock", "n");
    void watch(f.b.entrylk(f.b.root, DOMAIN, "lock", "n"));
    void watch(c.entrylk(c.root, DOMAIN, "lock", "n"));
    await settle();
    await f.a.entrylk(f.a.root, DOMAIN, "unlock", "n");
    await settle();
    expect(f.upcalls.map(({ to }) => to)).toEqual([f.a.call.client!.id, f.b.call.client!.id]);
  });

  it("is silent when switched off", async () => {
    await using f = await fixture({ "notify-contention": "off" });
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck");
    void watch(f.b.inodelk(f.inode, DOMAIN, "setlkw", "wrlck"));
    await settle();
    expect(f.upcalls).toEqual([]);
  });
});

describe("revocation", () => {
  it("drops a granted lock that is too old when somebody else wants it", async () => {
    await using f = await fixture({ "revocation-secs": "10" });
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck");
    await f.env.clock.advance(9000);
    await expect(f.b.inodelk(f.inode, DOMAIN, "setlk", "wrlck")).rejects.toMatchObject({ code: "EAGAIN" });
    await f.env.clock.advance(2000);
    await f.b.inodelk(f.inode, DOMAIN, "setlk", "wrlck");
    expect(f.env.log.lines).toContainEqual(
      expect.objectContaining({ level: "warn", message: "locks revoked" }),
    );
  });

  it("drops granted locks when too many wait, and the waiting ones too when told to", async () => {
    await using f = await fixture({ "revocation-max-blocked": "2", "revocation-clear-all": "on" });
    await f.a.entrylk(f.a.root, DOMAIN, "lock", "n");
    const waiting = ["x", "y"].map((owner) =>
      watch(f.b.as({ owner }).entrylk(f.b.root, DOMAIN, "lock", "n")),
    );
    await settle();
    await f.b.entrylk(f.b.root, DOMAIN, "lock", "n");
    await settle();
    expect(waiting.map(({ state }) => state)).toEqual(["EAGAIN", "EAGAIN"]);
  });
});

describe("removing a name", () => {
  it("waits for other clients' inodelks, and keeps new ones waiting meanwhile", async () => {
    await using f = await fixture();
    const c = new Session(f.a.top, { client: clientIdentity() });
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck", 0n, 1n);
    const removal = watch(f.b.unlink("f"));
    await settle();
    const late = watch(c.inodelk(f.inode, DOMAIN, "setlkw", "wrlck", 5n, 1n));
    const nested = watch(f.a.inodelk(f.inode, DOMAIN, "setlkw", "wrlck", 6n, 1n));
    await settle();
    expect([removal.state, late.state, nested.state]).toEqual(["waiting", "waiting", "done"]);
    expect(f.upcalls).toHaveLength(1);
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "unlck", 6n, 1n);
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "unlck", 0n, 1n);
    await settle();
    expect([removal.state, late.state]).toEqual(["done", "done"]);
    expect(await f.a.exists("f")).toBe(false);
    await f.b.inodelk(f.inode, DOMAIN, "setlk", "wrlck", 20n, 1n);
  });

  it("keeps new inodelks waiting while the removal is on its way in the brick, those of a holder too", async () => {
    const layers = [
      { name: "brick", type: "storage/memory" },
      { name: "delay", type: "debug/delay-gen", options: { "delay-percentage": "0" } },
      { name: "locks", type: "features/locks" },
    ];
    await using graph = await startGraph(stack(...layers), { env: fakeEnv() });
    const [a, b] = [0, 1].map(() => new Session(graph.top, { client: clientIdentity() }));
    await a!.create("f");
    const inode = await a!.inode("f");
    await a!.inodelk(inode, DOMAIN, "setlk", "wrlck", 0n, 1n);
    const hold = graph.xlator<DelayGen>("delay").hold("unlink");
    const loc = { inode, parent: a!.root, name: "f" };
    const removal = watch(a!.top.unlink(a!.call, { loc, flags: 0 }));
    await hold.arrived();
    for (const session of [a!, b!])
      await expect(session.inodelk(inode, DOMAIN, "setlk", "wrlck", 5n, 1n)).rejects.toMatchObject({
        code: "EAGAIN",
      });
    await a!.as({ pid: -6 }).inodelk(inode, DOMAIN, "setlk", "wrlck", 7n, 1n);
    const waiting = watch(b!.inodelk(inode, DOMAIN, "setlkw", "wrlck", 5n, 1n));
    await settle();
    expect(waiting.state).toBe("waiting");
    graph.xlator<DelayGen>("delay").unhold(hold);
    await settle();
    expect([removal.state, waiting.state]).toEqual(["done", "done"]);
  });

  it("does not wait for the caller's own inodelks nor for those of internal callers", async () => {
    await using f = await fixture();
    await f.b.inodelk(f.inode, DOMAIN, "setlk", "wrlck", 0n, 1n);
    await f.a.as({ pid: -6 }).inodelk(f.inode, DOMAIN, "setlk", "wrlck", 5n, 1n);
    await f.b.unlink("f");
  });

  it("waits for the locks of the inode that a rename replaces", async () => {
    await using f = await fixture();
    await f.a.create("other");
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck");
    const rename = watch(f.b.rename("other", "f"));
    await settle();
    expect(rename.state).toBe("waiting");
    f.a.top.clientDisconnect(f.a.call.client!);
    await settle();
    expect(rename.state).toBe("done");
  });
});

describe("mandatory locking", () => {
  const io = (session: Session, fd: Fd): { state: string } => watch(session.write(fd, "x", 5));

  it("is off unless asked for", async () => {
    await using f = await fixture();
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 0);
    await f.b.write(f.fdB, "x");
  });

  it("forced: holds writes up until the lock is gone, reads only for write locks", async () => {
    await using f = await fixture({ "mandatory-locking": "forced" });
    await f.a.lk(f.fdA, "setlk", "rdlck", 0, 10);
    const write = io(f.b, f.fdB);
    await f.b.write(f.fdB, "x", 10);
    await f.b.read(f.fdB, 0, 5);
    await settle();
    expect(write.state).toBe("waiting");
    await f.a.write(f.fdA, "own", 0);
    await f.a.lk(f.fdA, "setlk", "unlck", 0, 10);
    await settle();
    expect(write.state).toBe("done");
  });

  it("forced: refuses at once for a non-blocking fd, an open with O_TRUNC and a truncate by name", async () => {
    await using f = await fixture({ "mandatory-locking": "forced" });
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 1);
    const fd = await f.b.open(f.inode, O_RDWR | O_NONBLOCK);
    await expect(f.b.read(fd, 0, 1)).rejects.toMatchObject({ code: "EAGAIN" });
    await expect(f.b.open(f.inode, O_RDWR | O_TRUNC)).rejects.toMatchObject({ code: "EAGAIN" });
    const truncate = f.b.top.truncate(f.b.call, { loc: { inode: f.inode }, offset: 0 });
    await expect(truncate).rejects.toMatchObject({ code: "EAGAIN", fop: "truncate" });
    await f.b.as({ pid: -6 }).write(fd, "healed");
  });

  it("optimal: heeds only locks that were asked for as mandatory", async () => {
    await using f = await fixture({ "mandatory-locking": "optimal" });
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 1);
    await f.b.write(f.fdB, "x");
    await f.a.lk(f.fdA, "setlk", "wrlck", 5, 1, { xdata: new Dict().setUint("glusterfs.lk.lkmode", 1) });
    const write = io(f.b, f.fdB);
    await settle();
    expect(write.state).toBe("waiting");
  });

  it("file: heeds only locks of files with set-gid and without group-execute", async () => {
    await using f = await fixture({ "mandatory-locking": "file" });
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 0);
    await f.b.write(f.fdB, "x");
    await f.a.setattr(f.inode, 1, { mode: 0o2644 });
    const write = io(f.b, f.fdB);
    await settle();
    expect(write.state).toBe("waiting");
  });

  it("enforced: refuses I/O outside an own lock, and a new lock takes the range from the old holder", async () => {
    await using f = await fixture({ "mandatory-locking": "forced", "enforce-mandatory-lock": "on" });
    await f.a.setxattr(f.inode, "trusted.glusterfs.enforce-mandatory-lock", "1");
    await expect(f.a.write(f.fdA, "x")).rejects.toMatchObject({ code: "EBUSY" });
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 10);
    await f.a.write(f.fdA, "x");
    await expect(f.a.write(f.fdA, "x", 10)).rejects.toMatchObject({ code: "EBUSY" });
    await f.b.lk(f.fdB, "setlk", "wrlck", 0, 10);
    await f.b.write(f.fdB, "x");
    await expect(f.a.write(f.fdA, "x")).rejects.toMatchObject({ code: "EBUSY" });
    await f.a.top.removexattr(f.a.call, {
      loc: { inode: f.inode },
      name: "trusted.glusterfs.enforce-mandatory-lock",
    });
  });

  it("refuses the enforcement xattr when enforcement is not switched on", async () => {
    await using f = await fixture();
    const set = f.a.setxattr(f.inode, "trusted.glusterfs.enforce-mandatory-lock", "1");
    await expect(set).rejects.toMatchObject({ code: "EINVAL" });
  });
});

describe("clear-locks", () => {
  const clear = async (session: Session, inode: Inode, name: string): Promise<string> => {
    const { xattrs } = await session.top.getxattr(session.call, { loc: { inode }, name });
    return xattrs.text(name)!;
  };

  it("drops granted locks of a range and tells how many", async () => {
    await using f = await fixture();
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck", 0n, 10n);
    await f.a.inodelk(f.inode, DOMAIN, "setlk", "wrlck", 20n, 10n);
    const text = await clear(f.b, f.inode, "glusterfs.clrlk.tinode.kgranted.0,0-10");
    expect(text).toBe("locks: inode blocked locks=0 granted locks=1");
    await f.b.inodelk(f.inode, DOMAIN, "setlk", "wrlck", 0n, 10n);
    await expect(f.b.inodelk(f.inode, DOMAIN, "setlk", "wrlck", 20n, 10n)).rejects.toMatchObject({
      code: "EAGAIN",
    });
  });

  it("refuses waiting requests: lk with EINTR, the others with EAGAIN", async () => {
    await using f = await fixture();
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 0);
    await f.a.entrylk(f.a.root, DOMAIN, "lock", "n");
    const lk = watch(f.b.lk(f.fdB, "setlkw", "wrlck", 0, 0));
    const entry = watch(f.b.entrylk(f.b.root, DOMAIN, "lock", "n"));
    await settle();
    await clear(f.b, f.inode, "glusterfs.clrlk.tposix.kblocked");
    await clear(f.b, f.b.root, "glusterfs.clrlk.tentry.kblocked.n");
    await settle();
    expect([lk.state, entry.state]).toEqual(["EINTR", "EAGAIN"]);
    expect(await clear(f.b, f.inode, "glusterfs.clrlk.tposix.kblocked")).toBe("No locks cleared.");
  });

  it("ends only the caller's own wait for glusterfs.intrlk", async () => {
    await using f = await fixture();
    await f.a.lk(f.fdA, "setlk", "wrlck", 0, 0);
    const mine = watch(f.b.lk(f.fdB, "setlkw", "wrlck", 0, 0));
    const other = watch(f.b.as({ owner: "z", pid: 77 }).lk(f.fdB, "setlkw", "wrlck", 0, 0));
    await settle();
    await clear(f.b, f.inode, "glusterfs.intrlk.tposix.kblocked.0,0-0");
    await settle();
    expect([mine.state, other.state]).toEqual(["EINTR", "waiting"]);
  });

  it("refuses a command that it does not understand", async () => {
    await using f = await fixture();
    for (const name of [
      "glusterfs.clrlk.tposix",
      "glusterfs.clrlk.tall.kall",
      "glusterfs.clrlk.tinode.kall.x",
    ])
      await expect(clear(f.a, f.inode, name)).rejects.toMatchObject({ code: "EINVAL" });
  });
});
