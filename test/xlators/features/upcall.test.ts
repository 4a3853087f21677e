/** features/upcall: who is told of what, and when; and that nobody who may keep an answer is left out. */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../src/core/dict.ts";
import { XATTROP } from "../../../src/core/fops.ts";
import { gfidEquals } from "../../../src/core/gfid.ts";
import { SETATTR } from "../../../src/core/iatt.ts";
import type { Inode } from "../../../src/core/inode.ts";
import { IPC_UPCALL, invalidates, UPCALL } from "../../../src/core/upcall-flags.ts";
import type { ChildEvent } from "../../../src/core/xlator.ts";
import type { DelayGen } from "../../../xlators/debug/delay-gen.ts";
import type { ErrorGen } from "../../../xlators/debug/error-gen.ts";
import { upcallWith } from "../../../xlators/features/upcall.ts";
import { type StartedGraph, stack, startGraph } from "../../support/build-graph.ts";
import { type FakeEnv, fakeEnv, settle } from "../../support/fake-env.ts";
import { clientIdentity, Session } from "../../support/session.ts";

const TIMEOUT_SEC = 60;

/** Two clients of one brick, and what they were told. */
class Scene implements AsyncDisposable {
  readonly graph: StartedGraph;
  readonly env: FakeEnv;
  readonly a: Session;
  readonly b: Session;
  readonly #told: (ChildEvent & { type: "upcall" })[] = [];

  private constructor(graph: StartedGraph, env: FakeEnv) {
    this.graph = graph;
    this.env = env;
    this.a = new Session(graph.top, { client: clientIdentity("a") });
    this.b = new Session(graph.top, { client: clientIdentity("b") });
    graph.top.addParent({ onChildEvent: (event) => event.type === "upcall" && this.#told.push(event) });
  }

  static async start(options: Record<string, string> = {}, objectsMax = 100): Promise<Scene> {
    const env = fakeEnv(1);
    const layers = [
      { name: "brick", type: "storage/memory" },
      { name: "fails", type: "debug/error-gen", options: { failure: "0" } },
      { name: "late", type: "debug/delay-gen", options: { "delay-percentage": "0" } },
      { name: "upcall", type: "features/upcall", options: { "cache-invalidation": "on", ...options } },
    ];
    const definitions = [upcallWith(objectsMax)];
    return new Scene(await startGraph(stack(...layers), { env, definitions }), env);
  }

  /** Since the last time: who was told of which object, and whether his caches let go of it. */
  told(objects: Readonly<Record<string, Inode>> = {}): string[] {
    return this.#told.splice(0).map(({ upcall, to }) => {
      const { gfid } = upcall;
      const name = Object.entries(objects).find(([, inode]) => gfidEquals(inode.gfid, gfid))?.[0];
      return `${to}: ${name ?? "?"}${invalidates(upcall) ? "" : " (heeded by nobody)"}`;
    });
  }

  /** Flags of all that was told since the last time. */
  flags(): number[] {
    return this.#told.splice(0).map(({ upcall }) => ("flags" in upcall ? upcall.flags : 0));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.a.end();
    await this.b.end();
    await this.graph[Symbol.asyncDispose]();
  }
}

describe("a client that has asked for a file", () => {
  it("is told once of another one's write, and again after it asked again", async () => {
    await using scene = await Scene.start();
    const { a, b } = scene;
    const fd = await a.create("f");
    const f = await b.inode("f");
    scene.told();
    await a.write(fd, "one");
    expect(scene.told({ f })).toEqual(["b: f"]);
    await a.write(fd, "two");
    expect(scene.told({ f })).toEqual([]);
    await b.inode("f");
    await a.write(fd, "three");
    expect(scene.told({ f })).toEqual(["b: f"]);
  });

  it("is not told of what it changed itself", async () => {
    await using scene = await Scene.start();
    const fd = await scene.a.create("f");
    await scene.a.write(fd, "one");
    await scene.a.top.ftruncate(scene.a.call, { fd, offset: 0 });
    expect(scene.told()).toEqual([]);
  });

  it("is told until the timeout is over", async () => {
    await using scene = await Scene.start({ "cache-invalidation-timeout": `${TIMEOUT_SEC}` });
    const { a, b } = scene;
    const fd = await a.create("f");
    const f = await b.inode("f");
    await scene.env.clock.advance(TIMEOUT_SEC * 1000 - 1);
    scene.told();
    await a.write(fd, "in time");
    expect(scene.told({ f })).toEqual(["b: f"]);
    await b.inode("f");
    await scene.env.clock.advance(TIMEOUT_SEC * 1000);
    await a.write(fd, "too late");
    expect(scene.told({ f })).toEqual([]);
  });

  it("is told of a change that came while its question was under way", async () => {
    await using scene = await Scene.start();
    const { a, b } = scene;
    const fd = await a.create("f");
    const f = await b.inode("f");
    const late = scene.graph.xlator<DelayGen>("late");
    const hold = late.hold("lookup", "reply");
    const asking = b.inode("f");
    await hold.arrived();
    // Drops what it knew of before; the question that is under way must not be forgotten with it.
    await a.write(fd, "one");
    await a.write(fd, "two");
    scene.told();
    late.unhold(hold);
    await asking;
    expect(scene.told({ f })).toEqual(["b: f"]);
  });

  it("is told of a change that failed: some of it may have happened", async () => {
    await using scene = await Scene.start();
    const fd = await scene.a.create("f");
    const f = await scene.b.inode("f");
    scene.told();
    scene.graph.xlator<ErrorGen>("fails").failNext("writev", "EIO");
    await expect(scene.a.write(fd, "one")).rejects.toMatchObject({ code: "EIO" });
    expect(scene.told({ f })).toEqual(["b: f"]);
  });

  it("is told before the change is answered", async () => {
    await using scene = await Scene.start();
    const fd = await scene.a.create("f");
    const f = await scene.b.inode("f");
    scene.told();
    const late = scene.graph.xlator<DelayGen>("late");
    const hold = late.hold("writev", "reply");
    const writing = scene.a.write(fd, "one");
    await hold.arrived();
    await settle();
    expect(scene.told({ f })).toEqual(["b: f"]);
    late.unhold(hold);
    await writing;
  });

  it("is told to forget it when there is no room to remember who asked", async () => {
    await using scene = await Scene.start({}, 2);
    for (const name of ["one", "two", "three"]) await scene.a.create(name);
    scene.told();
    const one = await scene.b.inode("one");
    await scene.b.inode("two");
    await scene.b.inode("three");
    expect(scene.told({ one })).toContain("b: one");
  });
});

