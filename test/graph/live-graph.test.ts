/**
 * A graph that takes another one's place under its users: open files, locks, calls in flight, children that
 * are down, and everything that can go wrong on the way.
 */

import { describe, expect, it } from "vitest";
import { nodeEnv } from "../../src/core/env-node.ts";
import { UserError } from "../../src/core/errors.ts";
import type { FopName } from "../../src/core/fops.ts";
import type { Fd, Inode } from "../../src/core/inode.ts";
import { SILENT } from "../../src/core/log.ts";
import { O_RDONLY, O_RDWR } from "../../src/core/open-flags.ts";
import {
  defineXlator,
  exactly,
  Xlator,
  type XlatorBase,
  type XlatorDefinition,
} from "../../src/core/xlator.ts";
import { LiveGraph } from "../../src/graph/live-graph.ts";
import { SwitchBusy } from "../../src/graph/move-open.ts";
import { parseVolfile, type Volfile } from "../../src/graph/volfile.ts";
import { MemoryNetwork } from "../../src/rpc/transport-memory.ts";
import type { DelayGen } from "../../xlators/debug/delay-gen.ts";
import type { ErrorGen } from "../../xlators/debug/error-gen.ts";
import { clientOver } from "../../xlators/protocol/client.ts";
import { serverOver } from "../../xlators/protocol/server.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { type Layer, stack, startGraph } from "../support/build-graph.ts";
import { type FakeEnv, fakeEnv, settle } from "../support/fake-env.ts";
import { Session } from "../support/session.ts";

/** Counts what is open below it, and can be told to lose its child. */
class Watch extends Xlator {
  readonly open_ = new Set<Fd>();
  readonly asked: { fop: FopName; inode: Inode | undefined }[] = [];
  stopped = 0;

  override async open(...args: Parameters<Xlator["open"]>) {
    const reply = await super.open(...args);
    this.open_.add(args[1].fd);
    return reply;
  }
  override async create(...args: Parameters<Xlator["create"]>) {
    const reply = await super.create(...args);
    this.open_.add(args[1].fd);
    return reply;
  }
  override async opendir(...args: Parameters<Xlator["opendir"]>) {
    const reply = await super.opendir(...args);
    this.open_.add(args[1].fd);
    return reply;
  }
  override lookup(...args: Parameters<Xlator["lookup"]>) {
    this.asked.push({ fop: "lookup", inode: args[1].loc.inode });
    return super.lookup(...args);
  }
  override stat(...args: Parameters<Xlator["stat"]>) {
    this.asked.push({ fop: "stat", inode: args[1].loc.inode });
    return super.stat(...args);
  }
  override release(fd: Fd): Promise<void> {
    this.open_.delete(fd);
    return super.release(fd);
  }
  override releasedir(fd: Fd): Promise<void> {
    this.open_.delete(fd);
    return super.releasedir(fd);
  }
  override async fini(): Promise<void> {
    this.stopped++;
  }
}

const WATCH = defineXlator({
  type: "test/watch",
  children: exactly(1),
  options: {},
  create: (init) => new Watch(init),
});

/** A layer that cannot start. */
class Broken extends Xlator {
  override async init(): Promise<void> {
    throw new UserError("broken on purpose");
  }
}

const BROKEN = defineXlator({
  type: "test/broken",
  children: exactly(1),
  options: {},
  create: (init) => new Broken(init),
});

/** A translator made of two, as features/shard is: the inner one stands on the child. */
class Inner extends Xlator {}
class Composed extends Xlator {}

const COMPOSED: XlatorDefinition = {
  type: "test/composed",
  children: exactly(1),
  options: {
    shape: { kind: "string", default: "", describe: "Fixed.", live: false, parse: (text: string) => text },
  },
  create: (init) => new Composed({ ...init, children: [new Inner({ ...init, options: {} })] }),
};

const registry = new Map([
  ...REGISTRY,
  ["test/watch", WATCH],
  ["test/broken", BROKEN],
  ["test/composed", COMPOSED],
] as const);

