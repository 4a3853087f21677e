import { describe, expect, it } from "vitest";
import { Dict } from "../../../src/core/dict.ts";
import type { PeerAddress } from "../../../src/rpc/transport.ts";
import { authenticate } from "../../../xlators/protocol/server-auth.ts";
import { BRICK, kinds, Rig } from "./rig.ts";

interface Attempt {
  readonly rules: Readonly<Record<string, string>>;
  readonly peer?: PeerAddress;
  readonly params?: Readonly<Record<string, string>>;
  readonly allowInsecure?: boolean;
  readonly strict?: boolean;
  readonly names?: Readonly<Record<string, readonly string[]>>;
}

const PEER: PeerAddress = { host: "192.168.7.9", port: 1023 };

async function isAllowed(attempt: Attempt): Promise<boolean> {
  const raw = new Map(Object.entries(attempt.rules).map(([key, value]) => [key.replace("B", BRICK), value]));
  const params = new Dict();
  for (const [key, value] of Object.entries(attempt.params ?? {})) params.setStr(key, value);
  const rules = {
    raw,
    allowInsecure: attempt.allowInsecure ?? true,
    strict: attempt.strict ?? false,
    resolve: async (name: string) => attempt.names?.[name] ?? [],
  };
  return (await authenticate(rules, BRICK, attempt.peer ?? PEER, params)).allowed;
}

describe("addresses", () => {
  it.each<[string, string, boolean]>([
    ["*", "192.168.7.9", true],
    ["192.168.7.9", "192.168.7.9", true],
    ["192.168.7.9", "192.168.7.10", false],
    ["10.0.0.1,192.168.7.9", "192.168.7.9", true],
    [" 10.0.0.1 , 192.168.7.9 ", "192.168.7.9", true],
    ["192.168.*", "192.168.7.9", true],
    ["192.168.*", "192.169.7.9", false],
    ["192.168.7.?", "192.168.7.9", true],
    ["192.168.7.[0-5]", "192.168.7.9", false],
    ["192.168.7.0/24", "192.168.7.9", true],
    ["192.168.7.0/29", "192.168.7.9", false],
    ["fd00::/8", "fd12::1", true],
    ["fd00::/8", "192.168.7.9", false],
    ["::1", "0:0:0:0:0:0:0:1", true],
    ["host.example", "192.168.7.9", true],
    ["other.example", "192.168.7.9", false],
    ["!192.168.*", "192.168.7.9", false],
    ["!192.168.*", "10.0.0.1", true],
    ["*", "unix", true],
    ["192.168.*", "unix", false],
  ])("allow %s from %s: %s", async (allow, host, expected) => {
    const names = { "host.example": ["10.0.0.1", "192.168.7.9"], "other.example": ["10.0.0.1"] };
    expect(
      await isAllowed({ rules: { "auth.addr.B.allow": allow }, peer: { host, port: 1023 }, names }),
    ).toBe(expected);
  });

  it("reject is looked at first", async () => {
    const rules = { "auth.addr.B.allow": "*", "auth.addr.B.reject": "192.168.7.0/24" };
    expect(await isAllowed({ rules })).toBe(false);
    expect(await isAllowed({ rules, peer: { host: "192.168.8.9", port: 1023 } })).toBe(true);
  });

  it("nobody is let in by a list that allows somebody else, nor by none", async () => {
    expect(await isAllowed({ rules: { "auth.addr.B.allow": "10.0.0.1" } })).toBe(false);
    expect(await isAllowed({ rules: { "auth.addr.B.reject": "10.0.0.1" } })).toBe(false);
    expect(await isAllowed({ rules: { "auth.addr./other.allow": "*" } })).toBe(false);
  });

  it("unprivileged ports are rejected when insecure clients are not allowed", async () => {
    const rules = { "auth.addr.B.allow": "*" };
    expect(await isAllowed({ rules, allowInsecure: false, peer: { host: "10.0.0.1", port: 1024 } })).toBe(
      false,
    );
    expect(await isAllowed({ rules, allowInsecure: false, peer: { host: "10.0.0.1", port: 1023 } })).toBe(
      true,
    );
    expect(await isAllowed({ rules, allowInsecure: false, peer: { host: "unix", port: 0 } })).toBe(true);
  });

  it("directories have lists of their own", async () => {
    const rules = { "auth.addr.B.allow": "/(192.168.7.9),/vm(10.0.0.1|192.168.7.*),/other(10.0.0.1)" };
    expect(await isAllowed({ rules })).toBe(true);
    expect(await isAllowed({ rules, params: { "subdir-mount": "/vm" } })).toBe(true);
    expect(await isAllowed({ rules, params: { "subdir-mount": "/other" } })).toBe(false);
    expect(await isAllowed({ rules, params: { "subdir-mount": "/none" } })).toBe(false);
  });
});

