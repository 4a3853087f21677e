/**
 * Early answers on real mounts: what a program behind the kernel sees of performance/write-behind, with a
 * brick that fills up, dies and returns; how many requests of the kernel and writes at the brick a write
 * costs; the kernel's own write-back cache above it.
 */

import { lstatSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { mountAt } from "../../mount/dev-fuse/mount-table.ts";
import { type Figures, figuresSince } from "../../src/control/figures.ts";
import { codeOf, type FileAgent } from "../support/file-agent.ts";
import { GlusterVolume } from "../support/glusterd.ts";
import { directFilesBelow } from "../support/open-files.ts";
import { type Brick, Lab, MAKES, type Make, MORTAR, type Mount } from "../support/peers.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { connectOptions, section } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";

const KIB = 1024;
const RECONNECT_DEADLINE_MS = 30_000;

const lab = new Lab("write-behind");
afterAll(() => lab.close());

/** A client of one brick with the layers that glusterd puts above it by default. */
function volfile({ directory, address }: Brick, options: readonly string[] = []): string {
  const client = [...connectOptions(address), `remote-subvolume ${directory}`, "ping-timeout 5"];
  return lab.writeFile(
    "client.vol",
    [
      section("vol-client-0", "protocol/client", client),
      section("vol-utime", "features/utime", ["noatime on"], "vol-client-0"),
      section("vol-write-behind", "performance/write-behind", options, "vol-utime"),
      section("vol-open-behind", "performance/open-behind", [], "vol-write-behind"),
      section("vol", "debug/io-stats", ["log-level WARNING"], "vol-open-behind"),
    ].join("\n"),
  );
}

async function figures(mount: Mount): Promise<Figures> {
  return JSON.parse(await lab.processes.run(MORTAR, ["stats", mount.mountpoint, "--json"])) as Figures;
}

/** What the mount was asked, and what its brick was, while `work` ran. */
async function traffic(mount: Mount, work: () => Promise<unknown>): Promise<Figures> {
  const before = await figures(mount);
  await work();
  return figuresSince(before, await figures(mount));
}

/** How many requests of the kernel were no writes. */
function othersOf(edge: Figures["edge"]): number {
  return Object.entries(edge).reduce((sum, [fop, { calls }]) => sum + (fop === "writev" ? 0 : calls), 0);
}

function dd(path: string, ...args: string[]): Promise<string> {
  return lab.processes.run("dd", ["if=/dev/zero", `of=${path}`, "status=none", ...args]);
}

describe("a brick over TCP", () => {
  let brick: Brick;
  let mount: Mount;
  let agent: FileAgent;
  const at = (name: string): string => join(mount.mountpoint, name);

  beforeAll(async () => {
    brick = await lab.startBrick("mortar", lab.makeBrickDirectory("brick"));
    mount = await lab.mount("mortar", volfile(brick), { options: ["attribute-timeout=1"] });
    agent = lab.agent();
  });
  beforeEach(async () => {
    if (brick.process.exit !== undefined) await lab.restartBrick(brick);
  });

  it.each([
    ["buffered", []],
    ["O_DIRECT", ["oflag=direct"]],
  ])("a 4k write, %s, is one request of the kernel and nothing else", async (_, flags) => {
    await agent.writeFile(at("blocks"), "");
    const { edge } = await traffic(mount, () =>
      dd(at("blocks"), "bs=4k", "count=500", "conv=notrunc", ...flags),
    );
    expect(edge.writev!.calls).toBe(500);
    expect(othersOf(edge), `beside the writes: ${Object.keys(edge)}`).toBeLessThan(15);
  });

  it("dd bs=1024 is as many requests of the kernel, and few large writes at the brick", async () => {
    const { edge, bricks } = await traffic(mount, () => dd(at("small"), "bs=1024", "count=4000"));
    expect(edge.writev!.calls).toBe(4000);
    expect(bricks[0]!.fops.writev!.bytes).toBe(4000 * KIB);
    expect(bricks[0]!.fops.writev!.calls).toBeLessThan(400);
    expect(await agent.stat(at("small"))).toMatchObject({ size: 4000 * KIB });
  });

  it("remote-dio hides O_DIRECT from the brick, live; a flush of the guest is an fsync there all the same", async () => {
    const direct = (): number => directFilesBelow(brick.process.pid, brick.directory);
    const open = async (name: string): Promise<number> => {
      const fd = await agent.open(at(name), "O_RDWR|O_CREAT|O_DIRECT");
      await agent.write(fd, Buffer.alloc(4 * KIB), 0);
      return fd;
    };
    const before = direct();
    const honoured = await open("direct");
    expect(direct()).toBe(before + 1);
    await lab.processes.run(MORTAR, ["set", mount.mountpoint, "network.remote-dio", "enable"]);
    const hidden = await open("cached");
    expect(direct()).toBe(before + 1);
    const { bricks } = await traffic(mount, () => agent.fdatasync(hidden));
    expect(bricks[0]!.fops.fsync!.calls).toBe(1);
    await agent.close(honoured);
    await agent.close(hidden);
    await lab.processes.run(MORTAR, ["set", mount.mountpoint, "network.remote-dio", "disable"]);
  });

  it("a full disk is told by write, fsync or close, and what was kept is written when there is room", async () => {
    const fd = await agent.open(at("big"), "O_RDWR|O_CREAT");
    await agent.write(fd, Buffer.alloc(64 * KIB, "a"), 0);
    await agent.fsync(fd);
    // The kernel of the brick's process refuses to make a file longer than this.
    await lab.processes.run("prlimit", [`--pid=${brick.process.pid}`, `--fsize=${128 * KIB}:unlimited`]);
    const answers: string[] = [];
    for (let block = 1; block < 8; block++)
      answers.push(await codeOf(agent.write(fd, Buffer.alloc(64 * KIB, "b"), block * 64 * KIB)));
    answers.push(await codeOf(agent.fsync(fd)), await codeOf(agent.fsync(fd)));
    expect(answers.slice(-2)).toEqual(["EFBIG", "EFBIG"]);
    await lab.processes.run("prlimit", [`--pid=${brick.process.pid}`, "--fsize=unlimited:unlimited"]);
    await agent.fsync(fd);
    const accepted = answers.slice(0, 7).filter((code) => code === "ok").length;
    const content = await agent.read(fd, 64 * KIB, 64 * KIB);
    expect(accepted).toBeGreaterThan(0);
    expect(content.every((byte) => byte === 0x62)).toBe(true);
    await agent.close(fd);
  });

  it("WB-01: writes of two that overlap come to the brick in the order in which they were issued", async () => {
    const others = lab.agent();
    const writers: [FileAgent, number][] = [];
    for (const one of [agent, others]) writers.push([one, await one.open(at("order"), "O_RDWR|O_CREAT")]);
    const expected = Buffer.alloc(40 * KIB);
    // The brick answers none before the last is issued.
    await brick.process.freeze();
    try {
      for (let step = 0; step < 16; step++) {
        const [writer, fd] = writers[step % 2]!;
        const offset = (step * 2 + (step % 3)) * KIB;
        const block = Buffer.alloc(4 * KIB, 0x61 + step);
        block.copy(expected, offset);
        await writer.write(fd, block, offset);
      }
    } finally {
      brick.process.signal("SIGCONT");
    }
    for (const [writer, fd] of writers) {
      await writer.fsync(fd);
      await writer.close(fd);
    }
    await others.process.kill();
    expectSameBytes(readFileSync(join(brick.directory, "order")), expected.subarray(0, 34 * KIB));
  });

  it("WB-03: an append that fails after its answer is read by nobody, told once, and saved when it fits", async () => {
    await agent.writeFile(at("appended"), Buffer.alloc(64 * KIB, "a"));
    const fd = await agent.open(at("appended"), "O_RDWR|O_APPEND");
    const reader = await agent.open(at("appended"), "O_RDONLY|O_DIRECT");
    await lab.processes.run("prlimit", [`--pid=${brick.process.pid}`, `--fsize=${64 * KIB}:unlimited`]);
    expect(await codeOf(agent.write(fd, Buffer.alloc(4 * KIB, "b"), 64 * KIB))).toBe("ok");
    expect(await codeOf(agent.read(reader, 4 * KIB, 64 * KIB))).toBe("EFBIG");
    expect(await codeOf(agent.fsync(fd))).toBe("EFBIG");
    expect(lstatSync(join(brick.directory, "appended")).size).toBe(64 * KIB);
    await lab.processes.run("prlimit", [`--pid=${brick.process.pid}`, "--fsize=unlimited:unlimited"]);
    await agent.fsync(fd);
    await agent.write(fd, "c", 68 * KIB);
    for (const one of [fd, reader]) await agent.close(one);
    const content = `${"a".repeat(64 * KIB)}${"b".repeat(4 * KIB)}c`;
    expect(readFileSync(join(brick.directory, "appended"), "latin1") === content).toBe(true);
  });

  it("a brick that dies loses nothing that was answered, while its file is open", async () => {
    const fd = await agent.open(at("survivor"), "O_RDWR|O_CREAT");
    await agent.write(fd, Buffer.alloc(4 * KIB, "a"), 0);
    await agent.fsync(fd);
    await brick.process.kill();
    // The first write is answered early, whatever has become of the brick.
    expect(await codeOf(agent.write(fd, Buffer.alloc(4 * KIB, "b"), 4 * KIB))).toBe("ok");
    expect(await codeOf(agent.fsync(fd))).toBe("ENOTCONN");
    await lab.restartBrick(brick);
    await until("an fsync succeeds again", async () => (await codeOf(agent.fsync(fd))) === "ok", {
      deadlineMs: RECONNECT_DEADLINE_MS,
    });
    const content = await agent.read(fd, 8 * KIB, 0);
    expect([content[0], content[4 * KIB], content[8 * KIB - 1], content.length]).toEqual([
      0x61,
      0x62,
      0x62,
      8 * KIB,
    ]);
    await agent.close(fd);
  });
});

describe("a volume of glusterd with its own choice of translators", () => {
  let volume: GlusterVolume;
  const mounts: Partial<Record<Make, Mount>> = {};
  let agent: FileAgent;
  beforeAll(async () => {
    volume = await GlusterVolume.create(lab, "plain");
    await volume.gluster("volume", "profile", volume.name, "start");
    mounts.mortar = await lab.mount("mortar", volume.source);
    mounts.glusterfs = await lab.mount("glusterfs", volume.clientVolfile);
    agent = lab.agent();
  });
  afterAll(async () => {
    for (const mount of Object.values(mounts)) await lab.unmount(mount);
    await volume?.remove();
  });

  /** Calls that the brick has had since it was asked last, by fop. */
  async function callsAtBrick(): Promise<Record<string, number>> {
    const text = await volume.gluster("volume", "profile", volume.name, "info", "incremental");
    const lines = text.matchAll(/ [mnu]s +(\d+) +([A-Z]+)$/gm);
    return Object.fromEntries([...lines].map(([, calls, fop]) => [fop!, Number(calls)]));
  }

  it.each(MAKES)(
    "five writes to one place are five at the brick, and no sync (WB-06), by %s",
    async (make) => {
      const path = join(mounts[make]!.mountpoint, `five-${make}`);
      await agent.writeFile(path, "");
      const fd = await agent.open(path, "O_RDWR");
      await callsAtBrick();
      for (let n = 0; n < 5; n++) await agent.write(fd, `${n}`, 0);
      await agent.close(fd);
      const { WRITE = 0, FSYNC = 0 } = await callsAtBrick();
      expect({ WRITE, FSYNC }).toEqual({ WRITE: 5, FSYNC: 0 });
    },
  );

  it("what one client has written and closed the other reads, whole", async () => {
    for (const [writer, reader] of [
      ["mortar", "glusterfs"],
      ["glusterfs", "mortar"],
    ] as const) {
      // Each echo is one write of a length of its own.
      const script = `for n in $(seq 2000); do printf "%-$((n % 97))s|\\n" $n; done`;
      const written = join(mounts[writer]!.mountpoint, `by-${writer}`);
      await lab.processes.run("sh", ["-c", `${script} > ${written}; ${script} > ${lab.directory}/same`]);
      await lab.processes.run("cmp", [
        join(mounts[reader]!.mountpoint, `by-${writer}`),
        `${lab.directory}/same`,
      ]);
    }
  });
});

describe("the kernel's write-back cache above it", () => {
  let brick: Brick;
  let mount: Mount;
  let agent: FileAgent;
  const at = (name: string): string => join(mount.mountpoint, name);

  beforeAll(async () => {
    brick = await lab.startBrick("mortar", lab.makeBrickDirectory("brick"));
    mount = await lab.mount("mortar", volfile(brick), {
      options: ["writeback-cache", "attribute-timeout=1"],
    });
    agent = lab.agent();
  });

  it("gathers small writes before they come as requests", async () => {
    const { edge } = await traffic(mount, () => dd(at("small"), "bs=1024", "count=4000", "conv=fsync"));
    expect(edge.writev!.bytes).toBe(4000 * KIB);
    expect(edge.writev!.calls).toBeLessThan(400);
    expect(othersOf(edge)).toBeLessThan(15);
  });

  it("brings size and mtime of the kernel to the brick, and appends where the file ends", async () => {
    const path = at("log");
    await agent.writeFile(path, "one\n");
    await agent.appendFile(path, "two\n");
    await agent.appendFile(path, "three\n");
    const seen = await agent.stat(path);
    expect(seen.size).toBe(14);
    const below = await agent.stat(join(brick.directory, "log"));
    expect(below.size).toBe(14);
    expect((await agent.readFile(path)).toString()).toBe("one\ntwo\nthree\n");
    const other = await lab.mount("mortar", volfile(brick));
    const elsewhere = await agent.stat(join(other.mountpoint, "log"));
    expect({ size: elsewhere.size, mtime: elsewhere.mtime }).toEqual({ size: 14, mtime: seen.mtime });
    await lab.unmount(other);
    // O_DIRECT goes past the pages, and sees what was in them.
    const fd = await agent.open(path, "O_RDWR|O_DIRECT");
    await agent.write(fd, Buffer.alloc(4 * KIB, "d"), 0);
    await agent.close(fd);
    expect((await agent.stat(path)).size).toBe(4 * KIB);
    expect((await agent.readFile(path)).length).toBe(4 * KIB);
  });

  it("leaves an fsync what it was: the bytes are at the brick when it is answered", async () => {
    const fd = await agent.open(at("synced"), "O_RDWR|O_CREAT");
    await agent.write(fd, Buffer.from("synced"), 0);
    const { bricks } = await traffic(mount, () => agent.fsync(fd));
    expect(bricks[0]!.fops.fsync!.calls).toBe(1);
    expect((await agent.stat(join(brick.directory, "synced"))).size).toBe(6);
    await agent.close(fd);
  });

  it("comes back in large requests that are answered early, and an fsync waits for every byte", async () => {
    const random = join(lab.directory, "random");
    await dd(random, "if=/dev/urandom", "bs=1M", "count=40");
    const { edge } = await traffic(mount, () => dd(at("large"), `if=${random}`, "bs=1024", "conv=fsync"));
    // A page that was written back before it was full comes again.
    expect(edge.writev!.bytes).toBeGreaterThanOrEqual(40 * KIB * KIB);
    expect(edge.writev!.calls).toBeLessThan(200);
    await lab.processes.run("cmp", [random, join(brick.directory, "large")]);
  });

  it("tells an fsync what a brick refused, and whoever writes it again once there is room has it", async () => {
    const fd = await agent.open(at("refused"), "O_RDWR|O_CREAT");
    const limit = (size: string) =>
      lab.processes.run("prlimit", [`--pid=${brick.process.pid}`, `--fsize=${size}:unlimited`]);
    const data = Array.from({ length: 8 }, (_, n) => Buffer.alloc(KIB * KIB, n + 1));
    const writeAll = async () => {
      for (const [n, bytes] of data.entries()) await agent.write(fd, bytes, n * KIB * KIB);
    };
    await limit(String(KIB * KIB));
    await writeAll();
    expect(await codeOf(agent.fsync(fd))).toBe("EFBIG");
    await limit("unlimited");
    await writeAll();
    await agent.fsync(fd);
    await agent.close(fd);
    expect((await agent.readFile(join(brick.directory, "refused"))).equals(Buffer.concat(data))).toBe(true);
  });

  it.each([
    ["10 MB unless told", [], 10],
    ["kernel-writeback-window", ["kernel-writeback-window=64MB"], 64],
  ])("holds %s", async (_, options, MiB) => {
    const other = await lab.mount("mortar", volfile(brick), { options: ["writeback-cache", ...options] });
    const limit = `/sys/class/bdi/${mountAt(other.mountpoint)!.device}/max_bytes`;
    // The kernel keeps it as a share of its memory.
    const isSet = () => Math.round(Number(readFileSync(limit, "utf8")) / KIB / KIB) === MiB;
    await until(`${limit} is ${MiB} MiB`, isSet);
    await lab.unmount(other);
  });
});