const MEMORY: Layer = { name: "brick", type: "storage/memory" };
const LOCKS: Layer = { name: "locks", type: "features/locks" };
const LATE: Layer = { name: "late", type: "debug/delay-gen", options: { "delay-percentage": "0" } };
const FAILS: Layer = { name: "fails", type: "debug/error-gen", options: { failure: "0" } };
const KEPT: readonly Layer[] = [MEMORY, LOCKS, { name: "kept", type: "test/watch" }, FAILS, LATE];
const EXTRA: Layer = { name: "extra", type: "test/watch" };
const TOP: Layer = { name: "top", type: "debug/io-stats" };

function volfile(...layers: readonly Layer[]): Volfile {
  return parseVolfile(stack(...layers), "test.vol");
}

const WITHOUT = volfile(...KEPT, TOP);
const WITH = volfile(...KEPT, EXTRA, TOP);

class Scene implements AsyncDisposable {
  readonly live: LiveGraph;
  readonly env: FakeEnv;
  readonly user: Session;

  private constructor(live: LiveGraph, env: FakeEnv) {
    this.live = live;
    this.env = env;
    this.user = new Session(live);
  }

  static async start(first: Volfile = WITHOUT): Promise<Scene> {
    const env = fakeEnv(1);
    return new Scene(await LiveGraph.start(first, { registry, env, drainMs: 1000 }), env);
  }

  xlator<T extends XlatorBase>(name: string): T {
    return this.live.graph.xlators.find((one) => one.name === name) as T;
  }

  get kept(): Watch {
    return this.xlator<Watch>("kept");
  }

  /** There and back again, `times` times. */
  async switchTimes(times: number): Promise<void> {
    for (let time = 0; time < times; time++) await this.live.take(time % 2 === 0 ? WITH : WITHOUT);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.user.end();
    await this.live.stop();
  }
}

describe("a new volfile", () => {
  it("of the same tree changes options and no graph", async () => {
    await using scene = await Scene.start();
    const { graph } = scene.live;
    const counted = volfile(...KEPT, { ...TOP, options: { "count-fop-hits": "on" } });
    expect(await scene.live.take(counted)).toEqual({
      kind: "reconfigured",
      changed: ["top.count-fop-hits"],
    });
    expect(await scene.live.take(counted)).toEqual({ kind: "unchanged" });
    expect(scene.live.graph).toBe(graph);
    expect(scene.live.switches).toBe(0);
  });

  it("of another tree makes what is new, and takes the rest along", async () => {
    await using scene = await Scene.start();
    const before = scene.xlator("top");
    const brick = scene.xlator("brick");
    const change = await scene.live.take(WITH);
    expect(change).toEqual({ kind: "switched", why: "it has 7 volumes instead of 6" });
    expect(scene.xlator("brick")).toBe(brick);
    expect(scene.xlator("top")).not.toBe(before);
    expect(scene.kept.stopped).toBe(0);
    const extra = scene.xlator<Watch>("extra");
    await scene.live.take(WITHOUT);
    expect(extra.stopped).toBe(1);
    expect(scene.xlator("extra")).toBeUndefined();
  });

  it("takes a translator that is made of several along, and makes it anew over what stays", async () => {
    const composed = (shape: string): Layer => ({ name: "c", type: "test/composed", options: { shape } });
    await using scene = await Scene.start(volfile(...KEPT, composed("a"), TOP));
    const fd = await scene.user.create("file");
    const made = scene.xlator("c");
    const events: string[] = [];
    scene.kept.onParentEvent = ({ type }) => void events.push(type);
    await scene.live.take(volfile(...KEPT, composed("a"), EXTRA, TOP));
    expect(scene.xlator("c")).toBe(made);
    for (const shape of ["b", "c", "b"]) {
      await scene.live.take(volfile(...KEPT, composed(shape), EXTRA, TOP));
      expect(scene.xlator("c")).not.toBe(made);
      await scene.user.write(fd, shape);
      expect([...scene.xlator("late").parents]).toHaveLength(1);
    }
    await expect(
      scene.live.take(volfile(...KEPT, composed("d"), { name: "x", type: "test/broken" }, TOP)),
    ).rejects.toThrow(/broken on purpose/);
    expect([...scene.xlator("late").parents]).toHaveLength(1);
    expect(await scene.user.text(fd)).toBe("b");
    expect(events).toEqual([]);
    expect(scene.kept.open_.size).toBe(1);
  });

  it("sets live options of what is taken along", async () => {
    await using scene = await Scene.start();
    const late = { ...LATE, options: { "delay-percentage": "0", "delay-duration": "5" } };
    await scene.live.take(volfile(...KEPT.slice(0, -1), late, EXTRA, TOP));
    await scene.live.take(volfile(...KEPT.slice(0, -1), late, EXTRA, TOP));
    expect(scene.live.switches).toBe(1);
    expect(await scene.live.take(WITH)).toEqual({
      kind: "reconfigured",
      changed: ["late.delay-duration"],
    });
  });

  it("that is wrong, or that cannot start, leaves the old graph as it was", async () => {
    await using scene = await Scene.start();
    const fd = await scene.user.create("file");
    const { graph } = scene.live;
    const wrong = volfile(...KEPT, { name: "x", type: "no/such" }, TOP);
    await expect(scene.live.take(wrong)).rejects.toThrow(/unknown type "no\/such"/);
    const broken = volfile(...KEPT, { name: "x", type: "test/broken" }, TOP);
    await expect(scene.live.take(broken)).rejects.toThrow(/broken on purpose/);
    expect(scene.live.graph).toBe(graph);
    await scene.user.write(fd, "still here");
    await scene.live.take(WITH);
    expect(await scene.user.text(fd)).toBe("still here");
  });
});

