/**
 * QUO-11: server quorum is glusterd's: a node that has lost too many of the others stops its bricks and
 * starts them when they return. What a mount of Mortar makes of that: the volume goes on while its own
 * quorum holds, a brick that comes back on another port is found and healed, and too few bricks refuse.
 *
 * Three nodes are three glusterds in a network of their own, each with an address, directories and a socket;
 * the machine's glusterd is not in it.
 */

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { countIndex, describeCopy, pendingMarks } from "../support/copies.ts";
import { codeOf } from "../support/file-agent.ts";
import { mountAt } from "../support/mounts.ts";
import { Lab, MORTAR, tail } from "../support/peers.ts";
import { describeExit, type Running } from "../support/processes.ts";
import { until } from "../support/wait.ts";

const VOLUME = "quorum";
const NODES = [1, 2, 3] as const;
const DEADLINE = { deadlineMs: 60_000 };

const lab = new Lab("server-quorum");
afterAll(() => lab.close());

/** A glusterd, its address, and the brick that it looks after. */
class Node {
  readonly host: string;
  readonly brick: string;
  readonly #network: Running;
  readonly #directory: string;
  #daemon: Running | undefined;

  constructor(network: Running, number: number) {
    this.#network = network;
    this.host = `127.1.1.${number}`;
    this.#directory = lab.makeDirectory(`node-${number}`);
    for (const name of ["lib", "run", "log", "bricks"]) mkdirSync(join(this.#directory, name));
    this.brick = join(this.#directory, "bricks", "brick");
  }

  get place(): string {
    return `${this.host}:${this.brick}`;
  }

  start(): void {
    const at = (name: string): string => join(this.#directory, name);
    const options = [
      `management.glusterd-sockfile=${at("socket")}`,
      `management.working-directory=${at("lib")}`,
      `management.run-directory=${at("run")}`,
      `management.logging-directory=${at("log")}`,
      `management.transport.socket.bind-address=${this.host}`,
    ].flatMap((option) => ["--xlator-option", option]);
    const daemon = ["glusterd", "-N", ...options, "-p", at("pid"), "-l", at("log/glusterd.log")];
    this.#daemon = lab.processes.start("nsenter", [...inside(this.#network), ...daemon]);
  }

  async kill(): Promise<void> {
    await this.#daemon?.kill();
  }

  /** Runs the administrator's command on this node. */
  async gluster(...words: readonly string[]) {
    const command = ["gluster", "--mode=script", `--glusterd-sock=${join(this.#directory, "socket")}`];
    return lab.processes.tryRun("nsenter", [...inside(this.#network), ...command, ...words]);
  }

  /** The same, given again until it is taken: daemons need a while to know each other. */
  async untilTaken(...words: readonly string[]): Promise<string> {
    let seen = "";
    return until(
      `${this.host}: gluster ${words.join(" ")}`,
      async () => {
        const exit = await this.gluster(...words);
        seen = describeExit(exit);
        return exit.code === 0 ? exit.stdout : undefined;
      },
      { ...DEADLINE, detail: () => seen },
    );
  }

  /** By the pid that its glusterd has written. */
  brickRuns(): boolean {
    const name = `${this.host}-${this.brick.slice(1).replaceAll("/", "-")}.pid`;
    try {
      const pid = readFileSync(join(this.#directory, "run/vols", VOLUME, name), "utf8").trim();
      return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
    } catch {
      return false;
    }
  }
}

function inside(network: Running): string[] {
  return ["-t", String(network.pid), "-n"];
}

async function startNetwork(): Promise<Running> {
  const script = "ip link set lo up && echo up && exec sleep infinity";
  const network = lab.processes.start("unshare", ["--net", "sh", "-c", script]);
  await until("the network is up", () => network.stdout.includes("up"), { detail: () => network.output });
  return network;
}

async function mountVolume(network: Running, source: string): Promise<{ mountpoint: string; log: string }> {
  const mountpoint = lab.makeDirectory("mnt");
  const log = lab.path("mount.log");
  const command = [MORTAR, "mount", source, mountpoint, "--foreground", "--log-file", log];
  const mount = lab.processes.start("nsenter", [
    ...inside(network),
    ...command,
    ...["-o", "attribute-timeout=0,entry-timeout=0"],
  ]);
  await until("it is mounted", () => mountAt(mountpoint) !== undefined || mount.exit !== undefined, {
    ...DEADLINE,
    detail: () => mount.output,
  });
  return { mountpoint, log };
}

it("QUO-11 bricks that their node stops for lack of server quorum are bricks that are away", async () => {
  const network = await startNetwork();
  const nodes = NODES.map((number) => new Node(network, number));
  const [first, second, third] = nodes as [Node, Node, Node];
  for (const node of nodes) node.start();
  for (const node of [second, third]) await first.untilTaken("peer", "probe", node.host);
  await until(
    "the nodes know each other",
    async () => {
      const { stdout } = await first.gluster("peer", "status");
      return stdout.match(/Peer in Cluster \(Connected\)/g)?.length === 2;
    },
    DEADLINE,
  );
  const places = nodes.map(({ place }) => place);
  await first.untilTaken("volume", "create", VOLUME, "replica", "3", ...places, "force");
  await first.untilTaken("volume", "set", VOLUME, "cluster.server-quorum-type", "server");
  await first.untilTaken("volume", "start", VOLUME);
  await until("all bricks run", () => nodes.every((node) => node.brickRuns()), DEADLINE);

  const agent = lab.agent();
  const { mountpoint, log } = await mountVolume(network, `${first.host}:/${VOLUME}`);
  const file = join(mountpoint, "file");
  await until(
    "all bricks take part",
    async () => {
      await agent.writeFile(file, "one");
      return nodes.every(({ brick }) => describeCopy(brick).length > 1) && countIndexes() === 0;
    },
    { ...DEADLINE, detail: () => tail(log) },
  );
  function countIndexes(): number {
    return nodes.reduce((sum, { brick }) => sum + countIndex(brick), 0);
  }

  // The first node is alone: its brick goes, the bricks of the dead daemons stay.
  for (const node of [second, third]) await node.kill();
  await until("the lone node stops its brick", () => !first.brickRuns(), DEADLINE);
  expect([second, third].map((node) => node.brickRuns())).toEqual([true, true]);
  expect(await codeOf(agent.appendFile(file, " two"))).toBe("ok");
  await until("the brick is blamed", () => "client-0" in pendingMarks(second.brick, "file"), DEADLINE);
  const replaced = join(lab.directory, "another-brick");
  const replacing = [first.place, `${first.host}:${replaced}`, "commit", "force"];
  const refused = await first.gluster("volume", "replace-brick", VOLUME, ...replacing);
  expect(refused.code, describeExit(refused)).not.toBe(0);
  expect(refused.stdout + refused.stderr).toMatch(/quorum/i);

  for (const node of [second, third]) node.start();
  await until("the brick is started again", () => first.brickRuns(), DEADLINE);
  await until("it is found and healed", () => countIndexes() === 0, { ...DEADLINE, detail: () => tail(log) });
  expect(describeCopy(first.brick)).toEqual(describeCopy(second.brick));

  // Two of three are not 95 in a hundred: both nodes stop their bricks, and one brick is no quorum.
  await first.untilTaken("volume", "set", "all", "cluster.server-quorum-ratio", "95");
  await third.kill();
  await until("both nodes stop their bricks", () => !first.brickRuns() && !second.brickRuns(), DEADLINE);
  await until(
    "writes are refused",
    async () => {
      return (await codeOf(agent.appendFile(file, " three"))) === "ENOTCONN";
    },
    DEADLINE,
  );
  third.start();
  await until(
    "writes are taken again",
    async () => {
      return (await codeOf(agent.appendFile(file, " three"))) === "ok";
    },
    { ...DEADLINE, detail: () => tail(log) },
  );
  expect(String(await agent.readFile(file))).toMatch(/^one two three/);
});
