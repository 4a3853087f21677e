/** features/index: what is listed when, on both kinds of store, and what crawls see of it. */

import { existsSync, readdirSync, statSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { XATTROP } from "../../../../src/core/fops.ts";
import { gfidText, newGfid, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { S_IFDIR, S_IFMT } from "../../../../src/core/iatt.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { INDEX_KEY } from "../../../../src/core/keys.ts";
import { Brick, type BrickPlace, brickPlace, counts, DIRTY, pendingKey } from "./brick-rig.ts";

const ENTRY_IN = (name: string): Dict => new Dict().setStr(INDEX_KEY.ENTRY_CREATE, name);
const ENTRY_OUT = (name: string): Dict => new Dict().setStr(INDEX_KEY.ENTRY_DELETE, name);
const NOTHING = { [pendingKey(0)]: counts(0), [pendingKey(1)]: counts(0) };

async function withBrick(kind: "memory" | "disk", test: (brick: Brick, place: BrickPlace) => Promise<void>) {
  await using place = await brickPlace(kind);
  await using brick = await Brick.start(place);
  await test(brick, place);
}

describe.each(["memory", "disk"] as const)("features/index in %s", (kind) => {
  it("lists a gfid while a mark of its class is not zero", () =>
    withBrick(kind, async (brick) => {
      const file = await brick.file("f");
      const text = gfidText(file.gfid);
      await brick.add(file, { ...NOTHING, [DIRTY]: counts(1) });
      expect(await brick.listed("DIRTY_GFID")).toEqual([text]);
      expect(await brick.listed("PENDING_GFID")).toEqual([]);
      await brick.add(file, { ...NOTHING, [pendingKey(2)]: counts(1), [DIRTY]: counts(-1) });
      expect(await brick.listed("DIRTY_GFID")).toEqual([]);
      expect(await brick.listed("PENDING_GFID")).toEqual([text]);
      await brick.add(file, { ...NOTHING, [pendingKey(2)]: counts(0) });
      expect(await brick.listed("PENDING_GFID")).toEqual([text]);
      await brick.add(file, { ...NOTHING, [pendingKey(2)]: counts(-1) });
      expect(await brick.listed("PENDING_GFID")).toEqual([]);
    }));

  it("does not list for increments of zero, other keys, or values that are set", () =>
    withBrick(kind, async (brick) => {
      const file = await brick.file("f");
      await brick.add(file, NOTHING);
      await brick.add(file, { "trusted.other": counts(1) });
      const args = { loc: { inode: file }, op: XATTROP.GET_AND_SET };
      await brick.top.xattrop(brick.call, { ...args, xattrs: Dict.ofBytes({ [pendingKey(1)]: counts(1) }) });
      expect(await brick.listed("PENDING_GFID")).toEqual([]);
      // The next xattrop that asks finds it.
      await brick.add(file, NOTHING);
      expect(await brick.listed("PENDING_GFID")).toEqual([gfidText(file.gfid)]);
    }));

  it("lists what it was about to mark also when the xattrop fails", () =>
    withBrick(kind, async (brick) => {
      const gone = new Inode(newGfid(), 0o100000);
      await expect(brick.add(gone, { [pendingKey(1)]: counts(1) })).rejects.toMatchObject({
        code: /ENOENT|ESTALE/,
      });
      expect(await brick.listed("PENDING_GFID")).toEqual([gfidText(gone.gfid)]);
    }));

  it("runs xattrops of one inode one after the other, so that the list is that of the last", () =>
    withBrick(kind, async (brick) => {
      const file = await brick.file("f");
      const fd = await brick.open(file);
      await Promise.all(
        Array.from({ length: 20 }, (_, i) => {
          const xattrs = Dict.ofBytes({ [DIRTY]: counts(i % 2 === 0 ? 1 : -1) });
          return brick.top.fxattrop(brick.call, { fd, op: XATTROP.ADD_ARRAY, xattrs });
        }),
      );
      expect(await brick.listed("DIRTY_GFID")).toEqual([]);
      await brick.add(file, { [DIRTY]: counts(1) });
      expect(await brick.listed("DIRTY_GFID")).toEqual([gfidText(file.gfid)]);
      await brick.top.release(fd);
    }));

  it("records names of a directory until they are equal everywhere or nothing is pending", () =>
    withBrick(kind, async (brick) => {
      const directory = await brick.directory("d");
      const text = gfidText(directory.gfid);
      const pending = { ...NOTHING, [pendingKey(1)]: counts(0, 0, 1) };
      for (const name of ["a", "b", "\u{1f600} c"]) await brick.add(directory, pending, ENTRY_IN(name));
      const changes = await brick.indexDirectory(INDEX_KEY.ENTRY_CHANGES_GFID);
      expect(await brick.names(changes)).toEqual([text]);
      const inode = new Inode();
      const { stat } = await brick.top.lookup(brick.call, { loc: { inode, parent: changes, name: text } });
      expect(stat.mode & S_IFMT).toBe(S_IFDIR);
      const names = new Inode(stat.gfid, S_IFDIR);
      expect(await brick.names(names)).toEqual(["a", "b", "\u{1f600} c"].sort());
      await brick.add(directory, NOTHING, ENTRY_OUT("a"));
      expect(await brick.names(names)).toEqual(["b", "\u{1f600} c"].sort());
      await brick.top.unlink(brick.call, { loc: { inode: new Inode(), parent: names, name: "b" }, flags: 0 });
      expect(await brick.names(names)).toEqual(["\u{1f600} c"]);
    }));

  it("moves left-over names aside when the directory has nothing pending, and forgets them when wiped", () =>
    withBrick(kind, async (brick) => {
      const directory = await brick.directory("d");
      await brick.add(directory, { [pendingKey(1)]: counts(0, 0, 1) }, ENTRY_IN("a"));
      const purge = new Dict().setInt(INDEX_KEY.PURGE, 1);
      await brick.add(directory, { [pendingKey(1)]: counts(0, 0, -1) }, purge);
      const [aside, ...none] = await brick.listed("ENTRY_CHANGES_GFID");
      expect(none).toEqual([]);
      expect(aside).not.toBe(gfidText(directory.gfid));
      const parent = await brick.indexDirectory(INDEX_KEY.ENTRY_CHANGES_GFID);
      await brick.top.rmdir(brick.call, { loc: { inode: new Inode(), parent, name: aside! }, flags: 1 });
      expect(await brick.listed("ENTRY_CHANGES_GFID")).toEqual([]);
    }));

  it("keeps the names of changes that are under way when another one ends without blame", () =>
    withBrick(kind, async (brick) => {
      const directory = await brick.directory("d");
      const begins = { ...NOTHING, [DIRTY]: counts(0, 0, 1) };
      for (const name of ["a", "b"]) await brick.add(directory, begins, ENTRY_IN(name));
      await brick.add(directory, { ...NOTHING, [DIRTY]: counts(0, 0, -1) });
      // Only now it is known that a copy missed the other one.
      await brick.add(directory, { [pendingKey(1)]: counts(0, 0, 1), [DIRTY]: counts(0, 0, -1) });
      expect(await brick.listed("ENTRY_CHANGES_GFID")).toEqual([gfidText(directory.gfid)]);
    }));

  it("refuses names that are none before anything is marked", () =>
    withBrick(kind, async (brick) => {
      const directory = await brick.directory("d");
      for (const name of ["a/b", "..", ".", ""]) {
        const done = brick.add(directory, { [pendingKey(1)]: counts(0, 0, 1) }, ENTRY_IN(name));
        await expect(done).rejects.toMatchObject({ code: "EINVAL" });
      }
      expect((await brick.add(directory, NOTHING)).bytes(pendingKey(1))).toEqual(counts(0));
    }));

  it("takes out what a crawl unlinks, and lists it again with the next mark", () =>
    withBrick(kind, async (brick) => {
      const file = await brick.file("f");
      await brick.add(file, { [pendingKey(1)]: counts(1) });
      const parent = await brick.indexDirectory(INDEX_KEY.PENDING_GFID);
      const loc = { inode: new Inode(), parent, name: gfidText(file.gfid) };
      await brick.top.lookup(brick.call, { loc });
      await brick.top.unlink(brick.call, { loc, flags: 0 });
      expect(await brick.names(parent)).toEqual([]);
      await expect(brick.top.lookup(brick.call, { loc })).rejects.toMatchObject({ code: "ENOENT" });
      await brick.add(file, { [pendingKey(1)]: counts(1) });
      expect(await brick.names(parent)).toEqual([gfidText(file.gfid)]);
    }));

  it("counts, and says in lookup and fstat whether anything is pending", () =>
    withBrick(kind, async (brick) => {
      const file = await brick.file("f");
      const fd = await brick.open(file);
      const xdata = new Dict().setStr(INDEX_KEY.LINK_COUNT, INDEX_KEY.PENDING_COUNT);
      const flags = async (): Promise<unknown[]> => {
        const looked = await brick.top.lookup(brick.call, { loc: { inode: brick.root }, xdata });
        const stat = await brick.top.fstat(brick.call, { fd, xdata });
        return [looked, stat].map((reply) => reply.xdata?.number(INDEX_KEY.LINK_COUNT));
      };
      const count = async (name: string): Promise<unknown> =>
        (await brick.top.getxattr(brick.call, { loc: { inode: brick.root }, name })).xattrs.number(name);
      expect(await flags()).toEqual([0, 0]);
      await brick.add(file, { [pendingKey(1)]: counts(1), [DIRTY]: counts(1) });
      await brick.add(brick.root, { [pendingKey(1)]: counts(0, 0, 1) });
      expect(await flags()).toEqual([1, 1]);
      expect(await count(INDEX_KEY.PENDING_COUNT)).toBe(2);
      expect(await count(INDEX_KEY.DIRTY_COUNT)).toBe(1);
      const plain = await brick.top.lookup(brick.call, { loc: { inode: brick.root } });
      expect(plain.xdata?.has(INDEX_KEY.LINK_COUNT) ?? false).toBe(false);
      await brick.top.release(fd);
    }));

  it("says what kind of objects it lists, and fills in their types when asked", () =>
    withBrick(kind, async (brick) => {
      const directory = await brick.directory("d");
      const gone = new Inode(newGfid(), 0o100000);
      await brick.add(gone, { [pendingKey(1)]: counts(1) }).catch(() => {});
      await brick.add(directory, { [pendingKey(1)]: counts(0, 1) });
      const inode = await brick.indexDirectory(INDEX_KEY.PENDING_GFID);
      const asked = new Dict().setUint(INDEX_KEY.IA_TYPE_REQUEST, 1);
      const looked = await brick.top.lookup(brick.call, { loc: { inode }, xdata: asked });
      expect(looked.xdata?.number(INDEX_KEY.IA_TYPE_REPLY)).toBe(1);
      const xdata = new Dict().setUint(INDEX_KEY.GET_GFID_TYPE, 1);
      const { Fd } = await import("../../../../src/core/inode.ts");
      const fd = new Fd(inode, 0);
      await brick.top.opendir(brick.call, { loc: { inode }, fd });
      const { entries } = await brick.top.readdir(brick.call, { fd, size: 4096, offset: 0n, xdata });
      await brick.top.releasedir(fd);
      const types = new Map(entries.map(({ name, type }) => [name, type]));
      expect(types.get(gfidText(directory.gfid))).toBe(4);
      expect(types.get(gfidText(gone.gfid))).toBe(0);
    }));

  it("gives a long list in pages, once each, whatever is taken out meanwhile", () =>
    withBrick(kind, async (brick) => {
      const expected: string[] = [];
      for (let i = 0; i < 60; i++) {
        const gone = new Inode(newGfid(), 0o100000);
        await brick.add(gone, { [DIRTY]: counts(1) }).catch(() => {});
        expected.push(gfidText(gone.gfid));
      }
      const inode = await brick.indexDirectory(INDEX_KEY.DIRTY_GFID);
      expect(await brick.names(inode, 200)).toEqual(expected.sort());
      expect(await brick.names(inode, 1)).toEqual(expected);
    }));

  it("finds everything again after a restart, under new gfids", async () => {
    await using place = await brickPlace(kind);
    let before: Buffer;
    {
      await using brick = await Brick.start(place);
      await brick.add(await brick.file("f", 0, ROOT_GFID.map((byte) => byte + 1) as never), {
        [DIRTY]: counts(1),
      });
      await brick.add(brick.root, { [pendingKey(1)]: counts(0, 0, 1) }, ENTRY_IN("name"));
      before = (await brick.indexDirectory(INDEX_KEY.DIRTY_GFID)).gfid;
    }
    await using brick = await Brick.start(place);
    expect(await brick.listed("DIRTY_GFID")).toEqual(["01010101-0101-0101-0101-010101010102"]);
    expect(await brick.listed("PENDING_GFID")).toEqual([gfidText(ROOT_GFID)]);
    expect(await brick.listed("ENTRY_CHANGES_GFID")).toEqual([gfidText(ROOT_GFID)]);
    expect((await brick.indexDirectory(INDEX_KEY.DIRTY_GFID)).gfid).not.toEqual(before);
  });

  it("says ENODATA or ENOENT for what it does not have", () =>
    withBrick(kind, async (brick) => {
      const changes = await brick.indexDirectory(INDEX_KEY.ENTRY_CHANGES_GFID);
      const pending = await brick.indexDirectory(INDEX_KEY.PENDING_GFID);
      const missing = { inode: new Inode(), parent: changes, name: gfidText(newGfid()) };
      await expect(brick.top.lookup(brick.call, { loc: missing })).rejects.toMatchObject({ code: "ENOENT" });
      for (const flags of [0, 1]) await brick.top.rmdir(brick.call, { loc: missing, flags });
      const loc = { inode: new Inode(), parent: pending, name: "no-gfid" };
      await expect(brick.top.unlink(brick.call, { loc, flags: 0 })).rejects.toMatchObject({ code: "ENOENT" });
    }));
});

describe("the index on disk", () => {
  const links = (path: string): number => statSync(path).nlink;

  it("has GlusterFS' layout: empty base files of mode 000 and hard links to them", async () => {
    await using place = await brickPlace("disk");
    await using brick = await Brick.start(place);
    const file = await brick.file("f");
    await brick.add(file, { [pendingKey(1)]: counts(1), [DIRTY]: counts(1) });
    await brick.add(brick.root, { [pendingKey(1)]: counts(0, 0, 1) }, ENTRY_IN("f"));
    const base = `${place.directory}/.glusterfs/indices`;
    expect(readdirSync(base).sort()).toEqual(["dirty", "entry-changes", "xattrop"]);
    const uuids = new Set<string>();
    for (const [which, path, count] of [
      ["xattrop", gfidText(file.gfid), 3],
      ["dirty", gfidText(file.gfid), 2],
      ["entry-changes", `${gfidText(ROOT_GFID)}/f`, 2],
    ] as const) {
      const [name] = readdirSync(`${base}/${which}`).filter((one) => one.startsWith(`${which}-`));
      uuids.add(name!.slice(which.length + 1));
      const stat = statSync(`${base}/${which}/${name}`);
      expect({ mode: stat.mode, size: stat.size, nlink: stat.nlink }).toEqual({
        mode: 0o100000,
        size: 0,
        nlink: count,
      });
      expect(statSync(`${base}/${which}/${path}`).ino).toBe(stat.ino);
    }
    expect(uuids.size).toBe(1);
  });

  it("starts with new base files and removes old ones that nothing is linked to", async () => {
    await using place = await brickPlace("disk");
    const dirty = `${place.directory}/.glusterfs/indices/dirty`;
    const bases = (): string[] => readdirSync(dirty).filter((name) => name.startsWith("dirty-"));
    let kept: Inode;
    {
      await using brick = await Brick.start(place);
      kept = await brick.file("kept");
      await brick.add(kept, { [DIRTY]: counts(1) });
    }
    const [first] = bases();
    {
      await using brick = await Brick.start(place);
      await brick.add(await brick.file("f"), { [DIRTY]: counts(1) });
      expect(bases()).toHaveLength(2);
      expect(links(`${dirty}/${first}`)).toBe(2);
      await brick.add(kept, { [DIRTY]: counts(-1) });
      await brick.listed("DIRTY_GFID");
      expect(existsSync(`${dirty}/${first}`)).toBe(false);
    }
  });

  it("refuses a base without a place for it, by name", async () => {
    await using place = await brickPlace("disk");
    const start = Brick.start(place, { "index-base": "/nonexistent/indices" });
    await expect(start).rejects.toThrow('index-base "/nonexistent/indices": cannot be used: ENOENT');
  });
});