describe("open files", () => {
  it("are open in the new graph, and in no other", async () => {
    await using scene = await Scene.start();
    const fd = await scene.user.create("file");
    const dir = await scene.user.opendir();
    await scene.user.write(fd, "one");
    for (let time = 1; time <= 4; time++) {
      await scene.switchTimes(1);
      await scene.live.take(WITHOUT);
      expect(scene.kept.open_.size).toBe(2);
      await scene.user.write(fd, `${time}`, 3 + time);
    }
    expect((await scene.user.read(fd)).toString()).toBe("one\0" + "1234");
    expect(await scene.user.size(fd)).toBe(8);
    await scene.user.close(fd);
    await scene.user.release(dir);
    expect(scene.kept.open_.size).toBe(0);
    expect(scene.live.dump()).toMatchObject({ openFiles: 0, callsInFlight: 0, switches: 8 });
  });

  it("that cannot be opened again keep the old graph, and leave nothing open", async () => {
    await using scene = await Scene.start();
    const first = await scene.user.create("first");
    await scene.user.create("second");
    scene.xlator<ErrorGen>("fails").failNext("open", "EIO");
    const change = scene.live.take(WITH);
    await expect(change).rejects.toThrow(SwitchBusy);
    await expect(change).rejects.toThrow(/cannot be opened again: EIO; possible when it is closed/);
    expect(scene.kept.open_.size).toBe(2);
    await scene.user.write(first, "goes on");
    await scene.live.take(WITH);
    expect(await scene.user.text(first)).toBe("goes on");
  });

  it("report once what a switch could not sync", async () => {
    await using scene = await Scene.start();
    const fd = await scene.user.create("file");
    scene.xlator<ErrorGen>("fails").failNext("fsync", "EIO");
    await scene.live.take(WITH);
    const { call } = scene.user;
    await expect(scene.live.fsync(call, { fd, datasync: false })).rejects.toMatchObject({ code: "EIO" });
    await scene.live.fsync(call, { fd, datasync: false });
  });

  it("report what a switch that was put off could not sync", async () => {
    await using scene = await Scene.start();
    const fd = await scene.user.create("file");
    scene.xlator<ErrorGen>("fails").failNext("fsync", "EIO");
    scene.xlator<ErrorGen>("fails").failNext("open", "EIO");
    await expect(scene.live.take(WITH)).rejects.toThrow(SwitchBusy);
    const { call } = scene.user;
    await expect(scene.live.fsync(call, { fd, datasync: false })).rejects.toMatchObject({ code: "EIO" });
    await scene.live.fsync(call, { fd, datasync: false });
  });

  it("of readers are not synced", async () => {
    await using scene = await Scene.start();
    await scene.user.release(await scene.user.create("file"));
    const fd = await scene.user.open(await scene.user.inode("file"), O_RDONLY);
    const undo = scene.xlator<ErrorGen>("fails").failWhere((fop) => (fop === "fsync" ? "EIO" : undefined));
    await scene.live.take(WITH);
    undo();
    await scene.live.fsync(scene.user.call, { fd, datasync: false });
  });
});

