/** trace, error-gen, delay-gen and io-stats; the order in which layers see a fop and their life. */

import { describe, expect, it } from "vitest";
import type { DelayGen } from "../../../xlators/debug/delay-gen.ts";
import type { ErrorGen } from "../../../xlators/debug/error-gen.ts";
import type { IoStats } from "../../../xlators/debug/io-stats.ts";
import type { Trace } from "../../../xlators/debug/trace.ts";
import { type Layer, stack, startGraph } from "../../support/build-graph.ts";
import { fakeEnv, settle } from "../../support/fake-env.ts";
import { Session } from "../../support/session.ts";

async function over(layer: Omit<Layer, "name">, seed = 1) {
  const env = fakeEnv(seed);
  const graph = await startGraph(stack({ name: "brick", type: "storage/memory" }, { name: "it", ...layer }), {
    env,
  });
  return { env, graph, session: new Session(graph.top), it: graph.xlator("it") };
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

describe("the order of layers", () => {
  it("is top-down for calls and parent events, bottom-up for replies, init and child events, each once", async () => {
    const names = ["low", "middle", "high"];
    const layers = names.map((name): Layer => ({ name, type: "debug/trace" }));
    const graph = await startGraph(stack({ name: "brick", type: "storage/memory" }, ...layers));
    const traces = names.map((name) => ({ name, trace: graph.xlator<Trace>(name) }));
    const sequence: string[] = [];
    for (const { name, trace } of traces)
      for (const { what } of trace.history) sequence.push(`${name} ${what}`);
    expect(sequence).toEqual(
      names.flatMap((name) => ["init", "parent-up", "child-up"].map((what) => `${name} ${what}`)),
    );
    for (const { trace } of traces) trace.clear();
    const session = new Session(graph.top);
    await session.create("f");
    await graph.graph.stop();
    for (const { trace } of traces) {
      const seen = trace.history.map(({ what, stage }) => `${what} ${stage}`);
      expect(seen).toEqual(["create call", "create reply", "parent-down event", "fini event"]);
    }
  });
});

describe("debug/trace", () => {
  it("keeps fops with their outcome, of those that it shall", async () => {
    const { session, it } = await over({
      type: "debug/trace",
      options: { exclude: "create", include: "create,read,lookup" },
    });
    const fd = await session.create("f");
    await session.read(fd);
    await expect(session.stat("absent")).rejects.toThrow();
    const seen = (it as Trace).history.filter(({ stage }) => stage !== "event");
    expect(seen.map(({ what, stage }) => `${what} ${stage}`)).toEqual([
      "readv call",
      "readv reply",
      "lookup call",
      "lookup error",
    ]);
    expect(seen[3]!.detail).toBe("ENOENT");
    expect(seen[0]!.detail).toContain("size=65536");
  });

  it("forgets the oldest events beyond its size", async () => {
    const { session, it } = await over({ type: "debug/trace", options: { "history-size": "3" } });
    await session.create("f");
    await session.list();
    expect((it as Trace).history).toHaveLength(3);
  });
});

describe("debug/error-gen", () => {
  it("fails the share of the named fops that it was told, with the errno it was told", async () => {
    const options = { failure: "30", enable: "lookup", "error-no": "ENOSPC" };
    const { session } = await over({ type: "debug/error-gen", options });
    await session.create("f");
    let failed = 0;
    for (let i = 0; i < 1000; i++)
      await session.stat("f").catch((error) => {
        expect(error).toMatchObject({ code: "ENOSPC", fop: "lookup", xlator: "it" });
        failed++;
      });
    expect(failed).toBeGreaterThan(230);
    expect(failed).toBeLessThan(370);
  });

  it("fails the same calls again for the same seed", async () => {
    const run = async (): Promise<string> => {
      const { session } = await over(
        { type: "debug/error-gen", options: { failure: "50", enable: "LOOKUP" } },
        7,
      );
      await session.create("f");
      let outcome = "";
      for (let i = 0; i < 50; i++)
        outcome += await session.stat("f").then(
          () => ".",
          (error) => `${error.code} `,
        );
      return outcome;
    };
    expect(await run()).toBe(await run());
  });

  it("fails what a script says, that often", async () => {
    const { session, it } = await over({ type: "debug/error-gen", options: { failure: "0" } });
    const fd = await session.create("f");
    const gen = it as ErrorGen;
    gen.failNext("writev", "EIO", 2);
    for (let i = 0; i < 2; i++) await expect(session.write(fd, "x")).rejects.toMatchObject({ code: "EIO" });
    await session.write(fd, "x");
    const stop = gen.failWhere((fop) => (fop === "fstat" ? "ESTALE" : undefined));
    await expect(session.size(fd)).rejects.toMatchObject({ code: "ESTALE" });
    stop();
    expect(await session.size(fd)).toBe(1);
  });

  it("writes half of the data for GF_ERROR_SHORT_WRITE", async () => {
    const options = { failure: "100", enable: "write", "error-no": "GF_ERROR_SHORT_WRITE" };
    const { session } = await over({ type: "debug/error-gen", options });
    const fd = await session.create("f");
    expect((await session.write(fd, "12345")).size).toBe(3);
    expect(await session.text(fd)).toBe("123");
  });

  it.each([
    [{ enable: "lookup,fly" }, '"lookup,fly" has "fly" in it, which is no fop'],
    [{ "error-no": "EWHAT" }, '"EWHAT" is no errno that Mortar knows'],
  ])("refuses the options %o", async (options, words) => {
    await expect(
      over({ type: "debug/error-gen", options: options as Record<string, string> }),
    ).rejects.toThrow(words);
  });
});

describe("debug/delay-gen", () => {
  it("lets the named fops go down after the time it was told", async () => {
    const options = { enable: "readv", "delay-percentage": "100", "delay-duration": "250000" };
    const { env, session } = await over({ type: "debug/delay-gen", options });
    const fd = await session.create("f");
    const read = watch(session.read(fd));
    await env.clock.advance(249);
    expect(read.state).toBe("waiting");
    await env.clock.advance(1);
    expect(read.state).toBe("done");
  });

  it("holds calls until they are released, one by one", async () => {
    const { session, it } = await over({ type: "debug/delay-gen", options: { "delay-percentage": "0" } });
    const fd = await session.create("f");
    const gen = it as DelayGen;
    const hold = gen.hold("writev");
    const writes = ["a", "b"].map((text) => watch(session.write(fd, text)));
    await hold.arrived();
    await settle();
    expect(hold.count).toBe(2);
    expect(await session.size(fd)).toBe(0);
    hold.release();
    await settle();
    expect(writes.map(({ state }) => state)).toEqual(["done", "waiting"]);
    gen.unhold(hold);
    await settle();
    expect(writes[1]!.state).toBe("done");
    expect(await session.text(fd)).toBe("b");
  });

  it("holds replies after the child has done its work", async () => {
    const { graph, session, it } = await over({
      type: "debug/delay-gen",
      options: { "delay-percentage": "0" },
    });
    const fd = await session.create("f");
    const hold = (it as DelayGen).hold("writev", "reply");
    const write = watch(session.write(fd, "x"));
    await hold.arrived();
    expect(await session.text(fd)).toBe("x");
    expect(write.state).toBe("waiting");
    await graph.graph.stop();
    await settle();
    expect(write.state).toBe("done");
  });
});

describe("debug/io-stats", () => {
  it("counts calls, failures and bytes when asked", async () => {
    const { session, it } = await over({ type: "debug/io-stats", options: { "count-fop-hits": "on" } });
    const fd = await session.create("f");
    await session.write(fd, "12345");
    await session.read(fd, 2, 100);
    await expect(session.stat("absent")).rejects.toThrow();
    const { fops, bytesRead, bytesWritten } = (it as IoStats).snapshot();
    expect([bytesRead, bytesWritten]).toEqual([3, 5]);
    expect(Object.keys(fops).sort()).toEqual(["create", "lookup", "readv", "writev"]);
    expect(fops.lookup).toMatchObject({ calls: 1, failures: 1, measured: 0 });
  });

  it("measures times when asked", async () => {
    const { session, it } = await over({ type: "debug/io-stats", options: { "latency-measurement": "on" } });
    await session.create("f");
    expect((it as IoStats).snapshot().fops.create).toMatchObject({ calls: 1, measured: 1, totalMs: 0 });
  });

  it("counts nothing unless asked, and begins when reconfigured", async () => {
    const { session, it } = await over({ type: "debug/io-stats" });
    const fd = await session.create("f");
    expect((it as IoStats).snapshot().fops).toEqual({});
    (it as IoStats).reconfigure({
      "count-fop-hits": true,
      "latency-measurement": false,
      "volume-id": "",
      "unique-id": "",
    });
    await session.write(fd, "x");
    expect((it as IoStats).snapshot().bytesWritten).toBe(1);
  });
});
