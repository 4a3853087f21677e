import { beforeEach, describe, expect, it } from "vitest";
import { Paths } from "../../mount/fuse-native/paths.ts";
import { type Call, internalCall } from "../../src/core/call.ts";
import type { Clock } from "../../src/core/env.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { type Gfid, gfidKey, newGfid, ROOT_GFID } from "../../src/core/gfid.ts";
import { S_IFDIR, S_IFREG, ZERO_IATT } from "../../src/core/iatt.ts";
import { InodeTable } from "../../src/core/inode.ts";

const call = internalCall();

/** Directories by gfid, and what was asked of them. */
class FakeVolume {
  readonly asked: string[] = [];
  readonly #entries = new Map<string, { gfid: Gfid; mode: number }>();

  put(parent: Gfid, name: string, mode: number, gfid = newGfid()): Gfid {
    this.#entries.set(gfidKey(parent) + name, { gfid, mode });
    return gfid;
  }

  remove(parent: Gfid, name: string): void {
    this.#entries.delete(gfidKey(parent) + name);
  }

  async lookup(_call: Call, { loc, xdata }: Args<"lookup">): Promise<Reply<"lookup">> {
    const { parent, name, inode } = loc;
    if (parent === undefined || name === undefined) {
      this.asked.push("/");
      return { stat: { ...ZERO_IATT, gfid: inode.gfid, mode: S_IFDIR }, postParent: ZERO_IATT };
    }
    this.asked.push(name);
    if (!inode.linked && xdata?.gfid("gfid-req") === undefined) throw new FopError("EINVAL");
    const entry = this.#entries.get(gfidKey(parent.gfid) + name);
    if (entry === undefined) throw new FopError("ENOENT");
    if (inode.linked && !inode.gfid.equals(entry.gfid)) throw new FopError("ESTALE");
    return { stat: { ...ZERO_IATT, ...entry }, postParent: ZERO_IATT };
  }
}

let nowMs = 0;
const clock: Clock = {
  nowMs: () => nowMs,
  wall: () => ({ sec: 0, nsec: 0 }),
  after: () => ({ cancel() {} }),
};
let volume: FakeVolume;
let paths: Paths;
let directory: Gfid;
let file: Gfid;

beforeEach(() => {
  nowMs = 0;
  volume = new FakeVolume();
  directory = volume.put(ROOT_GFID, "dir", S_IFDIR);
  file = volume.put(directory, "file", S_IFREG);
  paths = new Paths({ top: volume, table: new InodeTable(), clock, ttlMs: 1000 });
});

/** The names asked of the volume by `work`. */
async function askedBy(work: () => Promise<unknown>): Promise<string[]> {
  volume.asked.length = 0;
  await work();
  return volume.asked.slice();
}

describe("resolving a path", () => {
  it("asks for each name once, then answers from the cache while it is fresh", async () => {
    expect(await askedBy(() => paths.resolve(call, "/dir/file"))).toEqual(["dir", "file"]);
    expect(await askedBy(() => paths.resolve(call, "/dir/file"))).toEqual([]);
    expect(await paths.resolve(call, "/dir/file")).toMatchObject({ cached: true, inode: { gfid: file } });
  });

  it("asks again when an entry has had its time", async () => {
    await paths.resolve(call, "/dir/file");
    nowMs = 1000;
    expect(await askedBy(() => paths.resolve(call, "/dir/file"))).toEqual(["dir", "file"]);
  });

  it("gives one inode object for one file under two names", async () => {
    volume.put(ROOT_GFID, "other", S_IFREG, file);
    const one = await paths.resolve(call, "/dir/file");
    const two = await paths.resolve(call, "/other");
    expect(two.inode).toBe(one.inode);
  });

  it("finds what lies below a renamed directory without asking for it again", async () => {
    const { inode } = await paths.resolve(call, "/dir/file");
    const { parent } = await paths.place(call, "/dir");
    const moved = (await paths.resolve(call, "/dir")).inode;
    volume.remove(ROOT_GFID, "dir");
    volume.put(ROOT_GFID, "moved", S_IFDIR, directory);
    paths.drop(parent, "dir");
    paths.learn(parent, "moved", moved, { ...ZERO_IATT, gfid: directory, mode: S_IFDIR });
    expect(await askedBy(() => paths.resolve(call, "/moved/file"))).toEqual([]);
    expect((await paths.resolve(call, "/moved/file")).inode).toBe(inode);
    await expect(paths.resolve(call, "/dir/file")).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("passes the root without asking", async () => {
    expect(await askedBy(() => paths.resolve(call, "/"))).toEqual([]);
  });
});

describe("looking a path up", () => {
  it("always asks for the last name", async () => {
    await paths.lookup(call, "/dir/file");
    expect(await askedBy(() => paths.lookup(call, "/dir/file"))).toEqual(["file"]);
    expect(await askedBy(() => paths.lookup(call, "/"))).toEqual(["/"]);
  });

  it("does not walk the whole path again for a name that is missing", async () => {
    await paths.resolve(call, "/dir");
    expect(await askedBy(() => paths.lookup(call, "/dir/none").catch(() => {}))).toEqual(["none"]);
  });

  it("takes a file that replaced another as a new inode", async () => {
    const before = await paths.lookup(call, "/dir/file");
    const replaced = volume.put(directory, "file", S_IFREG);
    const after = await paths.lookup(call, "/dir/file");
    expect(after.inode).not.toBe(before.inode);
    expect(after.inode.gfid).toEqual(replaced);
    expect(before.inode.gfid).toEqual(file);
  });

  it("refuses a reply without a gfid", async () => {
    volume.put(directory, "bad", S_IFREG, ZERO_IATT.gfid);
    await expect(paths.lookup(call, "/dir/bad")).rejects.toMatchObject({ code: "EIO" });
  });

  it("refuses a name that was not UTF-8 before it reaches the volume", async () => {
    await paths.resolve(call, "/dir");
    const mangled = paths.lookup(call, "/dir/caf\ufffd");
    await expect(mangled).rejects.toMatchObject({ code: "EINVAL" });
    expect(volume.asked).not.toContain("caf\ufffd");
  });
});

describe("a directory of the volume as the root", () => {
  it("makes every path begin there", async () => {
    await paths.useRoot(call, "/dir");
    expect((await paths.resolve(call, "/file")).inode.gfid).toEqual(file);
    await expect(paths.resolve(call, "/dir")).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("must be a directory", async () => {
    await expect(paths.useRoot(call, "/dir/file")).rejects.toMatchObject({ code: "ENOTDIR" });
  });
});

it("the root itself has no place to be removed from", async () => {
  await expect(paths.place(call, "/")).rejects.toMatchObject({ code: "EBUSY" });
});

it("forgetting a path drops each entry on it", async () => {
  await paths.resolve(call, "/dir/file");
  expect(paths.forget("/dir/file")).toBe(true);
  expect(paths.forget("/dir/file")).toBe(false);
  expect(await askedBy(() => paths.resolve(call, "/dir/file"))).toEqual(["dir", "file"]);
});