describe("acknowledged bytes that cannot be written", () => {
  const behind = (extra: readonly Layer[]): Volfile =>
    volfile(...KEPT, { name: "behind", type: "performance/write-behind" }, ...extra, TOP);
  const trees = [
    { to: "a graph without write-behind", volfile: WITHOUT },
    { to: "a graph with another layer over it", volfile: behind([EXTRA]) },
  ];

  async function failing(): Promise<{ scene: Scene; fd: Fd; undo: () => void }> {
    const scene = await Scene.start(behind([]));
    const fd = await scene.user.create("file");
    const fails = scene.xlator<ErrorGen>("fails");
    const undo = fails.failWhere((fop) => (fop === "writev" ? "ENOSPC" : undefined));
    await scene.user.write(fd, "only copy");
    await settle();
    return { scene, fd, undo };
  }

  it.each(trees)(
    "keep the graph that has them from becoming $to, until they are",
    async ({ volfile: next }) => {
      const { scene, fd, undo } = await failing();
      await using _end = scene;
      const { call } = scene.user;
      const change = scene.live.take(next);
      await expect(change).rejects.toThrow(SwitchBusy);
      await expect(change).rejects.toThrow(/acknowledged bytes .* cannot be written: ENOSPC; possible when/);
      await expect(scene.live.fsync(call, { fd, datasync: false })).rejects.toMatchObject({ code: "ENOSPC" });
      await expect(scene.live.take(next)).rejects.toThrow(SwitchBusy);
      undo();
      expect(await scene.live.take(next)).toMatchObject({ kind: "switched" });
      await scene.live.fsync(call, { fd, datasync: false });
      expect(await scene.user.text(fd)).toBe("only copy");
    },
  );

  it("are told to the next writer even if a switch met them first", async () => {
    const { scene, fd, undo } = await failing();
    await using _end = scene;
    await expect(scene.live.take(WITHOUT)).rejects.toThrow(SwitchBusy);
    await expect(scene.user.write(fd, "more", 100)).rejects.toMatchObject({ code: "ENOSPC" });
    undo();
  });

  it("do not keep it when their file is closed", async () => {
    const { scene, fd } = await failing();
    await using _end = scene;
    await expect(scene.live.take(WITHOUT)).rejects.toThrow(SwitchBusy);
    const { call } = scene.user;
    await expect(scene.live.flush(call, { fd })).rejects.toMatchObject({ code: "ENOSPC" });
    await scene.user.close(fd).catch(() => {});
    await scene.live.release(fd);
    expect(await scene.live.take(WITHOUT)).toMatchObject({ kind: "switched" });
  });
});

describe("a file that the kernel serves itself", () => {
  it("keeps a graph where it could not, until it is closed by all", async () => {
    await using scene = await Scene.start();
    scene.xlator("brick").localFile = () => 7;
    for (const name of ["kept", "fails", "late"]) {
      const filter = scene.xlator(name);
      filter.localFile = (fd) => filter.children[0]!.localFile(fd);
    }
    const first = await scene.user.create("file");
    const second = await scene.user.open(first.inode);
    expect(scene.live.localFile(first)).toBe(7);
    await scene.user.release(first);
    await expect(scene.live.take(WITH)).rejects.toThrow(/the kernel serves open file .* past the graph/);
    expect(scene.kept.open_.size).toBe(1);
    await scene.user.release(second);
    await scene.live.take(WITH);
  });
});

describe("inodes of before", () => {
  it("are looked up once before the new graph is asked about them", async () => {
    await using scene = await Scene.start();
    await scene.user.release(await scene.user.create("file"));
    const inode = await scene.user.inode("file");
    await scene.live.take(WITH);
    const { asked } = scene.xlator<Watch>("extra");
    asked.length = 0;
    await scene.user.statInode(inode);
    await scene.user.statInode(inode);
    expect(asked.map(({ fop }) => fop)).toEqual(["lookup", "stat", "stat"]);
    expect(new Set(asked.map((one) => one.inode))).toEqual(new Set([inode]));
  });

  it("that are gone are the fop's to report", async () => {
    await using scene = await Scene.start();
    await scene.user.release(await scene.user.create("file"));
    const inode = await scene.user.inode("file");
    await scene.user.unlink("file");
    await scene.live.take(WITH);
    await expect(scene.user.statInode(inode)).rejects.toMatchObject({ code: /ENOENT|ESTALE/ });
  });
});

