/**
 * What an administrator of GlusterFS does to a replicated volume while Mortar uses it: options are set, a
 * brick is replaced, bricks are away; glusterd and its tools on their side, Mortar's mount and `mortar heal`
 * on the other. Scenarios by their names (HEAL, QUO).
 */

import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { counts, describeCopy, namesOf, pendingMarks } from "../support/copies.ts";
import { codeOf } from "../support/file-agent.ts";
import { GlusterVolume, type VolumeKind } from "../support/glusterd.ts";
import { parseHealInfo, pendingCount } from "../support/heal-info.ts";
import { Lab, MORTAR, type Mount } from "../support/peers.ts";
import { describeExit } from "../support/processes.ts";
import { pattern } from "../support/sample-tree.ts";
import { until } from "../support/wait.ts";

const DEADLINE = { deadlineMs: 60_000 };

const lab = new Lab("replicate-admin");
const agent = lab.agent();
afterAll(() => lab.close());

let volume: GlusterVolume | undefined;
afterEach(async () => {
  await volume?.remove();
  volume = undefined;
});

async function create(kind: VolumeKind): Promise<GlusterVolume> {
  volume = await GlusterVolume.create(lab, kind);
  return volume;
}

/** `mortar heal VOLUME ...`; what it prints. */
async function mortarHeal(of: GlusterVolume, ...words: readonly string[]): Promise<string> {
  const exit = await lab.processes.tryRun(MORTAR, ["heal", of.source, ...words], { timeoutMs: 120_000 });
  if (exit.code !== 0) throw new Error(describeExit(exit));
  return exit.stdout;
}

/** The one line of a refusal. */
async function refusal(source: string, ...words: readonly string[]): Promise<string> {
  const exit = await lab.processes.tryRun(MORTAR, ["heal", source, ...words]);
  expect(exit, describeExit(exit)).toMatchObject({ code: 1, stdout: "" });
  return exit.stderr.trimEnd();
}

const write = (mount: Mount): Promise<string> =>
  codeOf(agent.appendFile(join(mount.mountpoint, "file"), "more"));
const read = (mount: Mount): Promise<string> => codeOf(agent.readFile(join(mount.mountpoint, "file")));

/** Both ways come out like this, soon. */
async function untilBoth(mount: Mount, code: string): Promise<void> {
  let seen = "";
  await until(
    `writes and reads are ${code}`,
    async () => {
      seen = `${await write(mount)} ${await read(mount)}`;
      return seen === `${code} ${code}`;
    },
    { ...DEADLINE, detail: () => seen },
  );
}

describe("options that are set on a mounted volume", () => {
  it("QUO-03 two copies: none lets one go on, and so does the default", async () => {
    const v = await create("replica 2");
    const mount = await lab.mount("mortar", v.source);
    await agent.writeFile(join(mount.mountpoint, "file"), "before");
    await v.setAll(["cluster.quorum-type auto"]);
    await v.killBrick(0);
    await untilBoth(mount, "ENOTCONN");
    await v.setAll(["cluster.quorum-type none"]);
    await untilBoth(mount, "ok");
    await v.gluster("volume", "reset", v.name, "cluster.quorum-type");
    await untilBoth(mount, "ok");
    expect(String(await agent.readFile(join(mount.mountpoint, "file")))).toMatch(/^beforemore/);
    await lab.unmount(mount);
  });

  it("QUO-04 three copies: each quorum-type refuses and allows what it says as soon as it is set", async () => {
    const v = await create("replica 3");
    const mount = await lab.mount("mortar", v.source);
    await agent.writeFile(join(mount.mountpoint, "file"), "before");
    await v.killBrick(0);
    await untilBoth(mount, "ok");
    await v.setAll(["cluster.quorum-count 3", "cluster.quorum-type fixed"]);
    await untilBoth(mount, "ENOTCONN");
    await v.setAll(["cluster.quorum-type auto"]);
    await untilBoth(mount, "ok");
    await v.killBrick(1);
    await untilBoth(mount, "ENOTCONN");
    await v.setAll(["cluster.quorum-type none"]);
    await untilBoth(mount, "ok");
    for (const key of ["cluster.quorum-type", "cluster.quorum-count"])
      await v.gluster("volume", "reset", v.name, key);
    await untilBoth(mount, "ENOTCONN");
    expect(await v.gluster("volume", "info", v.name)).not.toContain("quorum");
    await lab.unmount(mount);
  });
});

