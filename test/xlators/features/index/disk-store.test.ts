/** The index on disk where the file system sets limits: links of one file, room, and what goes missing. */

import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FopError } from "../../../../src/core/errors.ts";
import { gfidText, newGfid } from "../../../../src/core/gfid.ts";
import { DiskIndexStore } from "../../../../xlators/features/index/disk-store.ts";

/** Links that a file may have; 65000 on ext4, which takes too long to reach. */
const limits = vi.hoisted(() => ({ linksMax: Number.POSITIVE_INFINITY, full: false }));

vi.mock(import("../../../../src/os/files.ts"), async (importOriginal) => {
  const files = await importOriginal();
  return {
    ...files,
    async link(from, to) {
      if (limits.full) throw new FopError("ENOSPC");
      const isThere = lstatSync(from, { throwIfNoEntry: false });
      if (isThere && isThere.nlink >= limits.linksMax) throw new FopError("EMLINK");
      await files.link(from, to);
    },
  };
});

let hidden: string;
let store: DiskIndexStore;

beforeEach(async () => {
  hidden = join(mkdtempSync(join(tmpdir(), "mortar-index-")), ".glusterfs");
  mkdirSync(join(hidden, "unlink"), { recursive: true });
  store = new DiskIndexStore(join(hidden, "indices"));
  await store.open();
});

afterEach(() => {
  limits.linksMax = Number.POSITIVE_INFINITY;
  limits.full = false;
  rmSync(join(hidden, ".."), { recursive: true, force: true });
});

const bases = (which: string): string[] =>
  readdirSync(join(hidden, "indices", which)).filter((name) => name.startsWith(`${which}-`));

async function names(which: "xattrop" | "dirty" | "entry-changes"): Promise<string[]> {
  return (await store.list({ class: which })).map(({ name }) => name).sort();
}

describe("DiskIndexStore", () => {
  it("goes on with another base file when one has all the links it may have", async () => {
    limits.linksMax = 4;
    const gfids = Array.from({ length: 10 }, newGfid);
    for (const gfid of gfids) await store.add("dirty", gfid);
    expect(await names("dirty")).toEqual(gfids.map(gfidText).sort());
    expect(bases("dirty")).toHaveLength(4);
    expect(store.count("dirty")).toBe(10);
    for (const gfid of gfids) await store.remove("dirty", gfid);
    expect(await names("dirty")).toEqual([]);
    expect(bases("dirty").length).toBeLessThanOrEqual(1);
    expect(store.count("dirty")).toBe(0);
  });

  it("counts an entry once, however often it is added or removed", async () => {
    const gfid = newGfid();
    await Promise.all([store.add("xattrop", gfid), store.add("xattrop", gfid), store.add("xattrop", gfid)]);
    expect(store.count("xattrop")).toBe(1);
    await Promise.all([store.remove("xattrop", gfid), store.remove("xattrop", gfid)]);
    expect(store.count("xattrop")).toBe(0);
  });

  it("makes its directories again when somebody removed them", async () => {
    const gfid = newGfid();
    await store.add("dirty", gfid);
    rmSync(join(hidden, "indices"), { recursive: true });
    await store.add("dirty", newGfid());
    await store.addName(gfid, "name");
    expect(await names("dirty")).toHaveLength(1);
    expect(await names("entry-changes")).toEqual([gfidText(gfid)]);
  });

  it("tells when there is no room", async () => {
    limits.full = true;
    await expect(store.add("dirty", newGfid())).rejects.toMatchObject({ code: "ENOSPC" });
    await expect(store.addName(newGfid(), "name")).rejects.toMatchObject({ code: "ENOSPC" });
  });

  it("keeps names of any bytes but those that lead elsewhere", async () => {
    const directory = newGfid();
    const odd = ["\u{1f600}", "a\nb", "\udcff\udc80", "-", "xattrop-1"];
    for (const name of odd) await store.addName(directory, name);
    const listed = await store.list({ class: "entry-changes", of: gfidText(directory) });
    expect(listed.map(({ name }) => name).sort()).toEqual([...odd].sort());
    for (const name of ["", ".", "..", "a/b", "../../../etc"]) {
      await expect(store.addName(directory, name)).rejects.toMatchObject({ code: "EINVAL" });
      await expect(store.removeName(gfidText(directory), name)).rejects.toMatchObject({ code: "EINVAL" });
    }
    await store.wipeDirectory(gfidText(directory));
    expect(existsSync(join(hidden, "indices/entry-changes", gfidText(directory)))).toBe(false);
  });

  it("is usable without records when there is no place for them", async () => {
    rmSync(join(hidden, "unlink"), { recursive: true });
    const other = new DiskIndexStore(join(hidden, "indices"));
    await other.open();
    expect(other.records).toBeUndefined();
    await other.add("dirty", newGfid());
    expect(other.count("dirty")).toBe(1);
  });

  it("leaves no record that was being written when the power failed", async () => {
    await store.records!.replace("whole", Buffer.from("1"));
    const token = readdirSync(join(hidden, "unlink"))[0]!;
    writeFileSync(join(hidden, "mortar-changes/half.new"), "2");
    renameSync(join(hidden, "unlink", token), join(hidden, "unlink", `${token}.seen`));
    const other = new DiskIndexStore(join(hidden, "indices"));
    await other.open();
    expect(other.records!.has("whole")).toBe(true);
    expect(readdirSync(join(hidden, "mortar-changes")).sort()).toEqual(["owner", "whole"]);
  });
});