describe("locks", () => {
  const stranger = (scene: Scene): Session => scene.user.as({ owner: "stranger" });

  it("stay held through switches, and end with their file", async () => {
    await using scene = await Scene.start();
    const fd = await scene.user.create("file");
    await scene.user.lk(fd, "setlk", "wrlck", 0, 100);
    await scene.user.lk(fd, "setlk", "unlck", 40, 20);
    await scene.user.lk(fd, "setlk", "rdlck", 200, 0);
    const other = stranger(scene);
    const theirs = await other.open(fd.inode, O_RDWR);
    for (let time = 0; time < 3; time++) {
      await scene.switchTimes(1);
      for (const [type, start, len] of [
        ["rdlck", 0, 40],
        ["rdlck", 99, 1],
        ["wrlck", 300, 1],
      ] as const)
        await expect(other.lk(theirs, "setlk", type, start, len)).rejects.toMatchObject({ code: "EAGAIN" });
      await other.lk(theirs, "setlk", "wrlck", 40, 20);
      await other.lk(theirs, "setlk", "rdlck", 300, 1);
      await other.lk(theirs, "setlk", "unlck", 0, 0);
      await scene.live.take(WITHOUT);
    }
    await scene.user.close(fd);
    await other.lk(theirs, "setlk", "wrlck", 0, 0);
    expect(scene.live.dump()).toMatchObject({ heldLocks: 1 });
    await scene.live.take(WITH);
    expect(scene.live.dump()).toMatchObject({ heldLocks: 1 });
    await other.end();
    expect(scene.live.dump()).toMatchObject({ heldLocks: 0 });
  });

  it("that somebody waits for keep the old graph until he has one", async () => {
    await using scene = await Scene.start();
    const fd = await scene.user.create("file");
    await scene.user.lk(fd, "setlk", "wrlck", 0, 0);
    const other = stranger(scene);
    const theirs = await other.open(fd.inode, O_RDWR);
    const waiting = other.lk(theirs, "setlkw", "wrlck", 0, 0);
    await settle();
    await expect(scene.live.take(WITH)).rejects.toThrow(/1 calls wait for a lock/);
    await scene.user.lk(fd, "setlk", "unlck", 0, 0);
    await waiting;
    await scene.live.take(WITH);
    await expect(scene.user.lk(fd, "setlk", "rdlck", 0, 0)).rejects.toMatchObject({ code: "EAGAIN" });
    await other.end();
  });

  it("are not lost when the new graph refuses one", async () => {
    await using scene = await Scene.start();
    const fd = await scene.user.create("file");
    await scene.user.lk(fd, "setlk", "wrlck", 0, 10);
    scene.xlator<ErrorGen>("fails").failNext("lk", "EIO");
    await expect(scene.live.take(WITH)).rejects.toThrow(/a lock on .* cannot be moved: EIO/);
    const other = stranger(scene);
    const theirs = await other.open(fd.inode, O_RDWR);
    await expect(other.lk(theirs, "setlk", "wrlck", 0, 1)).rejects.toMatchObject({ code: "EAGAIN" });
    await scene.user.lk(fd, "setlk", "unlck", 0, 10);
    await other.lk(theirs, "setlk", "wrlck", 0, 1);
    await other.end();
  });

  it("of a brick in this process forbid to make that anew", async () => {
    const memory = (shown: string): Layer => ({ ...MEMORY, type: "storage/memory", options: { x: shown } });
    const memoryBrick = registry.get("storage/memory")!;
    const fixed: XlatorDefinition = { ...memoryBrick, options: { ...memoryBrick.options, x: OPTION_X } };
    const env = fakeEnv(1);
    const own = new Map([...registry, ["storage/memory", fixed] as const]);
    const live = await LiveGraph.start(volfile(memory("a"), LOCKS, TOP), { registry: own, env });
    const user = new Session(live);
    const fd = await user.create("file");
    await user.lk(fd, "setlk", "wrlck", 0, 10);
    await expect(live.take(volfile(memory("b"), LOCKS, TOP))).rejects.toThrow(
      /^"locks" holds the locks of a brick in this process; start that anew/,
    );
    await user.end();
    await live.stop();
  });
});

const OPTION_X = {
  kind: "string",
  default: "",
  describe: "Fixed.",
  live: false,
  parse: (text: string) => text,
} as const;

