import { describe, expect, it } from "vitest";
import { GlusterdClient, VolfileRefused } from "../../src/rpc/glusterd.ts";
import type { ConnectTarget } from "../../src/rpc/transport.ts";
import { MemoryNetwork } from "../../src/rpc/transport-memory.ts";
import { fakeEnv, settle } from "../support/fake-env.ts";
import { FakeGlusterd } from "./fake-glusterd.ts";

const TARGET: ConnectTarget = { kind: "tcp", host: "server", port: 24007 };

async function start() {
  const network = new MemoryNetwork();
  const glusterd = new FakeGlusterd();
  await glusterd.listen(network);
  const env = fakeEnv();
  return { network, glusterd, env, options: { env, connect: network.connect } };
}

describe("glusterd client", () => {
  it("fetches a volfile with the list of servers", async () => {
    const { glusterd, options } = await start();
    glusterd.volfiles.set("vol", "volume ü\nend-volume\n");
    glusterd.servers = "a:24007 b:24007";
    const client = await GlusterdClient.connect(TARGET, options);
    expect(await client.fetchVolfile("/vol")).toEqual({
      text: "volume ü\nend-volume\n",
      servers: ["a:24007", "b:24007"],
    });
    const [asked] = glusterd.asked;
    expect(asked).toMatchObject({ flags: 1, key: "/vol" });
    expect([asked?.xdata?.text("min-op-version"), asked?.xdata?.text("max-op-version")]).toEqual([
      "1",
      "100000",
    ]);
  });

  it("says who refused what", async () => {
    const { options } = await start();
    const client = await GlusterdClient.connect(TARGET, options);
    const failure = await client.fetchVolfile("/none").catch((error) => error);
    expect(failure).toBeInstanceOf(VolfileRefused);
    expect(failure.message).toBe('glusterd at server:24007: volume "none": no such volume there');
  });

  it("says where nobody listens", async () => {
    const { options } = await start();
    await expect(GlusterdClient.connect({ kind: "tcp", host: "server", port: 1 }, options)).rejects.toThrow(
      "glusterd at server:1: connection refused",
    );
  });

  it("finds brick ports", async () => {
    const { glusterd, options } = await start();
    glusterd.ports.set("/bricks/b", 49152);
    const client = await GlusterdClient.connect(TARGET, options);
    expect(await client.portByBrick("/bricks/b")).toBe(49152);
    expect(await client.portByBrick("/bricks/c")).toBeUndefined();
  });

  it("hears of changes, and of the end of the connection", async () => {
    const heard: string[] = [];
    const { glusterd, options } = await start();
    await GlusterdClient.connect(TARGET, {
      ...options,
      onVolfileChanged: () => heard.push("changed"),
      onClose: (why) => heard.push(why),
    });
    glusterd.announceChange();
    await settle();
    glusterd.disconnectAll();
    await settle();
    expect(heard).toEqual(["changed", "the peer closed the connection"]);
  });

  it("gives up on a server that does not answer", async () => {
    const { network, env, options } = await start();
    const client = await GlusterdClient.connect(TARGET, { ...options, answerTimeoutMs: 10_000 });
    network.connections[0]!.silent = true;
    const failure = client.fetchVolfile("/vol").catch((error: Error) => error.message);
    await env.clock.advance(20_000);
    expect(await failure).toContain("no reply within the frame timeout");
  });

  it("does not ping", async () => {
    const { glusterd, env, options } = await start();
    await GlusterdClient.connect(TARGET, options);
    await env.clock.advance(1_000_000);
    expect(glusterd.connections).toBe(1);
  });
});