describe("user names", () => {
  const login = { "auth.login.B.allow": "mortar other", "auth.login.mortar.password": "secret" };

  it("the right password opens, the wrong one closes even for an allowed address", async () => {
    const both = { ...login, "auth.addr.B.allow": "*" };
    expect(await isAllowed({ rules: login, params: { username: "mortar", password: "secret" } })).toBe(true);
    expect(await isAllowed({ rules: both, params: { username: "mortar", password: "secreT" } })).toBe(false);
    expect(await isAllowed({ rules: both, params: { username: "other", password: "secret" } })).toBe(false);
  });

  it("no or an unknown user does not matter to an allowed address", async () => {
    const both = { ...login, "auth.addr.B.allow": "*" };
    expect(await isAllowed({ rules: both })).toBe(true);
    expect(await isAllowed({ rules: both, params: { username: "stranger", password: "x" } })).toBe(true);
    expect(await isAllowed({ rules: login })).toBe(false);
  });

  it("strict-auth-accept asks everyone for them", async () => {
    const both = { ...login, "auth.addr.B.allow": "*" };
    expect(await isAllowed({ rules: both, strict: true })).toBe(false);
    expect(
      await isAllowed({ rules: both, strict: true, params: { username: "stranger", password: "x" } }),
    ).toBe(false);
    expect(
      await isAllowed({ rules: both, strict: true, params: { username: "mortar", password: "secret" } }),
    ).toBe(true);
  });
});

describe("a refused client", () => {
  const LOGIN = {
    [`auth.login.${BRICK}.allow`]: "mortar",
    "auth.login.mortar.password": "secret",
    [`auth.addr.${BRICK}.allow`]: "*",
  };

  async function refusal(rig: Rig, options: Record<string, string>): Promise<string> {
    return rig.client(options).then(
      () => "up",
      (error: Error) => error.message,
    );
  }

  it("says so, does not try again, and the brick logs why", async () => {
    await using rig = await Rig.start(LOGIN);
    const client = rig.clientBuilt({ username: "mortar", password: "wrong" });
    await expect(client.graph.start()).rejects.toThrow("Authentication failed");
    expect(kinds(client)).toContain("auth-failed");
    await rig.env.clock.advance(60_000);
    expect(rig.network.connections.length).toBe(1);
    const line = rig.env.log.lines.find((one) => one.message === "client refused");
    expect(line?.fields["why"]).toBe("wrong user name or password");
  });

  it("with the right password is let in", async () => {
    await using rig = await Rig.start(LOGIN);
    expect(await refusal(rig, { username: "mortar", password: "secret" })).toBe("up");
  });

  it("from a wrong address is refused", async () => {
    await using rig = await Rig.start({ [`auth.addr.${BRICK}.allow`]: "10.0.0.*" });
    expect(await refusal(rig, {})).toContain("Authentication failed");
    rig.network.clientAddress = { host: "10.0.0.7", port: 49151 };
    expect(await refusal(rig, {})).toBe("up");
  });

  it("keeps trying when it had been let in before", async () => {
    await using rig = await Rig.start();
    const client = await rig.client();
    await rig.stopBrick();
    await rig.startBrick({ [`auth.addr.${BRICK}.allow`]: "10.0.0.*" });
    await rig.env.clock.advance(10_000);
    expect(kinds(client)).not.toContain("auth-failed");
    await rig.stopBrick();
    await rig.startBrick();
    await rig.env.clock.advance(3000);
    expect(kinds(client).filter((kind) => kind === "child-up").length).toBe(2);
  });

  it("of another volume is refused, as is one that asks for a brick that is not there", async () => {
    await using rig = await Rig.start();
    const strange = rig.clientBuilt({ "remote-subvolume": "/bricks/none" });
    const started = strange.graph.start({ timeoutMs: 5000 }).catch((error: Error) => error.message);
    await rig.env.clock.advance(6000);
    expect(await started).toContain('remote-subvolume "/bricks/none" is not found');
    const other = rig.clientBuilt({ "volume-id": "00000000-0000-4000-8000-000000000000" });
    const second = other.graph.start({ timeoutMs: 5000 }).catch((error: Error) => error.message);
    await rig.env.clock.advance(6000);
    expect(await second).toContain("volume-id");
  });

  it("a brick that would let nobody in does not start", async () => {
    await using rig = new Rig();
    await expect(rig.startBrick({ "auth.addr./other.allow": "*" })).rejects.toThrow(
      `brick "${BRICK}" lets nobody in; add: option auth.addr.${BRICK}.allow *`,
    );
  });
});
