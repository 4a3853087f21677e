/**
 * Several bricks in one process (`mortar brick VOLFILE...`): each at an address of its own, both makes of
 * client mount them, one end for all; and command lines that cannot be meant.
 */

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeCopy } from "../support/copies.ts";
import { codeOf } from "../support/file-agent.ts";
import { canConnect, Lab, LOOPBACK, MAKES, MORTAR, type Mount, tail } from "../support/peers.ts";
import { freePort } from "../support/ports.ts";
import { describeExit, type Running } from "../support/processes.ts";
import { makeReplicaDirectory } from "../support/replica.ts";
import { replicaVolfile } from "../support/replica-volfiles.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { brickVolfile } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";

const COPIES = [0, 1, 2];
const NAME = "together";
const MIB = 1 << 20;

const lab = new Lab("bricks-together");
afterAll(() => lab.close());

interface BrickFile {
  readonly directory: string;
  readonly address: { readonly host: string; readonly port: number };
  readonly volfile: string;
}

/** A brick that nobody serves yet, with its volfile. */
async function makeBrick(
  volumeId: string,
  given: Partial<Omit<BrickFile, "volfile">> = {},
): Promise<BrickFile> {
  const directory = given.directory ?? lab.path("brick");
  if (given.directory === undefined) makeReplicaDirectory(directory, volumeId);
  const address = given.address ?? { host: LOOPBACK, port: await freePort() };
  const copyOf = { name: NAME, arbiter: false };
  const volfile = lab.writeFile("brick.vol", brickVolfile({ directory, volumeId, address, copyOf }));
  return { directory, address, volfile };
}

const volfilesOf = (bricks: readonly BrickFile[]): string[] => bricks.map(({ volfile }) => volfile);

describe("three copies in one process", () => {
  const agent = lab.agent();
  const log = lab.path("bricks.log");
  let bricks: BrickFile[];
  let process: Running;
  let mounts: Mount[];

  async function serve(): Promise<void> {
    process = lab.processes.start(MORTAR, ["brick", ...volfilesOf(bricks), "--log-file", log]);
    await until("all bricks are ready", () => process.output.includes("ready"), {
      detail: () => `${process.output}\n${tail(log)}`,
    });
  }

  beforeAll(async () => {
    const volumeId = randomUUID();
    bricks = [];
    for (const _ of COPIES) bricks.push(await makeBrick(volumeId));
    await serve();
    const volfile = lab.writeFile("client.vol", replicaVolfile({ name: NAME, volumeId, copies: bricks }));
    mounts = await Promise.all(MAKES.map((make) => lab.mount(make, volfile)));
  });

  it("are told when all of them listen", async () => {
    expect(process.output).toContain("ready vol-server vol-server vol-server");
    for (const { address } of bricks) expect(await canConnect(address)).toBe(true);
  });

  it("serve both makes of client", async () => {
    for (const [index, { make, mountpoint }] of mounts.entries()) {
      const other = mounts[1 - index]!;
      await agent.writeFile(join(mountpoint, make), pattern(MIB));
      expectSameBytes(await agent.readFile(join(other.mountpoint, make)), pattern(MIB));
    }
    const [first, ...others] = bricks.map(({ directory }) => describeCopy(directory));
    expect(first!.length).toBeGreaterThan(2);
    for (const other of others) expect(other).toEqual(first);
  });

  it("say in the log whose line it is", () => {
    for (const { volfile } of bricks) expect(readFileSync(log, "utf8")).toContain(volfile);
  });

  it("are away together after SIGKILL and come back together", async () => {
    const file = join(mounts[0]!.mountpoint, "kept");
    await agent.writeFile(file, pattern(MIB));
    await process.kill();
    await until("writes fail", async () => (await codeOf(agent.writeFile(`${file}.2`, "x"))) === "ENOTCONN");
    await serve();
    await until("writes go on", async () => (await codeOf(agent.writeFile(`${file}.3`, "x"))) === "ok");
    expectSameBytes(await agent.readFile(file), pattern(MIB));
  });

  it("end together, with exit code 0, at SIGTERM", async () => {
    for (const mount of mounts) await lab.unmount(mount);
    const exit = await process.stop("SIGTERM");
    expect(exit, describeExit(exit)).toMatchObject({ code: 0 });
    for (const { address } of bricks) expect(await canConnect(address)).toBe(false);
  });
});

describe("is refused in one line, and serves none of them", () => {
  const volumeId = randomUUID();

  async function expectRefused(bricks: readonly BrickFile[], args: readonly string[], line: RegExp) {
    const command = ["brick", ...volfilesOf(bricks), ...args, "--log-level", "error"];
    const exit = await lab.processes.tryRun(MORTAR, command, { timeoutMs: 15_000 });
    expect(exit, describeExit(exit)).toMatchObject({ code: 1, stdout: "" });
    expect(exit.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(exit.stderr).toMatch(line);
    expect(await canConnect(bricks[0]!.address)).toBe(false);
  }

  it("a volfile that is missing", async () => {
    const good = await makeBrick(volumeId);
    const missing = { ...good, volfile: lab.path("none.vol") };
    await expectRefused([good, missing], [], /^mortar: .*none\.vol": there is no such file/);
  });

  it("two bricks at one address", async () => {
    const first = await makeBrick(volumeId);
    const second = await makeBrick(volumeId, { address: first.address });
    await expectRefused(
      [first, second],
      [],
      new RegExp(`^mortar: .*127\\.0\\.0\\.1:${first.address.port}.*in use`),
    );
  });

  it("two bricks in one directory", async () => {
    const first = await makeBrick(volumeId);
    const second = await makeBrick(volumeId, { directory: first.directory });
    await expectRefused([first, second], [], /^mortar: .*is served by this process already: name it once/);
  });

  it("the same volfile twice", async () => {
    const brick = await makeBrick(volumeId);
    await expectRefused([brick, brick], [], /^mortar: brick: .*brick\.vol: is named twice/);
  });

  it("one address or one top for several", async () => {
    const bricks = [await makeBrick(volumeId), await makeBrick(volumeId)];
    await expectRefused(
      bricks,
      ["--listen", "127.0.0.1:0"],
      /^mortar: brick: --listen .* 2 volfiles; write /,
    );
    await expectRefused(
      bricks,
      ["--volume-name", "vol"],
      /^mortar: brick: --volume-name vol: .* 2 volfiles; /,
    );
  });
});
