/**
 * What bricks keep of an object's identity, and users cannot take away: its gfid, the link that leads to a
 * directory by gfid, and the names that lead to a file (scenarios BRK; translators.md 2.2 and 2.3).
 */

import { lstatSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cast, casts } from "../support/casts.ts";
import { gfidOf } from "../support/copies.ts";
import { codeOf, type FileAgent } from "../support/file-agent.ts";
import { Lab } from "../support/peers.ts";
import { Scene } from "../support/scene.ts";

const GFID = "trusted.gfid";
const VOLUME_ID = "trusted.glusterfs.volume-id";
const PATHS = "glusterfs.gfidtopath";
const NAME_MAX = 255;
const ALL = [0, 1, 2] as const;

const lab = new Lab("brick-xattrs");
afterAll(() => lab.close());

/** Where a brick keeps what leads to an object by its gfid. */
function handleOf(gfid: string): string {
  return join(".glusterfs", gfid.slice(0, 2), gfid.slice(2, 4), gfid);
}

const wanted = [cast("mortar", "mortar", "mortar"), cast("glusterfs", "mortar", "glusterfs")];

describe.each(casts(wanted))("%s", (parts) => {
  let s: Scene;
  let agent: FileAgent;
  beforeAll(async () => {
    s = await Scene.open(lab, parts);
    agent = lab.agent();
  });
  afterAll(async () => {
    await agent?.process.kill();
    await s?.close();
  });

  it("BRK-01: gfids and the volume's id cannot be removed through the mount, other trusted xattrs can", async () => {
    const file = s.at("kept");
    await agent.writeFile(file, "");
    const before = ALL.map((index) => gfidOf(s.replica.directory(index), "kept"));
    expect(await codeOf(agent.removeXattr(file, GFID))).toBe("EPERM");
    expect(await codeOf(agent.removeXattr(s.at("."), GFID))).toBe("EPERM");
    expect(await codeOf(agent.removeXattr(s.at("."), VOLUME_ID))).toBe("EPERM");
    await agent.setXattr(file, "trusted.other", "value");
    expect(String(await agent.getXattr(file, "trusted.other"))).toBe("value");
    await agent.removeXattr(file, "trusted.other");
    expect(await codeOf(agent.getXattr(file, "trusted.other"))).toBe("ENODATA");
    expect(ALL.map((index) => gfidOf(s.replica.directory(index), "kept"))).toEqual(before);
  });

  it("BRK-05: the link of a directory that moved while a brick was away leads to its new name there, and goes with it", async () => {
    const [long, moved] = ["l".repeat(NAME_MAX), "m".repeat(NAME_MAX)] as const;
    for (const path of ["from", "to", join("from", long)]) await agent.mkdir(s.at(path));
    const handle = handleOf(gfidOf(s.replica.directory(2), join("from", long)));
    const parent = handleOf(gfidOf(s.replica.directory(2), "to"));
    await s.without([2], () => agent.rename(s.at(join("from", long)), s.at(join("to", moved))));
    await s.heal();
    for (const index of ALL)
      expect(readlinkSync(s.brick(index, handle))).toBe(
        join("../..", parent.slice(".glusterfs/".length), moved),
      );
    await agent.rmdir(s.at(join("to", moved)));
    for (const index of ALL)
      expect(lstatSync(s.brick(index, handle), { throwIfNoEntry: false })).toBeUndefined();
  });

  it("BRK-02: files made while storage.gfid2path is off have no path by gfid, those before and after have", async () => {
    const paths: Record<string, string> = {};
    // On is the default, with which the bricks run.
    for (const [name, setting] of Object.entries({ before: undefined, without: "off", after: "on" })) {
      if (setting !== undefined) await setGfid2path(setting);
      await agent.writeFile(s.at(name), "");
      paths[name] = await agent.getXattr(s.at(name), PATHS).then(String, ({ code }) => code);
    }
    expect(paths).toEqual({ before: "/before", without: "ENODATA", after: "/after" });
    expect(String(await agent.getXattr(s.at("before"), PATHS))).toBe("/before");
    expect(await codeOf(agent.getXattr(s.at("without"), PATHS))).toBe("ENODATA");
  });

  /** Restarts the bricks with the option, as `gluster volume set` would set it. */
  async function setGfid2path(value: string): Promise<void> {
    await s.byHand(() => {
      for (const { volfile } of s.replica.bricks) {
        const text = readFileSync(volfile, "utf8").replace(/\n *option gfid2path .*/, "");
        writeFileSync(volfile, text.replace("type storage/posix", `$&\n    option gfid2path ${value}`));
      }
    });
    await s.untilConnected();
  }
});
