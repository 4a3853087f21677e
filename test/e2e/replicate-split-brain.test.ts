/**
 * Split brain, as scenarios.md has it (SB-..): it is seen by both makes of client and of heal info, harms
 * nothing more, and is resolved by a policy, by the tools of both makes, and through the mount.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { casts } from "../support/casts.ts";
import { counts, gfidOf, type Marks } from "../support/copies.ts";
import { codeOf } from "../support/file-agent.ts";
import { parseHealInfo, pendingCount } from "../support/heal-info.ts";
import { Lab } from "../support/peers.ts";
import { describeExit, type Exit } from "../support/processes.ts";
import { type Scene, sceneOpener } from "../support/scene.ts";
import { until } from "../support/wait.ts";

const MIB = 1 << 20;

const lab = new Lab("replicate-split-brain");
const agent = lab.agent();
afterAll(() => lab.close());

const open = sceneOpener(lab);

/** Writes to a file through each of two copies alone. */
async function splitData(
  s: Scene,
  first: () => Promise<unknown>,
  second: () => Promise<unknown>,
): Promise<void> {
  await s.without([1], first);
  await s.without([0], second);
}

/** The tool of the healer's make: `split-brain METHOD ...`. */
function resolve(s: Scene, ...args: readonly string[]): Promise<Exit> {
  return s.cast.healer === "mortar"
    ? s.replica.mortarHeal("split-brain", ...args)
    : s.replica.glfsheal(...args);
}

async function expectResolved(s: Scene, ...args: readonly string[]): Promise<void> {
  const exit = await resolve(s, ...args);
  expect(exit, describeExit(exit)).toMatchObject({ code: 0 });
}

/** What both heal infos call split brain, over all bricks. */
async function splitCount(s: Scene): Promise<number> {
  return pendingCount(await s.replica.stockHealInfo("split-brain-info"));
}

