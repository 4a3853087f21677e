/**
 * `mortar heal` and `mortar heal-daemon` as an administrator uses them: what they print, that GlusterFS' own
 * tool prints the same on the same bricks, and how they refuse.
 */

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { cast, casts } from "../support/casts.ts";
import { describeCopy, gfidOf } from "../support/copies.ts";
import { Lab, MORTAR } from "../support/peers.ts";
import { describeExit, type Exit } from "../support/processes.ts";
import { type Scene, type SceneSpec, sceneOpener } from "../support/scene.ts";
import { until } from "../support/wait.ts";

const lab = new Lab("heal-cli");
const agent = lab.agent();
afterAll(() => lab.close());

const CASTS = [cast("mortar", "mortar", "mortar"), cast("glusterfs", "glusterfs", "mortar")];

const openScene = sceneOpener(lab);
const open = (who = CASTS[0]!, spec: SceneSpec = {}): Promise<Scene> => openScene(who, spec);

/** Standard output of a `mortar heal` that has to go well. */
async function heal(s: Scene, ...words: readonly string[]): Promise<string> {
  const exit = await s.replica.mortarHeal(...words);
  if (exit.code !== 0) throw new Error(`mortar heal ${words.join(" ")}: ${describeExit(exit)}`);
  return exit.stdout;
}

/** The one line on standard error of a `mortar heal` that has to fail. */
async function refusal(s: Scene, ...words: readonly string[]): Promise<string> {
  const exit = await s.replica.mortarHeal(...words);
  expect(exit, describeExit(exit)).toMatchObject({ code: 1 });
  const lines = exit.stderr.trimEnd().split("\n");
  expect(lines).toHaveLength(1);
  return lines[0]!.replace(/^mortar: /, "");
}

async function glfsheal(s: Scene, ...args: readonly string[]): Promise<string> {
  const exit: Exit = await s.replica.glfsheal(...args);
  if (exit.code !== 0) throw new Error(describeExit(exit));
  return exit.stdout;
}

/** Blocks in the order of the bricks, the names in each sorted: each disk lists in an order of its own. */
function sorted(info: string): string[] {
  return info.split("\n\n").map((block) => {
    const [brick = "", ...rest] = block.split("\n");
    const names = rest.filter((line) => line.startsWith("/") || line.startsWith("<"));
    return [brick, ...names.sort(), ...rest.filter((line) => !names.includes(line))].join("\n");
  });
}

/** Who heals here is `mortar heal`. */
const healed = casts(CASTS).filter(({ healer }) => healer === "mortar");

describe.each(healed)("%s", (who) => {
  it("lists what GlusterFS lists, heals it, and then both say that nothing is left", async () => {
    const s = await open(who);
    await agent.mkdir(s.at("d"));
    await agent.writeFile(s.at("d/old"), "old");
    await agent.writeFile(s.at("image"), "x".repeat(300_000));
    await s.replica.kill(2);
    await agent.appendFile(s.at("image"), "more");
    await agent.writeFile(s.at("d/a name"), "new");
    await agent.chmod(s.at("d/old"), "0600");
    await agent.mkdir(s.at("fresh"));

    await until("writers have let go of their locks", async () => {
      const info = await heal(s, "info");
      return !info.includes("Possibly") && info.includes("/image");
    });
    for (const [ours, theirs] of [
      [["info"], []],
      [["info", "split-brain"], ["split-brain-info"]],
      [["info", "summary"], ["info-summary"]],
    ] as const)
      expect(sorted(await heal(s, ...ours))).toEqual(sorted(await glfsheal(s, ...theirs)));
    const text = await heal(s, "info");
    for (const name of ["/ ", "/d ", "/d/a name ", "/d/old ", "/fresh ", "/image "])
      expect(text.split("\n")).toContain(name);
    expect(text).toContain("Status: Transport endpoint is not connected\nNumber of entries: -");
    const json = JSON.parse(await heal(s, "info", "--json"));
    expect(json.bytesToHeal).toBeGreaterThanOrEqual(300_007);
    expect(json.bricks[2]).toMatchObject({ status: "not-connected", entries: [] });

    for (const words of [[], ["/image"]])
      expect(await refusal(s, ...words)).toBe(
        `heal: brick "${s.replica.brickName(2)}" is not connected: a heal needs all copies; start it, then try again`,
      );
    await s.revive(2);
    const said = await heal(s);
    expect(said).toMatch(/^\/image: healed, /m);
    expect(said).toMatch(/^\/d\/a name: healed, 3 B moved$/m);
    expect(said).toMatch(/^\d+ healed, 0 in split brain, 0 not healed; .* moved$/m);
    const after = await heal(s, "info");
    expect(after.match(/^Number of entries: 0$/gm)).toHaveLength(3);
    expect(after).toBe(await glfsheal(s));
    s.replica.expectSameCopies();
  });
});

