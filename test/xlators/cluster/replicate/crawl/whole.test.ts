/** The daemon with the heals it has in earnest: the full crawl, and the hidden directory of heals. */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../../src/core/dict.ts";
import { type Gfid, gfidText, newGfid, parseGfid } from "../../../../../src/core/gfid.ts";
import { Inode } from "../../../../../src/core/inode.ts";
import { KEY } from "../../../../../src/core/keys.ts";
import { SetHealer } from "../../../../../xlators/cluster/replicate/crawl/set-healer.ts";
import type { Replicate } from "../../../../../xlators/cluster/replicate/replicate.ts";
import type { Session } from "../../../../support/session.ts";
import { Copies } from "../three-copies.ts";

const VOLUME = "11223344-5566-4788-99aa-bbccddeeff00";
const HIDDEN = `.glusterfs-anonymous-inode-${VOLUME}`;
/** The volume's id with the lowest bit of its first byte turned. */
const HIDDEN_GFID = parseGfid(VOLUME.replace(/^11/, "10"))!;

function start(): Promise<Copies> {
  const options = { "volume-id": VOLUME, "use-anonymous-inode": "on", "granular-entry-heal": "on" };
  return Copies.start({ options });
}

function healerOf(copies: Copies): SetHealer {
  return new SetHealer(copies.graph.xlator<Replicate>("v-replicate-0").set);
}

const INDEXES = [0, 1, 2];

describe("the full crawl", () => {
  it("makes and fills on a copy what it lost without a mark, and tells how much it looked at", async () => {
    await using copies = await start();
    const dir = await copies.session.mkdir("d");
    await copies.file("file", "kept", dir);
    await copies.file("lost", "content", dir);
    await copies.session.symlink("link", "file", { parent: dir });
    const brick = copies.brick(2);
    for (const name of ["lost", "link"])
      await brick.top.unlink(brick.call, { loc: brick.at(name, dir), flags: 0 });
    const healer = healerOf(copies);
    const seen = new Set<string>();
    const counts = await healer.full((path) => void seen.add(path));
    await healer.stop();
    expect([...seen].sort()).toEqual(["/", "/d", "/d/file", "/d/link", "/d/lost"]);
    expect(counts).toMatchObject({ failed: 0, splitBrain: 0 });
    expect(counts.healed).toBeGreaterThan(0);
    const lost = await brick.inode("lost", dir);
    const fd = await brick.open(lost);
    expect((await brick.read(fd)).toString()).toBe("content");
    await brick.release(fd);
    expect(await brick.exists("link", dir)).toBe(true);
    for (const index of INDEXES) expect(await copies.marks(index, lost)).toEqual({});
  });

  it("is one at a time, and ends when the daemon is stopped", async () => {
    await using copies = await start();
    await copies.file("file");
    const healer = healerOf(copies);
    const first = healer.full();
    expect(healer.full()).toBe(first);
    await healer.stop();
    await first;
  });
});

describe("what heals put aside", () => {
  async function hide(brick: Session, gfid: Gfid): Promise<void> {
    const root = brick.root;
    if (!(await brick.exists(HIDDEN, root))) {
      const xdata = new Dict().setGfid(KEY.GFID_REQ, HIDDEN_GFID);
      const args = { loc: brick.at(HIDDEN, root), mode: 0o700, umask: 0, xdata };
      await brick.top.mkdir(brick.call, args);
    }
    const xdata = new Dict().setGfid(KEY.GFID_REQ, gfid);
    const loc = brick.at(gfidText(gfid), await brick.inode(HIDDEN));
    await brick.top.mknod(brick.call, { loc, mode: 0o100600, rdev: 0, umask: 0, xdata });
  }

  async function hidden(brick: Session): Promise<string[]> {
    const names: string[] = [];
    const fd = await brick.opendir(await brick.inode(HIDDEN));
    const { entries } = await brick.top.readdir(brick.call, { fd, size: 4096, offset: 0n });
    names.push(...entries.map(({ name }) => name).filter((name) => !name.startsWith(".")));
    await brick.release(fd);
    return names;
  }

  async function crawl(copies: Copies): Promise<void> {
    const healer = healerOf(copies);
    healer.start();
    await copies.env.clock.advance(1);
    await healer.stop();
  }

  it("goes when no other copy has it", async () => {
    await using copies = await start();
    await hide(copies.brick(1), newGfid());
    await crawl(copies);
    expect(await hidden(copies.brick(1))).toEqual([]);
  });

  it("goes when every copy that has it put it aside", async () => {
    await using copies = await start();
    const gfid = newGfid();
    for (const index of [0, 2]) await hide(copies.brick(index), gfid);
    await crawl(copies);
    for (const index of [0, 2]) expect(await hidden(copies.brick(index))).toEqual([]);
  });

  it("stays while another copy has it under a name: it may have moved there", async () => {
    await using copies = await start();
    const file = await copies.file("moved");
    const brick = copies.brick(1);
    await brick.top.unlink(brick.call, { loc: brick.at("moved"), flags: 0 });
    await hide(brick, file.gfid);
    await crawl(copies);
    expect(await hidden(brick)).toEqual([gfidText(file.gfid)]);
  });

  it("goes when it has its name back on its own brick", async () => {
    await using copies = await start();
    const file = await copies.file("there");
    const brick = copies.brick(1);
    const gfid = newGfid();
    await hide(brick, gfid);
    const parked = await brick.inode(gfidText(gfid), await brick.inode(HIDDEN));
    for (const index of [0, 2]) {
      const xdata = new Dict().setGfid(KEY.GFID_REQ, gfid);
      const other = copies.brick(index);
      const args = { loc: other.at("back"), mode: 0o100600, rdev: 0, umask: 0, xdata };
      await other.top.mknod(other.call, args);
    }
    const to = { ...brick.at("back"), inode: parked };
    await brick.top.link(brick.call, { from: { inode: new Inode(gfid) }, to });
    await crawl(copies);
    expect(await hidden(brick)).toEqual([]);
    expect(await brick.exists("back")).toBe(true);
    expect(await brick.exists("there")).toBe(true);
    expect(file.linked).toBe(true);
  });

  it("stays while a copy is away", async () => {
    await using copies = await start();
    const gfid = newGfid();
    await hide(copies.brick(1), gfid);
    copies.wires[2]!.cut();
    await crawl(copies);
    expect(await hidden(copies.brick(1))).toEqual([gfidText(gfid)]);
  });
});