describe.each(casts())("%s", (cast) => {
  it("SB-01 an append to a file in split brain fails and writes nothing", async () => {
    const s = await open(cast, { copies: 2 });
    await agent.writeFile(s.at("file"), "");
    await splitData(
      s,
      () => agent.appendFile(s.at("file"), "first"),
      () => agent.appendFile(s.at("file"), "second!"),
    );
    expect(await codeOf(agent.appendFile(s.at("file"), "more"))).toBe("EIO");
    expect(await codeOf(agent.readFile(s.at("file")))).toBe("EIO");
    expect(readFileSync(s.brick(0, "file"), "utf8")).toBe("first");
    expect(readFileSync(s.brick(1, "file"), "utf8")).toBe("second!");
    expect(await splitCount(s)).toBe(2);
  });

  it("SB-04 each way of resolving does what its name says, to no other file", async () => {
    const s = await open(cast, { copies: 2 });
    const names = ["bigger", "latest", "source", "by-gfid", "left", "left-too"];
    for (const name of names) await agent.writeFile(s.at(name), "");
    await splitData(
      s,
      async () => {
        for (const name of names) await agent.appendFile(s.at(name), "first, and longer");
      },
      async () => {
        for (const name of names) await agent.appendFile(s.at(name), "second");
      },
    );
    expect(await splitCount(s)).toBe(2 * names.length);
    await expectResolved(s, "bigger-file", "/bigger");
    // GlusterFS' own tool levels the mtimes while it looks, and then finds no difference.
    const latest = cast.healer === "mortar" ? ["latest-mtime"] : ["source-brick", s.replica.brickName(1)];
    await expectResolved(s, ...latest, "/latest");
    await expectResolved(s, "source-brick", s.replica.brickName(1), "/source");
    await expectResolved(
      s,
      "source-brick",
      s.replica.brickName(0),
      `gfid:${gfidOf(s.replica.directory(0), "by-gfid")}`,
    );
    const read = async (name: string): Promise<string> => String(await agent.readFile(s.at(name)));
    expect(await read("bigger")).toBe("first, and longer");
    expect(await read("latest")).toBe("second");
    expect(await read("source")).toBe("second");
    expect(await read("by-gfid")).toBe("first, and longer");
    for (const name of ["left", "left-too"]) expect(await codeOf(agent.readFile(s.at(name)))).toBe("EIO");
    expect(await splitCount(s)).toBe(4);
    await expectResolved(s, "source-brick", s.replica.brickName(1));
    expect(await read("left")).toBe("second");
    await s.heal();
  });

  it("SB-05 one name with two gfids is EIO until one of them is chosen", async () => {
    const s = await open(cast, { copies: 2 });
    await agent.mkdir(s.at("d"));
    const names = ["root", "d/latest", "d/source"];
    await splitData(
      s,
      async () => {
        for (const name of names) await agent.appendFile(s.at(name), "first, and longer");
      },
      async () => {
        for (const name of names) await agent.appendFile(s.at(name), "second");
      },
    );
    for (const name of names) expect(await codeOf(agent.stat(s.at(name)))).toBe("EIO");
    await expectResolved(s, "bigger-file", "/root");
    await expectResolved(s, "latest-mtime", "/d/latest");
    await expectResolved(s, "source-brick", s.replica.brickName(0), "/d/source");
    await s.heal();
    expect(String(await agent.readFile(s.at("root")))).toBe("first, and longer");
    expect(String(await agent.readFile(s.at("d/latest")))).toBe("second");
    expect(String(await agent.readFile(s.at("d/source")))).toBe("first, and longer");
  });

  it("SB-05 of three objects with one name the bigger one is chosen, and none where two are the biggest", async () => {
    const s = await open(cast, { replicate: ["quorum-type none"] });
    const contents = {
      equal: ["abc", "def", "g"],
      bigger: ["abc", "the biggest", "g"],
      newest: ["a", "b", "c"],
    };
    for (const alone of [0, 1, 2])
      await s.without(
        [0, 1, 2].filter((index) => index !== alone),
        async () => {
          for (const [name, each] of Object.entries(contents))
            await agent.writeFile(s.at(name), each[alone]!);
        },
      );
    for (const name of Object.keys(contents)) expect(await codeOf(agent.stat(s.at(name)))).toBe("EIO");
    const refused = await resolve(s, "bigger-file", "/equal");
    // GlusterFS' own tool says so too, and ends as if all were well.
    if (cast.healer === "mortar") expect(refused.code, describeExit(refused)).not.toBe(0);
    expect(refused.stdout + refused.stderr).toMatch(/bigger|size/i);
    await expectResolved(s, "bigger-file", "/bigger");
    await expectResolved(s, "latest-mtime", "/newest");
    await expectResolved(s, "source-brick", s.replica.brickName(2), "/equal");
    await s.heal();
    expect(String(await agent.readFile(s.at("bigger")))).toBe("the biggest");
    expect(String(await agent.readFile(s.at("newest")))).toBe("c");
    expect(String(await agent.readFile(s.at("equal")))).toBe("g");
  });

  it("SB-05 bigger-file is refused where sizes are equal", async () => {
    const s = await open(cast, { copies: 2 });
    await agent.writeFile(s.at("file"), "");
    await splitData(
      s,
      () => agent.appendFile(s.at("file"), "abc"),
      () => agent.appendFile(s.at("file"), "def"),
    );
    const exit = await resolve(s, "bigger-file", "/file");
    expect(exit.code, describeExit(exit)).not.toBe(0);
    expect(exit.stdout + exit.stderr).toMatch(/bigger|size/i);
    expect(await codeOf(agent.readFile(s.at("file")))).toBe("EIO");
  });

  it("SB-07 what is EIO without a policy is read and healed with one; directories are merged", async () => {
    const s = await open(cast, { copies: 2 });
    await agent.writeFile(s.at("file"), "");
    await agent.mkdir(s.at("d"));
    await splitData(
      s,
      async () => {
        await agent.appendFile(s.at("file"), "older");
        await agent.writeFile(s.at("d/first"), "1");
      },
      async () => {
        await agent.appendFile(s.at("file"), "newer!");
        await agent.writeFile(s.at("d/second"), "2");
      },
    );
    expect(await codeOf(agent.readFile(s.at("file")))).toBe("EIO");
    const policy = { replicate: ["favorite-child-policy mtime", "data-self-heal on"] };
    const resolving = await s.replica.mount(cast.client, policy);
    expect(String(await agent.readFile(join(resolving.mountpoint, "file")))).toBe("newer!");
    await until("the read had it healed", () => readFileSync(s.brick(0, "file"), "utf8") === "newer!");
    await lab.unmount(resolving);
    await s.heal();
    expect(String(await agent.readFile(s.at("file")))).toBe("newer!");
    expect(await agent.list(s.at("d"))).toEqual(["first", "second"]);
  });

  it("SB-09 a name in conflict spoils no other of its directory", async () => {
    const s = await open(cast, { copies: 2 });
    await agent.mkdir(s.at("d"));
    await agent.writeFile(s.at("d/good"), "good");
    await splitData(
      s,
      () => agent.writeFile(s.at("d/clash"), "1"),
      () => agent.writeFile(s.at("d/clash"), "2"),
    );
    expect(await agent.list(s.at("d"))).toEqual(["clash", "good"]);
    expect(await codeOf(agent.readFile(s.at("d/clash")))).toBe("EIO");
    expect(String(await agent.readFile(s.at("d/good")))).toBe("good");
    await agent.writeFile(s.at("d/other"), "other");
    expect(await splitCount(s)).toBe(2);
  });

  it("SB-11 blame is counted: two against one, and a circle", async () => {
    const s = await open(cast);
    const contents = ["zero", "one, and the longest", "two, longer"];
    const cases: Record<string, readonly Marks[]> = {
      "two against one": [
        { "client-1": counts(1) },
        { "client-0": counts(1), "client-2": counts(1) },
        { "client-1": counts(1) },
      ],
      circle: [
        { "client-1": counts(1), dirty: counts(1) },
        { "client-2": counts(1), dirty: counts(1) },
        { "client-0": counts(1), dirty: counts(1) },
      ],
    };
    for (const name of Object.keys(cases)) await agent.writeFile(s.at(name), "");
    await s.byHand(() => {
      for (const [name, marks] of Object.entries(cases)) {
        for (const index of [0, 1, 2]) {
          writeFileSync(s.brick(index, name), contents[index]!);
          s.blame(index, name, marks[index]!);
        }
      }
    });
    await s.heal();
    expect(readFileSync(s.brick(1, "two against one"), "utf8")).toBe("two, longer");
    expect(readFileSync(s.brick(0, "circle"), "utf8")).toBe("one, and the longest");
  });

  it("SB-13 files in shards: base, shards and a shard that is three objects are listed and resolved each", async ({
    skip,
  }) => {
    if (cast.client === "glusterfs")
      skip("its shard goes on with a block that the next copy has not got: ENOENT");
    const s = await open(cast, { replicate: ["quorum-type none"], shardBlockSize: "4MB" });
    const size = 5 * MIB;
    await agent.writeFile(s.at("image"), Buffer.alloc(size, "old"));
    await agent.writeFile(s.at("grown"), "");
    const block = (name: string): string => `.shard/${gfidOf(s.replica.directory(0), name)}.1`;
    const [shard, grown] = [block("image"), block("grown")];
    // Each copy alone: makes a second block of one file, and writes over both blocks of another.
    for (const alone of [0, 1, 2])
      await s.without(
        [0, 1, 2].filter((index) => index !== alone),
        async () => {
          for (const name of ["image", "grown"]) {
            const fd = await agent.open(s.at(name), "O_RDWR");
            for (const offset of [0, 4 * MIB]) await agent.write(fd, `by copy ${alone}`, offset);
            await agent.close(fd);
          }
        },
      );
    for (const name of ["image", "grown"]) expect(await codeOf(agent.readFile(s.at(name)))).toBe("EIO");
    const ours = await s.replica.mortarHeal("info", "split-brain");
    for (const name of ["/image", "/grown", `/${shard}`]) expect(ours.stdout.split("\n")).toContain(name);
    const [listed, stock] = [parseHealInfo(ours.stdout), await s.replica.stockHealInfo("split-brain-info")];
    // GlusterFS' bricks tell its tool the paths of what was looked up before, and of others only gfids.
    if (cast.bricks === "mortar") expect(listed).toEqual(stock);
    else expect(listed.map(({ count }) => count)).toEqual(stock.map(({ count }) => count));
    const brick = s.replica.brickName(1);
    await expectResolved(s, "source-brick", brick, "/image");
    await expectResolved(s, "source-brick", brick, `gfid:${gfidOf(s.replica.directory(0), shard)}`);
    await expectResolved(s, "source-brick", brick, `/${grown}`);
    await expectResolved(s, "source-brick", brick, `gfid:${gfidOf(s.replica.directory(0), "grown")}`);
    await s.heal();
    for (const name of ["image", "grown"]) {
      const bytes = await agent.readFile(s.at(name));
      for (const offset of [0, 4 * MIB])
        expect(bytes.subarray(offset, offset + 9).toString()).toBe("by copy 1");
    }
    expect(await splitCount(s)).toBe(0);
  });

  it("is shown and resolved through the mount by virtual xattrs", async () => {
    // Who asks for attributes of a file in split brain is told EIO; a name is enough for xattrs.
    const s = await open(cast, { copies: 2, mount: ["attribute-timeout=60", "entry-timeout=60"] });
    for (const name of ["split", "fine"]) await agent.writeFile(s.at(name), "");
    await splitData(
      s,
      () => agent.appendFile(s.at("split"), "first!"),
      () => agent.appendFile(s.at("split"), "second"),
    );
    const status = async (name: string): Promise<string> =>
      String(await agent.getXattr(s.at(name), "replica.split-brain-status"));
    expect(await status("split")).toMatch(
      /^data-split-brain:yes {4}metadata-split-brain:no {4}Choices:r\d+-client-0,r\d+-client-1\0?$/,
    );
    const client = (index: number): string => `${s.replica.name}-client-${index}`;
    await agent.setXattr(s.at("split"), "replica.split-brain-choice", client(0));
    expect(String(await agent.readFile(s.at("split")))).toBe("first!");
    await agent.setXattr(s.at("split"), "replica.split-brain-choice", client(1));
    expect(String(await agent.readFile(s.at("split")))).toBe("second");
    // GlusterFS' client (10.3, without glusterd) says yes to this as well, and heals nothing.
    if (cast.client !== "mortar") return;
    await agent.setXattr(s.at("split"), "replica.split-brain-heal-finalize", client(1));
    expect(String(await agent.readFile(s.at("split")))).toBe("second");
    await s.heal();
    for (const brick of [0, 1]) expect(readFileSync(s.brick(brick, "split"), "utf8")).toBe("second");
  });
});