describe("mortar heal", () => {
  it("heals one file when asked, by path or gfid", async () => {
    const s = await open();
    for (const name of ["one", "two", "three"]) await agent.writeFile(s.at(name), "before");
    await s.without([1], async () => {
      for (const name of ["one", "two", "three"]) await agent.writeFile(s.at(name), "after");
    });
    expect(await heal(s, "/one")).toMatch(/^\/one: healed, /);
    expect(await heal(s, `gfid:${gfidOf(s.replica.directory(0), "two")}`)).toMatch(/: healed, /);
    expect(readFileSync(s.brick(1, "one"), "utf8")).toBe("after");
    expect(readFileSync(s.brick(1, "two"), "utf8")).toBe("after");
    expect(readFileSync(s.brick(1, "three"), "utf8")).toBe("before");
    expect(await heal(s, "/one")).toBe("/one: nothing to heal\n");
  });

  it("finds by a full crawl what no mark tells of", async () => {
    const s = await open();
    await agent.mkdir(s.at("d"));
    await agent.writeFile(s.at("d/file"), "content");
    await s.byHand(() => {
      const brick = s.replica.directory(2);
      const gfid = gfidOf(brick, "d/file");
      rmSync(join(brick, "d/file"));
      rmSync(join(brick, ".glusterfs", gfid.slice(0, 2), gfid.slice(2, 4), gfid));
    });
    await s.untilConnected();
    expect(await heal(s)).toBe("nothing to heal\n");
    await heal(s, "full");
    s.replica.expectSameCopies();
  });
});

describe("HEAL-28 a file that is written all the while", () => {
  /** Rounds of both tools' lists while a program appends. */
  async function listsMeanwhile(s: Scene, rounds: number): Promise<string[]> {
    const writer = lab.agent();
    const fd = await writer.open(s.at("image"), "O_RDWR|O_CREAT");
    let stopping = false;
    let written = 0;
    const writes = (async () => {
      for (; !stopping; written++) await writer.write(fd, Buffer.alloc(64 * 1024, written), written * 65536);
    })();
    await until("the writer is under way", () => written > 10);
    const lists: string[] = [];
    for (let round = 0; round < rounds; round++)
      lists.push(...(await Promise.all([heal(s, "info"), glfsheal(s)])));
    stopping = true;
    await writes;
    await writer.close(fd);
    return lists;
  }

  it("is not listed while all bricks are up", async () => {
    const s = await open();
    for (const list of await listsMeanwhile(s, 4)) {
      expect(list).not.toContain("/image");
      expect(list.match(/^Number of entries: 0$/gm)).toHaveLength(3);
    }
  });

  it("is listed at once when a brick is down, whatever the writer's locks", async () => {
    const s = await open(CASTS[0], { replicate: ["post-op-delay-secs 3"] });
    await agent.writeFile(s.at("image"), "");
    await s.replica.kill(2);
    for (const list of await listsMeanwhile(s, 2)) expect(list).toContain("/image");
    await s.revive(2);
    await heal(s);
    s.replica.expectSameCopies();
  });

  it("is watched by --watch until a daemon has healed it", async () => {
    const s = await open();
    await agent.writeFile(s.at("image"), "x".repeat(300_000));
    await s.replica.kill(2);
    await agent.appendFile(s.at("image"), "more");
    const watching = lab.processes.start(MORTAR, ["heal", s.replica.volfile(), "info", "--watch"]);
    await until("it has looked", () => watching.stdout.includes("\n"), { detail: () => watching.output });
    await s.revive(2);
    await s.replica.heal("mortar");
    const { code, stdout } = await watching.exited;
    expect(stdout.split("\n")[0]).toBe("1 to heal, 293.0 KiB to go, /image; 1 brick is away");
    expect(stdout.trimEnd().split("\n").at(-1)).toBe("nothing to heal");
    expect(code).toBe(0);
    const exit = await s.replica.mortarHeal("--watch");
    expect(exit.stderr).toBe("mortar: heal: --watch goes with info only, and not with --json\n");
  });
});

describe("split brain", () => {
  it("is listed, not settled by what is no copy of it, told before it is settled, and settled", async () => {
    const s = await open(CASTS[0], { copies: 2, replicate: ["quorum-type none"] });
    for (const name of ["file", "good"]) await agent.writeFile(s.at(name), "");
    await s.without([1], () => agent.appendFile(s.at("file"), "the longer one"));
    await s.without([0], () => agent.appendFile(s.at("file"), "short"));
    expect(await heal(s, "info")).toContain("/file - Is in split-brain\n");
    expect(sorted(await heal(s, "info", "split-brain"))).toEqual(
      sorted(await glfsheal(s, "split-brain-info")),
    );
    expect(await refusal(s, "split-brain", "bigger-file", "/good")).toBe(
      'heal: "/good": is not in split brain',
    );
    expect(await refusal(s, "split-brain", "bigger-file", "/none")).toBe(
      'heal: "/none": there is no such file on the volume',
    );
    const bricks = [0, 1].map((index) => `"${s.replica.brickName(index)}"`).join(", ");
    expect(await refusal(s, "split-brain", "source-brick", "elsewhere:/b", "/file")).toBe(
      `heal: brick "elsewhere:/b": is none of this volume's: ${bricks}`,
    );
    await s.replica.kill(1);
    expect(await refusal(s, "split-brain", "latest-mtime", "/file")).toBe(
      `heal: "/file": not settled: "${s.replica.brickName(1)}" not connected, and all copies are needed`,
    );
    await s.revive(1);

    const [first, second] = [s.replica.brickName(0), s.replica.brickName(1)];
    expect(await heal(s, "split-brain", "bigger-file", "/file", "--dry-run")).toBe(
      `/file: would keep data that of "${first}"\n`,
    );
    expect(readFileSync(s.brick(1, "file"), "utf8")).toBe("short");
    // A heal tells of it and leaves it alone.
    const exit = await s.replica.mortarHeal();
    expect(exit.code).toBe(1);
    expect(exit.stdout).toMatch(/^\/file: in split brain/m);
    expect(await heal(s, "split-brain", "source-brick", second)).toBe(
      `/file: kept data that of "${second}"\n`,
    );
    expect(readFileSync(s.brick(0, "file"), "utf8")).toBe("short");
    s.replica.expectSameCopies();
  });
});

