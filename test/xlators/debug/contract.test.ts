/** debug/contract blames the right side, for every rule it checks. */

import { describe, expect, it } from "vitest";
import type { Call } from "../../../src/core/call.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { Fd, Inode } from "../../../src/core/inode.ts";
import { defineXlator, exactly, Xlator, type XlatorDefinition } from "../../../src/core/xlator.ts";
import type { Contract } from "../../../xlators/debug/contract.ts";
import { type StartedGraph, stack, startGraph } from "../../support/build-graph.ts";
import { fakeEnv, settle } from "../../support/fake-env.ts";
import { Session } from "../../support/session.ts";

/** A layer whose readv, writev and lookup are the test's. */
class Faulty extends Xlator<Record<never, never>> {
  onReadv: ((args: Args<"readv">) => Promise<Reply<"readv">>) | undefined;
  onWritev: ((args: Args<"writev">) => Promise<Reply<"writev">>) | undefined;
  onLookup: ((args: Args<"lookup">) => Promise<Reply<"lookup">>) | undefined;

  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    return this.onReadv ? this.onReadv(args) : super.readv(call, args);
  }
  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    return this.onWritev ? this.onWritev(args) : super.writev(call, args);
  }
  override lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    return this.onLookup ? this.onLookup(args) : super.lookup(call, args);
  }
}

const faultyType: XlatorDefinition = defineXlator({
  type: "test/faulty",
  children: exactly(1),
  options: {},
  create: (init) => new Faulty(init),
});

async function fixture(env = fakeEnv()) {
  const volfile = stack(
    { name: "brick", type: "storage/memory" },
    { name: "faulty", type: "test/faulty" },
    { name: "contract", type: "debug/contract" },
  );
  const graph: StartedGraph = await startGraph(volfile, { env, definitions: [faultyType] });
  const session = new Session(graph.top);
  const fd = await session.create("f");
  await session.write(fd, "hello");
  return {
    graph,
    session,
    fd,
    faulty: graph.xlator<Faulty>("faulty"),
    contract: graph.xlator<Contract>("contract"),
  };
}

const CONTRACT_ERROR = { name: "ContractError" };

describe("debug/contract", () => {
  it("is silent when everybody keeps the rules", async () => {
    const { session, fd, contract, graph } = await fixture();
    await session.read(fd);
    await session.list();
    await expect(session.stat("absent")).rejects.toMatchObject({ name: "FopError", code: "ENOENT" });
    await session.close(fd);
    await graph.graph.stop();
    expect(contract.breaches).toEqual([]);
  });

  it.each([
    ["a size that is not that of the data", { size: 4 }, "size 4, but 5 bytes"],
    ["less than asked for and not the end", { eof: false }, "no end of file"],
    ["a missing iatt", { stat: undefined }, "stat is missing"],
    ["a NaN in an iatt", { stat: { size: Number.NaN } }, "has size NaN"],
    ["xdata that is no dict", { xdata: {} }, "xdata is not a dict"],
  ])("blames the layer below for %s", async (_, change, words) => {
    const { graph, session, fd, faulty } = await fixture();
    const child = faulty.children[0]!;
    faulty.onReadv = async (args) => {
      const reply = await child.readv(session.call, args);
      const stat = "stat" in change ? change.stat && { ...reply.stat, ...change.stat } : reply.stat;
      return { ...reply, ...change, stat } as Reply<"readv">;
    };
    await expect(session.read(fd)).rejects.toMatchObject({
      ...CONTRACT_ERROR,
      message: expect.stringContaining(words),
    });
    await expect(session.read(fd)).rejects.toThrow('"faulty": readv');
    await graph.graph.stop();
  });

  it("blames the layer below for more data than asked for, and for a lookup without gfid", async () => {
    const { session, fd, faulty } = await fixture();
    const child = faulty.children[0]!;
    faulty.onReadv = (args) => child.readv(session.call, { ...args, size: args.size + 1 });
    await expect(session.read(fd, 0, 2)).rejects.toThrow("3 bytes, though 2 were asked for");
    faulty.onLookup = async (args) => {
      const reply = await child.lookup(session.call, args);
      return { ...reply, stat: { ...reply.stat, gfid: new Inode().gfid } };
    };
    await expect(session.stat("f")).rejects.toThrow("stat has no gfid");
  });

  it("blames the layer below for throwing, for other errors than FopError, and for an error without a place", async () => {
    const { session, fd, faulty, contract } = await fixture();
    faulty.onReadv = () => {
      throw new FopError("EIO");
    };
    await expect(session.read(fd)).rejects.toThrow("threw instead of rejecting");
    faulty.onReadv = () => Promise.reject(new TypeError("oops"));
    await expect(session.read(fd)).rejects.toThrow("something else than a FopError");
    faulty.onReadv = () => Promise.reject(new FopError("EIO"));
    await expect(session.read(fd)).rejects.toThrow("without telling where");
    faulty.onReadv = () => ({ size: 0 }) as never;
    await expect(session.read(fd)).rejects.toThrow("did not answer with a promise");
    expect(contract.breaches).toHaveLength(4);
  });

  it("notices that a payload on loan was written to", async () => {
    const { session, fd, faulty, contract } = await fixture();
    const child = faulty.children[0]!;
    faulty.onWritev = (args) => {
      args.data[0]![0] = 0;
      return child.writev(session.call, args);
    };
    await session.write(fd, "hello");
    expect(contract.breaches).toEqual([expect.stringContaining("data was changed while on loan")]);
  });

  it("notices a fop that does not settle in time, and one in flight at the end", async () => {
    const env = fakeEnv();
    const { graph, session, fd, faulty, contract } = await fixture(env);
    faulty.onReadv = () => new Promise(() => {});
    void session.read(fd);
    await settle();
    await env.clock.advance(599_000);
    expect(contract.breaches).toEqual([]);
    await env.clock.advance(1000);
    expect(contract.breaches).toEqual([expect.stringContaining("has not settled after 600 s")]);
    await graph.graph.stop();
    expect(contract.breaches).toHaveLength(2);
  });

  it("blames whoever is above for bad args, without passing them on", async () => {
    const { session, fd } = await fixture();
    const { top, call } = session;
    await expect(top.readv(call, { fd, offset: -1, size: 1, flags: 0 })).rejects.toThrow("whoever is above");
    await expect(top.readv(call, { fd, offset: 0.5, size: 1, flags: 0 })).rejects.toThrow("offset is 0.5");
    await expect(top.stat(call, { loc: { inode: new Inode() } })).rejects.toThrow(
      "neither a name nor a gfid",
    );
    await expect(
      top.lookup(call, { loc: { inode: new Inode(), parent: session.root, name: "" } }),
    ).rejects.toThrow("empty name");
    const bare = { loc: session.at("x"), mode: 0, umask: 0 };
    await expect(top.mkdir(call, bare)).rejects.toThrow("lacks gfid-req");
    const anonymous = Fd.anonymous(new Inode(), 2);
    await expect(top.fstat(call, { fd: anonymous })).rejects.toThrow("anonymous on an inode without a gfid");
  });

  it("blames whoever is above for a released fd, and for calls after parent-down", async () => {
    const { graph, session, fd, contract } = await fixture();
    await session.release(fd);
    await expect(session.read(fd)).rejects.toThrow("the fd was released before");
    await session.top.release(fd);
    expect(contract.breaches.at(-1)).toContain("release: the fd was released before");
    await graph.graph.stop();
    await expect(session.stat("f")).rejects.toThrow("called after parent-down");
  });
});
