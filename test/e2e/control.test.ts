/**
 * A running mount is asked and told: by its control socket, by the administrator of the volume's server, by
 * SIGHUP; and its users notice nothing of the graphs that take over meanwhile.
 */

import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Figures } from "../../src/control/figures.ts";
import type { Shown } from "../../src/control/settings.ts";
import { ask } from "../../src/control/socket.ts";
import type { Statedump } from "../../src/control/statedump.ts";
import { GlusterVolume } from "../support/glusterd.ts";
import { GOOD_SETTINGS } from "../support/good-settings.ts";
import { mountAt, unmountBelow } from "../support/mounts.ts";
import { directFilesBelow } from "../support/open-files.ts";
import { Lab, MORTAR, type Mount } from "../support/peers.ts";
import { describeExit, type Exit, type Running } from "../support/processes.ts";
import { until } from "../support/wait.ts";

const lab = new Lab("control");
afterAll(() => lab.close());

function mortar(...args: string[]): Promise<string> {
  return lab.processes.run(MORTAR, args);
}

function tryMortar(...args: string[]): Promise<Exit> {
  return lab.processes.tryRun(MORTAR, args);
}

async function settingOf(mountpoint: string, key: string): Promise<string> {
  const [shown] = JSON.parse(await mortar("get", mountpoint, key, "--json")) as Shown[];
  return shown!.value;
}

async function dumpOf(mountpoint: string): Promise<Statedump> {
  return JSON.parse(await mortar("statedump", mountpoint, "--json"));
}

async function switchesOf(mountpoint: string): Promise<number> {
  return (await dumpOf(mountpoint)).live["switches"] as number;
}

/** Writes at random and reads back what it wrote, until it is through. */
function startFio(directory: string, name: string): Running {
  return lab.processes.start("fio", [
    ...[`--name=${name}`, `--directory=${directory}`, "--size=8m", "--bs=4k", "--rw=randwrite", "--direct=1"],
    ...["--ioengine=libaio", "--iodepth=8", "--time_based", "--runtime=8", "--verify=crc32c"],
    ...["--verify_fatal=1", "--verify_state_save=0", "--rate_iops=400"],
  ]);
}