describe("wrong sources and words", () => {
  it("each get one line", async () => {
    const s = await open();
    expect(await refusal(s, "/none")).toBe('heal: "/none": there is no such file on the volume');
    expect(await refusal(s, "gfid:xyz")).toBe('heal: "gfid:xyz": "xyz" is no gfid');
    expect(await refusal(s, "gfid:00000000-0000-0000-0000-0000000000ff")).toMatch(/there is no such file/);
    const plain = lab.writeFile("plain.vol", "volume v\ntype storage/memory\nend-volume\n");
    const exit = await lab.processes.tryRun(MORTAR, ["heal", plain, "info"]);
    expect(exit).toMatchObject({
      code: 1,
      stderr: `mortar: "${plain}": is not replicated: there is nothing that could be healed\n`,
    });
    await s.replica.kill(0, 1, 2);
    expect(await refusal(s, "info")).toMatch(
      /: no brick is connected: .*: connection refused; start the volume or its bricks$/,
    );
  });
});

describe("mortar heal-daemon", () => {
  it("goes into the background, heals what comes back, and ends well when told", async () => {
    const s = await open();
    await agent.writeFile(s.at("file"), "before");
    const log = lab.path("daemon.log");
    const started = await lab.processes.tryRun(MORTAR, [
      ...["heal-daemon", s.replica.volfile(), "--log-file", log],
    ]);
    expect(started, describeExit(started)).toMatchObject({ code: 0, stdout: "" });
    const logged = (): string => readFileSync(log, "utf8");
    expect(logged()).toContain("healing");
    await s.without([2], () => agent.writeFile(s.at("file"), "after"));
    await s.replica.untilHealed(logged);
    expect(readFileSync(s.brick(2, "file"), "utf8")).toBe("after");
    const pid = (await lab.processes.run("pgrep", ["-f", `heal-daemon ${lab.directory}/`])).trim();
    process.kill(Number(pid), "SIGTERM");
    await until("the daemon ends", () => logged().includes("stopping"), { detail: logged });
  });

  it("says in one line why it cannot", async () => {
    const exit = await lab.processes.tryRun(MORTAR, ["heal-daemon", "/nowhere.vol", "--foreground"]);
    expect(exit).toMatchObject({
      code: 1,
      stderr:
        'mortar: volfile "/nowhere.vol": there is no such file; a server\'s volume is written HOST:/VOLUME\n',
    });
  });
});

describe("an embedded volume", () => {
  it("HEAL-14 fills a brick that was lost from the others while it serves", async () => {
    const data = lab.path("data");
    const mountpoint = lab.makeDirectory("mnt");
    const brick = (index: number): string => join(data, `brick-${index}`);
    const start = async (...flags: readonly string[]) => {
      const running = lab.processes.start(MORTAR, [
        ...["start", "--data", data, "--mount", mountpoint],
        ...flags,
      ]);
      await until("it mounts", () => running.stdout.includes("Try:") || running.exit !== undefined);
      return running;
    };
    const first = await start();
    await agent.mkdir(join(mountpoint, "d"));
    await agent.writeFile(join(mountpoint, "d/file"), "content");
    expect(await first.stop("SIGINT")).toMatchObject({ code: 0 });
    const want = describeCopy(brick(0));
    rmSync(brick(1), { recursive: true });
    const refused = await start();
    expect(await refused.exited).toMatchObject({ code: 1 });
    expect(refused.stderr).toMatch(/^mortar: brick ".*brick-1": does not exist; .* --new-brick 1\n$/);
    const second = await start("--new-brick", "1");
    expect(second.stdout).toContain(`brick "${brick(1)}" is new: a heal fills it from the others`);
    await until(
      "the new brick is filled",
      () => [0, 1, 2].every((index) => describeCopy(brick(index)).join() === want.join()),
      { detail: () => describeCopy(brick(1)).join("\n") },
    );
    expect(await second.stop("SIGINT")).toMatchObject({ code: 0 });
  });
});
