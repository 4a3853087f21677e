/**
 * Volumes without a mount: the library and the commands on files against volumes of glusterd and of
 * `mortar start`, judged by GlusterFS' own client; and `mortar compare` from end to end.
 */

import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { flags, openVolume } from "../../src/api/index.ts";
import { GlusterVolume } from "../support/glusterd.ts";
import { type MountEntry, mountTable } from "../support/mounts.ts";
import { holdersOf } from "../support/open-files.ts";
import { Lab, MORTAR } from "../support/peers.ts";
import { commandLines, type Exit, type Running, type StartOptions } from "../support/processes.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { clientVolfile, embeddedVolfile } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";

const MIB = 1 << 20;
/** A comparison takes some ten seconds on a machine that has nothing else to do. */
const COMMAND_MS = 100_000;
const { O_CREAT, O_DIRECT, O_RDWR } = flags;

const lab = new Lab("direct-path");
let gluster: GlusterVolume;
/** The volume as QEMU names it. */
let url: string;
beforeAll(async () => {
  gluster = await GlusterVolume.create(lab, "replica 3");
  url = `gluster://${gluster.host}/${gluster.name}`;
});
afterAll(async () => {
  await gluster?.remove().catch(() => {});
  await lab.close();
});

function mortar(args: readonly string[], options?: StartOptions & { timeoutMs?: number }): Promise<Exit> {
  return lab.processes.tryRun(MORTAR, args, options);
}

/** A command that has to succeed, without a word on standard error. */
async function well(...args: string[]): Promise<string> {
  const exit = await mortar(args, { timeoutMs: COMMAND_MS });
  expect(exit).toMatchObject({ code: 0, stderr: "" });
  return exit.stdout;
}

async function names(place: string): Promise<string[]> {
  return (await well("ls", "-a", place)).split("\n").filter((name) => name !== "");
}

/** An image with data in the middle and a hole before and behind it. */
function sparseImage(): { path: string; content: Buffer } {
  const content = Buffer.alloc(48 * MIB);
  pattern(3 * MIB).copy(content, 20 * MIB);
  const path = lab.path("image.raw");
  writeFileSync(path, content.subarray(0, 23 * MIB));
  truncateSync(path, content.length);
  return { path, content };
}