it("HEAL-14 a brick that is replaced is blamed for all, and filled by `mortar heal`", async () => {
  const v = await create("replica 3");
  await v.setAll(["cluster.self-heal-daemon off"]);
  const mount = await lab.mount("mortar", v.source);
  const files = ["one", "two", "three", "four", "five"];
  for (const name of files) await agent.writeFile(join(mount.mountpoint, name), pattern(100_000));
  await agent.setXattr(join(mount.mountpoint, "one"), "user.mine", "value");
  await lab.unmount(mount);
  const [old, second, third] = v.bricks as [string, string, string];
  const untouched = describeCopy(old);
  const fresh = lab.path("gluster-brick-new");
  await v.gluster("volume", "replace-brick", v.name, v.place(old), v.place(fresh), "commit", "force");
  for (const brick of [second, third])
    expect(pendingMarks(brick, ".")).toEqual({ "client-0": counts(1, 1, 1) });
  expect(pendingMarks(fresh, ".")).toEqual({ dirty: counts(0, 0, 1) });
  expect(namesOf(fresh)).toEqual(["."]);
  expect(await mortarHeal(v)).toMatch(/^6 healed, 0 in split brain, 0 not healed; .* moved$/m);
  expect(describeCopy(fresh)).toEqual(describeCopy(second));
  for (const brick of [fresh, second, third]) expect(pendingMarks(brick, ".")).toEqual({});
  expect(await mortarHeal(v, "info")).toBe(await v.gluster("volume", "heal", v.name, "info"));
  expect(describeCopy(old)).toEqual(untouched);
});

describe("HEAL-09", () => {
  it("what waits for healing is counted to the entry, over several sets of copies", async () => {
    const v = await create("three replica 2");
    const theirs = lab.makeDirectory("theirs");
    await lab.processes.run("mount", ["-t", "glusterfs", v.source, theirs]);
    for (const index of [0, 2, 4]) await v.killBrick(index);
    const at = (depth: number): string =>
      join(theirs, ...Array.from({ length: depth }, (_, level) => `level-${level}`));
    for (let depth = 1; depth <= 10; depth++) {
      await agent.mkdir(at(depth));
      for (const content of ["first", "second"]) await agent.writeFile(join(at(depth), "file"), content);
    }
    /** Both tools' lists, which agree. */
    async function pending(): Promise<number> {
      const ours = parseHealInfo(await mortarHeal(v, "info"));
      const stock = parseHealInfo(await v.gluster("volume", "heal", v.name, "info"));
      expect(ours).toEqual(stock);
      expect(ours.map(({ status }) => status === "Connected")).toEqual([0, 1, 0, 1, 0, 1].map(Boolean));
      return pendingCount(ours);
    }
    const before = await pending();
    expect(before).toBeGreaterThan(30);
    const added = Array.from({ length: 10 }, (_, index) => join(at(10), `added-${index}`));
    for (const path of added) await agent.writeFile(path, "content");
    expect(await pending()).toBe(before + 10);
    for (const path of added) await agent.unlink(path);
    expect(await pending()).toBe(before);
    for (const words of [[], ["full"]])
      expect(await refusal(v.source, ...words)).toMatch(
        /^mortar: heal: bricks ".*" are not connected: a heal needs all copies; start them, then try again$/,
      );
    await lab.processes.run("umount", [theirs]);
  });

  it("volumes that are stopped, missing or not replicated are refused in one line", async () => {
    const v = await create("plain");
    expect(await refusal(v.source, "info")).toMatch(/^mortar: .*is not replicated/);
    await v.gluster("volume", "stop", v.name, "force");
    expect(await refusal(v.source, "info")).not.toContain("\n");
    expect(await refusal(`${v.host}:/no-such-volume`, "info")).toMatch(/^mortar: .*no-such-volume/);
  });
});