describe("calls in flight", () => {
  it("settle on the old graph, and later ones wait for the new one", async () => {
    await using scene = await Scene.start();
    const fd = await scene.user.create("file");
    const late = scene.xlator<DelayGen>("late");
    const hold = late.hold("writev");
    const order: string[] = [];
    const first = scene.user.write(fd, "first").then(() => order.push("first"));
    await hold.arrived();
    const change = scene.live.take(WITH).then(() => order.push("switched"));
    await settle();
    const second = scene.user.write(fd, "SECOND").then(() => order.push("second"));
    await settle();
    expect(hold.count).toBe(1);
    late.unhold(hold);
    await Promise.all([first, change, second]);
    expect(order[0]).toBe("first");
    expect(await scene.user.text(fd)).toBe("SECOND");
    expect(scene.live.switches).toBe(1);
  });

  it("that do not settle in time keep the old graph, and lose nothing", async () => {
    await using scene = await Scene.start();
    const fd = await scene.user.create("file");
    const late = scene.xlator<DelayGen>("late");
    const hold = late.hold("writev");
    const first = scene.user.write(fd, "first");
    await hold.arrived();
    const change = scene.live.take(WITH).catch((error: Error) => error.message);
    await settle();
    const second = scene.user.read(fd);
    await scene.env.clock.advance(1000);
    expect(await change).toBe("1 calls were still under way after 1 s");
    await second;
    late.unhold(hold);
    await first;
    await scene.live.take(WITH);
    expect(await scene.user.text(fd)).toBe("first");
  });

  it("of many users all end well through many switches", async () => {
    await using scene = await Scene.start();
    const users = await Promise.all(
      ["a", "b", "c", "d"].map(async (name) => ({ name, fd: await scene.user.create(name) })),
    );
    let over = false;
    let written = 0;
    const work = users.map(async ({ fd, name }, index) => {
      for (let count = 0; !over; count++) {
        const text = `${name}${count}`.padEnd(64, ".");
        await scene.user.write(fd, text, 64 * (count % 16));
        expect((await scene.user.read(fd, 64 * (count % 16), 64)).toString()).toBe(text);
        if (count % 5 === index) await scene.live.fsync(scene.user.call, { fd, datasync: true });
        if (count % 7 === 0) await scene.user.release(await scene.user.create(`${name}-${count}`));
        written++;
        await settle();
      }
    });
    for (let time = 0; time < 40; time++) {
      await scene.live.take(time % 2 === 0 ? WITH : WITHOUT);
      await settle();
    }
    over = true;
    await Promise.all(work);
    expect(written).toBeGreaterThan(40);
    expect(scene.live.switches).toBe(40);
    expect(scene.kept.open_.size).toBe(4);
  });
});