describe("the library on a volume of glusterd", () => {
  it("opens and closes an image in milliseconds, and leaves nothing that keeps the process", async () => {
    await using volume = await openVolume(url);
    await (await volume.open("/timed", O_CREAT | O_RDWR)).close();
    const tookMs: number[] = [];
    for (let turn = 0; turn < 20; turn++) {
      const startedMs = performance.now();
      await (await volume.open("/timed", O_RDWR | O_DIRECT)).close();
      tookMs.push(performance.now() - startedMs);
    }
    // Some milliseconds; the bound leaves room for whatever else runs here.
    expect(tookMs.sort((a, b) => a - b)[10]).toBeLessThan(50);
    await volume.unlink("/timed");
  });

  it("shows by the open file what a truncate by path did", async () => {
    await using volume = await openVolume(url);
    await using file = await volume.open("/cut", O_CREAT | O_RDWR);
    await file.write(0, pattern(4096));
    await volume.truncate("/cut", 1234);
    expect((await file.stat()).size).toBe(1234);
    await volume.unlink("/cut");
  });

  it("is left at once when it cannot be opened, or nobody wants it any more (API-07)", async () => {
    await expect(openVolume(`gluster://${gluster.host}/mortar-no-such-volume`)).rejects.toThrow(
      /no such volume/,
    );
    const stopped = openVolume(url, { signal: AbortSignal.abort(new Error("enough")) });
    await expect(stopped).rejects.toThrow("enough");
    await expect(openVolume(`${url}/no/such/dir`)).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("commands on a volume of glusterd", () => {
  it("copy images that GlusterFS' client finds the same, with their holes, and back", async () => {
    const { path, content } = sparseImage();
    expect(await well("cp", path, `${url}/image.raw`)).toBe("");
    const theirs = await lab.mount("glusterfs", gluster.clientVolfile);
    await lab.processes.run("cmp", [path, join(theirs.mountpoint, "image.raw")]);
    await lab.unmount(theirs);
    for (const brick of gluster.bricks)
      expect(statSync(join(brick, "image.raw")).blocks * 512).toBeLessThan(4 * MIB);
    const back = lab.path("back.raw");
    await well("cp", `${url}/image.raw`, back);
    expectSameBytes(readFileSync(back), content);
    expect(statSync(back).blocks * 512).toBeLessThan(4 * MIB);
    await well("cp", `${gluster.host}:/${gluster.name}/image.raw`, `${url}/copy.raw`);
    expect(await names(url)).toEqual(["copy.raw", "image.raw"]);
    await well("rm", `${url}/copy.raw`, `${url}/image.raw`);
  });

  it("list, show, cut and remove, and go on after what fails", async () => {
    const small = lab.writeFile("small", "hello");
    await well("cp", small, `${url}/small`);
    expect(await well("ls", "-l", `${url}/small`)).toMatch(
      /^-rw-r--r-- 1 0 0 5 \d{4}-\d\d-\d\d \d\d:\d\d \/small\n$/,
    );
    const stat = JSON.parse(await well("stat", "--json", `${url}/small`));
    expect(stat).toMatchObject({ path: "/small", size: 5, type: "regular file", nlink: 1 });
    expect(stat.gfid).toMatch(/^[0-9a-f-]{36}$/);
    expect(await well("stat", `${url}/`)).toMatch(/Volume: .* free/);
    await well("truncate", "-s", "+3", `${url}/small`);
    expect(await well("cat", `${url}/small`, `${url}/small`)).toBe("hello\0\0\0hello\0\0\0");
    const removed = await mortar(["rm", `${url}/none`, `${url}/small`]);
    expect(removed).toMatchObject({
      code: 1,
      stderr: `mortar: rm: "${url}/none": no such file or directory\n`,
    });
    expect(await names(url)).not.toContain("small");
  });

  it("copy trees, and take standard input and output", async () => {
    const tree = lab.makeDirectory("tree");
    await lab.processes.run(
      "sh",
      ["-c", "mkdir -p a/b && echo 1 >a/b/f && ln -s a/b/f l && chmod 600 a/b/f"],
      {
        cwd: tree,
      },
    );
    await well("cp", "-r", "-p", tree, `${url}/tree`);
    const back = lab.path("tree-back");
    await well("cp", "-r", `${url}/tree`, back);
    await lab.processes.run("diff", ["-r", tree, back]);
    await well("rm", "-r", `${url}/tree`);
    expect(await mortar(["cp", "-", `${url}/stream`], { input: pattern(3 * MIB) })).toMatchObject({
      code: 0,
    });
    const script = `${MORTAR} cat ${url}/stream | cmp - ${lab.writeFile("pattern", "")}`;
    writeFileSync(script.split(" ").at(-1)!, pattern(3 * MIB));
    await lab.processes.run("sh", ["-c", script]);
    const early = `${MORTAR} cat ${url}/stream | head -c 5 >/dev/null; echo \${PIPESTATUS[0]}`;
    expect(await lab.processes.tryRun("bash", ["-c", early])).toMatchObject({ stdout: "141\n", stderr: "" });
    await well("rm", "-f", `${url}/stream`, `${url}/none`);
  });

  it("that are stopped leave nothing half done", async () => {
    await well("cp", lab.writeFile("old", "old"), `${url}/target`);
    const copying = lab.processes.start(MORTAR, ["cp", "-", `${url}/target`], { interactive: true });
    // What it did not read when it was stopped is no failure.
    copying.child.stdin!.on("error", () => {}).write(pattern(MIB));
    // All there is was read, and the rest is waited for.
    await until("the copy has begun", () => passingBytes(gluster.bricks[0]!) === MIB, {
      detail: () => copying.output,
    });
    copying.signal("SIGINT");
    expect(await copying.exited).toMatchObject({ code: 130 });
    expect(await well("cat", `${url}/target`)).toBe("old");
    expect((await names(url)).filter((name) => name.includes("target"))).toEqual(["target"]);
    await well("rm", `${url}/target`);
  });

  it.each<[string[], string]>([
    [["cp", "/etc/hostname", "URL/no/x"], 'cp: "URL/no/x": cannot create: no such file or directory'],
    [["rm", "URL/"], 'rm: "URL/": is the root of the volume'],
    [["ls", "gluster://127.0.0.1:1/v"], "glusterd at 127.0.0.1:1: "],
  ])("%j says in one line what is wrong", async (args, message) => {
    const exit = await mortar(args.map((arg) => arg.replace("URL", url)));
    expect(exit.code).toBe(1);
    expect(exit.stderr).toContain(`mortar: ${message.replace("URL", url)}`);
    expect(exit.stderr.trimEnd()).not.toContain("\n");
  });
});

/** Size of the file in a brick that a copy is writing. */
function passingBytes(brick: string): number {
  const name = readdirSync(brick).find((one) => one.endsWith(".part"));
  return name === undefined ? 0 : statSync(join(brick, name)).size;
}

describe("commands on an embedded volume", () => {
  it("use its data directory, whether it runs or not", async () => {
    const data = lab.path("data");
    const first = await start(data);
    await well("cp", lab.writeFile("a", "of the first"), `${data}:/a`);
    expect(await names(data)).toEqual(["a"]);
    expect(readFileSync(join(first.mountpoint, "a"), "utf8")).toBe("of the first");
    expect(await first.running.stop("SIGINT")).toMatchObject({ code: 0 });
    expect(await well("cat", `${data}:/a`)).toBe("of the first");
    await well("rm", `${data}:/a`);
    expect(await names(`${data}:/`)).toEqual([]);
  });

  async function start(data: string): Promise<{ running: Running; mountpoint: string }> {
    const mountpoint = lab.makeDirectory("mnt");
    const running = lab.processes.start(MORTAR, ["start", "--data", data, "--mount", mountpoint]);
    await until("mortar start serves", () => running.stdout.includes("Try:"), {
      deadlineMs: 30_000,
      detail: () => running.output,
    });
    return { running, mountpoint };
  }
});

describe("mortar compare", () => {
  const QUICK = ["--quick", "--rounds", "1", "--no-fio"];

  it("measures the disk, the library and mounts of both edges, and takes everything away again", async () => {
    const before = await names(url);
    const output = lab.path("output");
    const loads = ["--loads", "seq-write", "--output", output];
    const stdout = await well("compare", url, "--all-edges", ...QUICK, ...loads);
    for (const row of ["Base", "Direct", "FUSE", "FUSE \\(fuse-native\\)"])
      expect(stdout).toMatch(new RegExp(`│ +${row} +│ +[0-9 .]+ │`));
    expect(stdout).toContain("what FUSE leaves of Direct");
    const result = JSON.parse(readFileSync(join(output, "compare.json"), "utf8"));
    expect(result).toMatchObject({ format: "mortar-compare-1", rounds: 1 });
    for (const row of ["base", "direct", "fuse", "fuse-native"]) {
      const [sample] = result.samples[row]["seq-write"];
      expect(sample.aggrb).toBeGreaterThan(0);
      expect(sample.maxb).toBeGreaterThanOrEqual(sample.minb);
    }
    expect(result.openMs.volumeMs).toBeGreaterThan(0);
    expect(readFileSync(join(output, "compare.html"), "utf8")).toContain("</html>");
    expect(await names(url)).toEqual(before);
    expectNoTraces();
  });

  it("runs fio and dd too, and a volume whose bricks are in the graph", async () => {
    const volfile = lab.writeFile("local.vol", embeddedVolfile(lab.makeBrickDirectory("brick")));
    const output = lab.path("output");
    const args = ["--quick", "--rounds", "1", "--loads", "seq-read,dd", "--output", output];
    const stdout = await well("compare", volfile, ...args);
    expect(stdout).toContain("FUSE, fio and dd");
    const { samples } = JSON.parse(readFileSync(join(output, "compare.json"), "utf8"));
    expect(Object.keys(samples).sort()).toEqual(["base", "base-fio", "direct", "fuse", "fuse-fio"]);
    expectNoTraces();
  });

  it.each([
    ["it works on the mount itself", ["--no-fio", "--loads", "seq-read"], mountOfRun],
    // A volume in its own process is left at once: nobody waits for what fio does.
    ["fio works on the disk", ["--loads", "4k-read"], baseOfRun],
  ] as const)("that is stopped while %s takes everything away too", async (_, args, place) => {
    const source =
      place === mountOfRun
        ? url
        : lab.writeFile("local.vol", embeddedVolfile(lab.makeBrickDirectory("brick")));
    const before = await names(source);
    const running = lab.processes.start(MORTAR, ["compare", source, "--quick", "--rounds", "999", ...args]);
    let directory: string | undefined;
    await until(
      "files are open there",
      () => {
        directory = place();
        const holders = directory === undefined ? [] : holdersOf(directory);
        return holders.some((pid) => (pid === running.pid) === (place === mountOfRun));
      },
      { deadlineMs: 60_000, detail: () => running.output },
    );
    running.signal("SIGINT");
    expect(await running.exited).toMatchObject({ code: 130 });
    // The guard of a mount ends by itself, a moment after it.
    const left = commandLines().filter((line) => line.includes(directory!) && !line.includes("guard.sh"));
    expect(left).toEqual([]);
    expect(await names(source)).toEqual(before);
    expectNoTraces();
  });

  it("says at once that its results have no place, before it looks for the volume", async () => {
    const file = lab.writeFile("file", "");
    const refused = await mortar(["compare", lab.path("no.vol"), ...QUICK, "--output", file]);
    const line = `mortar: compare: --output "${file}": is no directory; name one, or one to be made\n`;
    expect(refused).toMatchObject({ code: 1, stdout: "", stderr: line });
  });

  it("leaves a volume alone that has too little room", async () => {
    const disk = lab.makeDirectory("small-disk");
    await lab.processes.run("mount", ["-t", "tmpfs", "-o", "size=64m", "none", disk]);
    const brickDirectory = join(disk, "brick");
    await lab.processes.run("mkdir", [brickDirectory]);
    const volumeId = "8d1d5cb8-5f53-4b45-8e0c-2d6c7ac6a9a1";
    await lab.processes.run("setfattr", [
      ...["-n", "trusted.glusterfs.volume-id", "-v", `0x${volumeId.replaceAll("-", "")}`, brickDirectory],
    ]);
    const brick = await lab.startBrick("mortar", brickDirectory);
    const volfile = lab.writeFile(
      "small.vol",
      clientVolfile({ directory: brickDirectory, address: brick.address }),
    );
    const refused = await mortar(["compare", volfile, ...QUICK]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(
      /^mortar: compare: volume ".*": 68\.0 MiB are needed and .* are free; .*\n$/,
    );
    expect(await names(volfile)).toEqual([]);
    await zeroesOnFullBrick(volfile);
    await brick.process.stop();
  });

  /** More zeroes than there is room for fail, and the brick goes on. */
  async function zeroesOnFullBrick(volfile: string): Promise<void> {
    await using volume = await openVolume(volfile);
    await using file = await volume.open("/zeroes", O_CREAT | O_RDWR);
    await expect(file.zerofill(0, 200 * MIB)).rejects.toMatchObject({ code: "ENOSPC" });
    await file.truncate(0);
    await file.write(0, pattern(MIB));
    expectSameBytes(await file.read(0, MIB), pattern(MIB));
  }

  function mountOfRun(): string | undefined {
    return mountTable().find(isCompared)?.mountpoint;
  }

  /** The directory of the row Base, beside the bricks. */
  function baseOfRun(): string | undefined {
    const name = readdirSync(lab.directory).find((one) => one.startsWith("mortar-compare"));
    return name === undefined ? undefined : join(lab.directory, name);
  }

  /** A mount that this file's comparisons made. */
  function isCompared({ mountpoint, source }: MountEntry): boolean {
    const isOurs = source.includes(gluster.name) || source.startsWith(lab.directory);
    return isOurs && mountpoint.includes("/mortar-compare-");
  }

  /** Neither mounts nor directories beside the bricks, which lie in the lab. */
  function expectNoTraces(): void {
    expect(mountTable().filter(isCompared)).toEqual([]);
    expect(baseOfRun()).toBeUndefined();
  }
});