describe("a volume of glusterd", () => {
  let volume: GlusterVolume;
  let mount: Mount;
  beforeAll(async () => {
    volume = await GlusterVolume.create(lab, "replica 3");
    mount = await lab.mount("mortar", volume.source);
  });
  afterAll(async () => {
    if (mount !== undefined) await lab.unmount(mount);
    await volume?.remove();
  });

  it("changes under fio, twenty times, and fio finds all that it wrote", async () => {
    const { mountpoint } = mount;
    const held = join(mountpoint, "held");
    writeFileSync(held, "");
    const holder = lab.processes.start("flock", ["--no-fork", held, "sleep", "1000"]);
    await until("the lock is held", async () => (await lockIsHeld(held)) === true);
    const fio = startFio(mountpoint, "switched");
    for (let round = 1; round <= 20; round++)
      await mortar("set", mountpoint, "performance.write-behind", round % 2 === 1 ? "on" : "off");
    expect(await lockIsHeld(held)).toBe(true);
    expect(await switchesOf(mountpoint)).toBe(20);
    const exit = await fio.exited;
    expect(exit.code, describeExit(exit)).toBe(0);
    await holder.kill();
    await until("the lock is free", async () => !(await lockIsHeld(held)));
  });

  it("follows what the administrator sets at the server, options and translators", async () => {
    const { mountpoint } = mount;
    const fio = startFio(mountpoint, "followed");
    const before = await switchesOf(mountpoint);
    await volume.gluster("volume", "set", volume.name, "network.ping-timeout", "21");
    await until(
      "the option is taken over",
      async () => (await settingOf(mountpoint, "network.ping-timeout")) === "21",
    );
    expect(await switchesOf(mountpoint)).toBe(before);
    await volume.gluster("volume", "set", volume.name, "performance.stat-prefetch", "on");
    await until("the graph has the translator", async () => (await switchesOf(mountpoint)) === before + 1);
    expect(await settingOf(mountpoint, "performance.stat-prefetch")).toBe("on");
    const exit = await fio.exited;
    expect(exit.code, describeExit(exit)).toBe(0);
  });

  it("takes a group, says what it skipped, and warns of what is unsafe", async () => {
    const { mountpoint } = mount;
    const report = await mortar("set", mountpoint, "group", "virt");
    expect(report).toMatch(/^cluster\.eager-lock +on/m);
    expect(report).toMatch(/^server\.event-threads +4 +\(skipped: it is of the bricks/m);
    expect(report).toMatch(/until the volume is unmounted\n$/);
    expect(await settingOf(mountpoint, "cluster.quorum-type")).toBe("auto");
    const unsafe = await tryMortar("set", mountpoint, "cluster.quorum-type", "none");
    expect(unsafe).toMatchObject({ code: 0, stderr: expect.stringMatching(/warning: .*split brain/) });
    await mortar("set", mountpoint, "--reset", "cluster.quorum-type");
  });

  it("VOL-09: refuses ten options empty and blank, then takes and shows good values", async () => {
    const { mountpoint } = mount;
    const valuesOf = async (): Promise<string[]> => {
      const shown = JSON.parse(await mortar("get", mountpoint, "--json")) as Shown[];
      return GOOD_SETTINGS.map(([key]) => `${key} ${shown.find((one) => one.key === key)?.value}`);
    };
    const before = await valuesOf();
    const exit = await tryMortar("set", mountpoint, "cluster.eager-lock", " ");
    expect(exit).toMatchObject({ code: 1, stderr: expect.stringContaining("cluster.eager-lock") });
    for (const [key] of GOOD_SETTINGS)
      for (const value of ["", " ", "\t  "])
        await expect(ask(mountpoint, "set", { key, value }), `${key} "${value}"`).rejects.toThrow(key);
    expect(await valuesOf()).toEqual(before);
    for (const [key, value] of GOOD_SETTINGS) await ask(mountpoint, "set", { key, value });
    const off = new Map([["disable", "off"]]);
    expect(await valuesOf()).toEqual(
      GOOD_SETTINGS.map(([key, value]) => `${key} ${off.get(value) ?? value}`),
    );
    for (const [key] of GOOD_SETTINGS) await ask(mountpoint, "reset", { key });
  });

  it("shows what its calls cost at the kernel's edge, in the graph and at each brick", async () => {
    const { mountpoint } = mount;
    const figures = JSON.parse(await mortar("stats", mountpoint, "--json")) as Figures;
    for (const place of [figures.edge, figures.graph, ...figures.bricks.map(({ fops }) => fops)])
      expect(place.writev!.calls).toBeGreaterThan(100);
    expect(figures.bricks).toHaveLength(3);
    expect(figures.graph.writev!.bytes).toBe(figures.edge.writev!.bytes);
    expect(figures.graph.writev!.latency.totalMs).toBeLessThan(figures.edge.writev!.latency.totalMs);
    const text = await mortar("stats", mountpoint);
    for (const brick of volume.bricks) expect(text).toContain(brick);
    expect(text).toMatch(/writev +kernel edge +\d+/);
    const prometheus = await mortar("stats", mountpoint, "--prometheus");
    expect(prometheus).toMatch(/mortar_fop_duration_seconds_count\{.*place="edge",fop="writev"\} \d+/);
    const watched = await mortar(
      "stats",
      mountpoint,
      "--watch",
      "--count",
      "2",
      "--interval",
      "0.2",
      "--json",
    );
    expect(
      watched
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).mountpoint),
    ).toEqual([mountpoint, mountpoint]);
  });

  it("ends quietly when nobody reads on", async () => {
    const script = `${MORTAR} stats ${mount.mountpoint} --prometheus | head -n 1; echo \${PIPESTATUS[0]}`;
    const exit = await lab.processes.tryRun("bash", ["-c", script]);
    expect(exit).toMatchObject({ code: 0, stderr: "", stdout: expect.stringMatching(/\n141\n$/) });
  });

  it.each([
    ["an unknown key", ["eager-lok", "on"], /"eager-lok": no such option; did you mean cluster\.eager-lock/],
    ["no value", ["cluster.eager-lock"], /a value is missing/],
  ])("refuses %s in one line", async (_what, args, message) => {
    const switches = await switchesOf(mount.mountpoint);
    const exit = await tryMortar("set", mount.mountpoint, ...args);
    expect(exit, describeExit(exit)).toMatchObject({ code: 1, stdout: "" });
    expect(exit.stderr).toMatch(message);
    expect(exit.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(await switchesOf(mount.mountpoint)).toBe(switches);
  });

  it("is for its own user alone", async () => {
    expect(statSync("/run/mortar").mode & 0o777).toBe(0o700);
    const exit = await tryMortar("stats", lab.makeDirectory("elsewhere"));
    expect(exit).toMatchObject({ code: 1, stderr: expect.stringMatching(/no mount of Mortar's is there/) });
  });
});

describe("a mount of a volfile", () => {
  it("reads it again on SIGHUP, and its socket does not outlive it", async () => {
    const brick = lab.makeDirectory("brick");
    const text = (top: string): string => `
volume disk
  type storage/posix
  option directory ${brick}
end-volume
volume locks
  type features/locks
  subvolumes disk
end-volume
${top}`;
    const plain = text("volume top\n  type debug/io-stats\n  subvolumes locks\nend-volume\n");
    const utime = "volume times\n  type features/utime\n  subvolumes locks\nend-volume\n";
    const having = text(`${utime}volume top\n  type debug/io-stats\n  subvolumes times\nend-volume\n`);
    const volfile = lab.writeFile("own.vol", plain);
    const mount = await lab.mount("mortar", volfile);
    const types = async (): Promise<string[]> =>
      (await dumpOf(mount.mountpoint)).translators.map(({ type }) => type);
    writeFileSync(volfile, having);
    process.kill(mount.process.pid, "SIGHUP");
    await until("the new volfile is read", async () => (await types()).includes("features/utime"));
    writeFileSync(volfile, "volume broken");
    process.kill(mount.process.pid, "SIGHUP");
    await until("the wrong one is refused", () =>
      readFileSync(mount.logFile, "utf8").includes("not taken over"),
    );
    expect(await types()).toContain("features/utime");
    process.kill(mount.process.pid, "SIGKILL");
    await lab.dropMount(mount);
    const exit = await tryMortar("statedump", mount.mountpoint);
    expect(exit).toMatchObject({ code: 1, stderr: expect.stringMatching(/no mount of Mortar's is there/) });
  });
});

describe("the volume of `mortar start`", () => {
  it("keeps what was set, and a profile", async () => {
    const data = lab.makeDirectory("data");
    const mountpoint = lab.makeDirectory("mnt");
    const first = await start(data, mountpoint, "--profile", "virt-2013");
    expect(await settingOf(mountpoint, "cluster.quorum-type")).toBe("auto");
    const report = await mortar("set", mountpoint, "cluster.post-op-delay-secs", "2");
    expect(report).toContain("kept for the next start too");
    expect((await first.stop("SIGTERM")).code).toBe(0);
    const second = await start(data, mountpoint);
    expect(await settingOf(mountpoint, "cluster.post-op-delay-secs")).toBe("2");
    expect(await settingOf(mountpoint, "cluster.quorum-type")).toBe("auto");
    expect((await second.stop("SIGTERM")).code).toBe(0);
    unmountBelow(mountpoint);
  });

  it("hides O_DIRECT from its bricks with virt-2013, and shows it again, live; a flush syncs every brick", async () => {
    const data = lab.makeDirectory("dio");
    const mountpoint = lab.makeDirectory("dio-mnt");
    const agent = lab.agent();
    const served = await start(data, mountpoint, "--profile", "virt-2013");
    const direct = (): number => directFilesBelow(served.pid, data);
    const block = Buffer.alloc(4096, 1);
    const fd = await agent.open(join(mountpoint, "image"), "O_RDWR|O_CREAT|O_DIRECT");
    await agent.write(fd, block, 0);
    // A piece of its own, which is written to through other descriptors.
    await agent.write(fd, block, 64 << 20);
    expect(await settingOf(mountpoint, "network.remote-dio")).toBe("on");
    expect(direct()).toBe(0);
    const syncs = async (): Promise<number[]> => {
      const { bricks } = JSON.parse(await mortar("stats", mountpoint, "--json")) as Figures;
      return bricks.map(({ fops }) => fops.fsync?.calls ?? 0);
    };
    const before = await syncs();
    await agent.fdatasync(fd);
    const after = await syncs();
    expect(after.map((count, index) => count > before[index]!)).toEqual([true, true, true]);
    await mortar("set", mountpoint, "group", "virt");
    expect(await settingOf(mountpoint, "network.remote-dio")).toBe("off");
    await agent.write(fd, block, 4096);
    await agent.write(fd, block, (64 << 20) + 4096);
    const shown = direct();
    expect(shown).toBe(6);
    expect(await mortar("set", mountpoint, "group", "virt-2013")).not.toMatch(
      /remote-dio.*(skipped|no such)/,
    );
    // Bricks keep the descriptors of pieces for a while, which nobody uses any more.
    expect(direct()).toBe(shown - 3);
    await agent.write(fd, block, 8192);
    await agent.write(fd, block, 128 << 20);
    expect((await agent.read(fd, 12288, 0)).equals(Buffer.alloc(12288, 1))).toBe(true);
    expect(direct()).toBe(shown - 3);
    await agent.close(fd);
    expect((await served.stop("SIGTERM")).code).toBe(0);
    unmountBelow(mountpoint);
  });

  it("refuses a profile that it does not know", async () => {
    const args = ["--data", lab.path("none"), "--mount", lab.makeDirectory("m"), "--profile", "nope"];
    const exit = await tryMortar("start", ...args);
    expect(exit).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/profile "nope": unknown; there are virt/),
    });
  });
});

async function start(data: string, mountpoint: string, ...more: string[]): Promise<Running> {
  const running = lab.processes.start(MORTAR, ["start", "--data", data, "--mount", mountpoint, ...more]);
  await until(
    "the volume is mounted",
    () => {
      if (running.exit !== undefined) throw new Error(running.output);
      return running.stdout.includes("Try:") && mountAt(mountpoint) !== undefined;
    },
    { deadlineMs: 60_000, detail: () => running.output },
  );
  return running;
}

async function lockIsHeld(file: string): Promise<boolean> {
  return (await lab.processes.tryRun("flock", ["-n", file, "true"])).code === 1;
}