describe("a brick behind a wire", () => {
  const TCP = { "transport-type": "tcp", "transport.address-family": "inet" };
  const SERVER: Layer = {
    name: "server",
    type: "protocol/server",
    options: {
      ...TCP,
      "auth.addr./brick.allow": "*",
      "rpc-auth-allow-insecure": "on",
      "transport.socket.bind-address": "127.0.0.1",
      "transport.socket.listen-port": "49153",
    },
  };
  const client = (options: Readonly<Record<string, string>> = {}): Layer => ({
    name: "client",
    type: "protocol/client",
    options: { "remote-host": "127.0.0.1", "remote-port": "49153", "remote-subvolume": "/brick", ...options },
  });

  async function wire() {
    const network = new MemoryNetwork();
    const definitions = [clientOver(network.connect), serverOver(network.listen)];
    const brick = await startGraph(stack(MEMORY, LOCKS, { name: "/brick", type: "debug/io-stats" }, SERVER), {
      definitions,
    });
    const own = new Map([...registry, ...definitions.map((one) => [one.type, one] as const)]);
    const init = { registry: own, env: nodeEnv(SILENT), startTimeoutMs: 500 };
    const live = await LiveGraph.start(volfile(client(), TOP), init);
    const end = async (): Promise<void> => {
      await live.stop();
      await brick[Symbol.asyncDispose]();
    };
    return { network, live, user: new Session(live), [Symbol.asyncDispose]: end };
  }

  it("keeps its connection, and the locks that are held through it", async () => {
    await using scene = await wire();
    const { live, user, network } = scene;
    const fd = await user.create("file");
    await user.lk(fd, "setlk", "wrlck", 0, 0);
    const connections = network.connections.length;
    for (let time = 0; time < 5; time++) {
      await live.take(volfile(client(), EXTRA, TOP));
      await user.write(fd, `${time}`, time);
      await live.take(volfile(client(), TOP));
    }
    expect(network.connections.length).toBe(connections);
    expect(await user.text(fd)).toBe("01234");
    const other = user.as({ owner: "stranger" });
    const theirs = await other.open(fd.inode, O_RDWR);
    await expect(other.lk(theirs, "setlk", "wrlck", 0, 1)).rejects.toMatchObject({ code: "EAGAIN" });
    await other.end();
    await user.end();
  });

  it("is reached anew when the volfile says so, but not while locks are held", async () => {
    await using scene = await wire();
    const { live, user } = scene;
    const fd = await user.create("file");
    await user.write(fd, "over the old connection");
    await user.lk(fd, "setlk", "wrlck", 0, 0);
    const other = volfile(client({ username: "somebody", password: "secret" }), TOP);
    await expect(live.take(other)).rejects.toThrow(
      /^"client" would be reached in another way, and 1 locks are held through it; possible when they are given up/,
    );
    await user.write(fd, "still", 0);
    await user.lk(fd, "setlk", "unlck", 0, 0);
    await live.take(other);
    expect(await user.text(fd)).toBe("stillthe old connection");
    await user.write(fd, "again", 0);
    await user.end();
  });

  it("that cannot be reached in the new way keeps the old one", async () => {
    await using scene = await wire();
    const { live, user } = scene;
    const fd = await user.create("file");
    const gone = volfile(client({ "remote-subvolume": "/no-such-brick" }), TOP);
    await expect(live.take(gone)).rejects.toThrow(/^"top": not up after 0.5 s: /);
    await user.write(fd, "as before");
    expect(await user.text(fd)).toBe("as before");
    await user.end();
  });
});

describe("copies", () => {
  const copy = (index: number): Layer[] => [
    { name: `brick-${index}`, type: "storage/memory" },
    { name: `locks-${index}`, type: "features/locks" },
    { name: `index-${index}`, type: "features/index" },
    { name: `fails-${index}`, type: "debug/error-gen", options: { failure: "0" } },
  ];
  const copies = [0, 1, 2].map((index) => stack(...copy(index))).join("\n");
  const replicate = (above: string, third = "v-client-2"): Volfile =>
    parseVolfile(
      `${copies}
volume copies
  type cluster/replicate
  option afr-pending-xattr v-client-0,v-client-1,${third}
  subvolumes fails-0 fails-1 fails-2
end-volume
${above}`,
      "test.vol",
    );
  const top = (child: string): string =>
    `volume top\n type debug/io-stats\n subvolumes ${child}\nend-volume\n`;
  const PLAIN = replicate(top("copies"));
  const CACHED = replicate(
    `volume wb\n type performance/write-behind\n subvolumes copies\nend-volume\n${top("wb")}`,
  );

  it("that are down during a switch do not hinder it, and are behind afterwards", async () => {
    await using scene = await Scene.start(PLAIN);
    const fd = await scene.user.create("file");
    await scene.user.lk(fd, "setlk", "wrlck", 0, 0);
    const down = scene.xlator<ErrorGen>("fails-2");
    const revive = down.failWhere(() => "ENOTCONN");
    down.onChildEvent({ type: "child-down" }, down);
    const set = scene.xlator("copies");
    await scene.live.take(CACHED);
    expect(scene.xlator("copies")).toBe(set);
    await scene.user.write(fd, "on two");
    await scene.live.take(PLAIN);
    expect(await scene.user.text(fd)).toBe("on two");
    revive();
  });

  it("are as many as before when replicate itself is made anew", async () => {
    await using scene = await Scene.start(PLAIN);
    const fd = await scene.user.create("file");
    await scene.user.write(fd, "before");
    const set = scene.xlator("copies");
    await scene.live.take(replicate(top("copies"), "w-client-2"));
    expect(scene.xlator("copies")).not.toBe(set);
    await scene.user.write(fd, "after ", 6);
    expect(await scene.user.text(fd)).toBe("beforeafter ");
  });
});