describe("what changes", () => {
  it("in a directory is told to those who listed it or looked up in it", async () => {
    await using scene = await Scene.start();
    const { a, b } = scene;
    const d = await a.mkdir("d");
    const seen = await b.inode("d");
    scene.told();
    await a.create("new", { parent: d });
    expect(scene.told({ d: seen })).toContain("b: d");
    const inode = await b.inode("new", seen);
    scene.told();
    await a.rename("new", "other", d, d);
    expect(scene.told({ d: seen, f: inode })).toEqual(expect.arrayContaining(["b: d"]));
  });

  it("says in which way, and always that attributes have to be asked for", async () => {
    await using scene = await Scene.start();
    const { a, b } = scene;
    const fd = await a.create("f");
    const { inode } = fd;
    const { stat } = await a.top.fstat(a.call, { fd });
    const xattrs = new Dict().setBytes("user.key", Buffer.from("v"));
    const changes: [() => Promise<unknown>, number][] = [
      [() => a.write(fd, "x"), UPCALL.SIZE | UPCALL.TIMES],
      [() => a.top.fsetattr(a.call, { fd, stat, valid: SETATTR.MODE }), UPCALL.MODE | UPCALL.OWNER],
      [() => a.top.fsetxattr(a.call, { fd, xattrs, flags: 0 }), UPCALL.XATTR],
      [() => a.top.fremovexattr(a.call, { fd, name: "user.key" }), UPCALL.XATTR_REMOVED],
      [() => a.top.truncate(a.call, { loc: { inode }, offset: 0 }), UPCALL.SIZE],
    ];
    for (const [change, wanted] of changes) {
      await b.inode("f");
      scene.told();
      await change();
      const [flags] = scene.flags();
      expect(flags! & wanted).toBe(wanted);
      expect(flags! & UPCALL.ATTRIBUTES).toBe(UPCALL.ATTRIBUTES);
    }
  });

  it("is nobody's business when it is the counters of a heal", async () => {
    await using scene = await Scene.start();
    const fd = await scene.a.create("f");
    const f = await scene.b.inode("f");
    scene.told();
    const add = (key: string) => {
      const xattrs = new Dict().setBytes(key, Buffer.alloc(12));
      return scene.a.top.fxattrop(scene.a.call, { fd, op: XATTROP.ADD_ARRAY, xattrs });
    };
    await add("trusted.afr.v-client-0");
    expect(scene.told({ f })).toEqual([]);
    await add("trusted.glusterfs.other");
    expect(scene.told({ f })).toEqual(["b: f"]);
  });
});

describe("while cache-invalidation is off", () => {
  it("nobody is told, and nobody is promised to be", async () => {
    await using scene = await Scene.start({ "cache-invalidation": "off" });
    const fd = await scene.a.create("f");
    await scene.b.inode("f");
    await scene.a.write(fd, "one");
    expect(scene.told()).toEqual([]);
    await expect(scene.a.top.ipc(scene.a.call, { op: IPC_UPCALL })).rejects.toBeDefined();
  });

  it("and a client may rely on it when it is on", async () => {
    await using scene = await Scene.start();
    expect(await scene.a.top.ipc(scene.a.call, { op: IPC_UPCALL })).toEqual({});
  });
});
