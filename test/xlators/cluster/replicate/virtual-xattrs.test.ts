/** Xattrs that replicate answers itself or acts on (spec translators.md 4.10). */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { ROOT_GFID } from "../../../../src/core/gfid.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import type { ChildEvent } from "../../../../src/core/xlator.ts";
import { runClock, startCopies as start } from "./heal-rig.ts";
import type { Copies, CopiesOptions } from "./three-copies.ts";

const STATUS = "replica.split-brain-status";
const CHOICE = "replica.split-brain-choice";
const TIMEOUT = "replica.split-brain-choice-timeout";
const FINALIZE = "replica.split-brain-heal-finalize";
const HEALTHY = "The file is not under data or metadata split-brain";

/** Without contracts between the layers, for they would give the copies other names. */
function startCopies(options: CopiesOptions = {}): Promise<Copies> {
  return start({ ...options, contracts: false });
}

async function textOf(copies: Copies, inode: Inode, name: string): Promise<string | undefined> {
  const { top, call } = copies.session;
  return (await top.getxattr(call, { loc: { inode }, name })).xattrs.text(name);
}

/** A file of which every copy has other content and blames all others for it. */
async function splitBrain(copies: Copies, name = "f"): Promise<Inode> {
  const inode = await copies.file(name, "same");
  for (const index of [0, 1, 2]) {
    await copies.env.clock.advance(1000);
    await copies.scribble(index, inode, `copy ${index}`);
    for (const other of [0, 1, 2]) if (other !== index) await copies.mark(index, inode, other, [1, 0, 0]);
  }
  copies.wires[0]!.cut();
  copies.wires[0]!.mend();
  return inode;
}

function read(copies: Copies, inode: Inode): Promise<string> {
  const { session } = copies;
  return session.open(inode).then((fd) => session.text(fd));
}

describe("marks", () => {
  it("are neither listed nor read nor set", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    const inode = await copies.file("f");
    await session.setxattr(inode, "user.one", "1");
    await copies.mark(0, inode, 1, [1, 0, 0]);
    await copies.mark(2, inode, 1, [1, 0, 0]);
    expect(await session.listxattr(inode)).toEqual(["user.one"]);
    await expect(session.getxattr(inode, "trusted.afr.v-client-1")).rejects.toMatchObject({
      code: "ENODATA",
    });
    const zero = Buffer.alloc(12);
    await expect(session.setxattr(inode, "trusted.afr.v-client-1", zero)).rejects.toMatchObject({
      code: "EPERM",
    });
  });
});

describe("pathinfo", () => {
  it("names the set and where each copy is", async () => {
    await using copies = await startCopies();
    const place = (index: number): string => `<POSIX(/b${index}):host:/b${index}/>`;
    for (const [index, error] of copies.errors.entries()) {
      Object.assign(error, {
        getxattr: async (_: unknown, { name }: { name: string }) => ({
          xattrs: new Dict().setStr(name, place(index)),
        }),
      });
    }
    const { root } = copies.session;
    expect(await textOf(copies, root, "trusted.glusterfs.pathinfo")).toBe(
      `(<REPLICATE:v-replicate-0> ${place(0)} ${place(1)} ${place(2)})`,
    );
    copies.wires[1]!.cut();
    expect(await textOf(copies, root, "glusterfs.pathinfo")).toBe(
      `(<REPLICATE:v-replicate-0> ${place(0)} ${place(2)})`,
    );
  });
});

describe("split brain", () => {
  it("is told, with the copies to choose from", async () => {
    await using copies = await startCopies();
    const healthy = await copies.file("healthy");
    const inode = await splitBrain(copies);
    expect(await textOf(copies, inode, STATUS)).toBe(
      "data-split-brain:yes    metadata-split-brain:no    Choices:v-client-0,v-client-1,v-client-2",
    );
    expect(await textOf(copies, healthy, STATUS)).toBe(HEALTHY);
  });

  it("lets a chosen copy be read, for five minutes", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    const inode = await splitBrain(copies);
    await expect(read(copies, inode)).rejects.toMatchObject({ code: "EIO" });
    await session.setxattr(inode, CHOICE, "v-client-2");
    expect(await read(copies, inode)).toBe("copy 2");
    expect((await session.statInode(inode)).size).toBe(6);
    await session.setxattr(inode, CHOICE, "v-client-1");
    expect(await read(copies, inode)).toBe("copy 1");
    await copies.env.clock.advance(299_000);
    expect(await read(copies, inode)).toBe("copy 1");
    await copies.env.clock.advance(1_001);
    await expect(read(copies, inode)).rejects.toMatchObject({ code: "EIO" });
  });

  it("takes a choice back, and other times to keep it", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    const inode = await splitBrain(copies);
    await session.setxattr(session.root, TIMEOUT, "1");
    await session.setxattr(inode, CHOICE, "v-client-0");
    await copies.env.clock.advance(61_000);
    await expect(read(copies, inode)).rejects.toMatchObject({ code: "EIO" });
    await session.setxattr(inode, CHOICE, "v-client-0");
    expect(await read(copies, inode)).toBe("copy 0");
    await session.setxattr(inode, CHOICE, "none");
    await expect(read(copies, inode)).rejects.toMatchObject({ code: "EIO" });
  });

  it("has the kernel forget what it read of another copy", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    const inode = await splitBrain(copies);
    const events: ChildEvent[] = [];
    session.top.addParent({ onChildEvent: (event) => events.push(event) });
    await session.setxattr(inode, CHOICE, "v-client-2");
    const [event] = events.filter(({ type }) => type === "upcall");
    expect(event).toMatchObject({ upcall: { kind: "cache-invalidation", gfid: inode.gfid } });
  });

  it("refuses choices that are none", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    const inode = await splitBrain(copies);
    const healthy = await copies.file("healthy");
    for (const choice of ["v-client-3", ""])
      await expect(session.setxattr(inode, CHOICE, choice)).rejects.toMatchObject({ code: "EINVAL" });
    await expect(session.setxattr(inode, FINALIZE, "who")).rejects.toMatchObject({ code: "EINVAL" });
    await expect(session.setxattr(healthy, CHOICE, "v-client-0")).rejects.toMatchObject({ code: "EINVAL" });
  });

  it("ends with the content of the copy that is named", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    const inode = await splitBrain(copies);
    await runClock(copies, session.setxattr(inode, FINALIZE, "v-client-1"));
    expect(await read(copies, inode)).toBe("copy 1");
    for (const index of [0, 1, 2]) expect(await copies.marks(index, inode)).toEqual({});
    expect(await textOf(copies, inode, STATUS)).toBe(HEALTHY);
  });

  it("is not ended while a copy is away", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    const inode = await splitBrain(copies);
    copies.wires[0]!.cut();
    const ending = runClock(copies, session.setxattr(inode, FINALIZE, "v-client-1"));
    await expect(ending).rejects.toMatchObject({ code: "ENOTCONN" });
  });

  it.each([
    ["without a lookup before", false, "off"],
    ["after a lookup", true, "off"],
    ["after a lookup that has it healed", true, "on"],
  ])("is settled by the volume's policy when somebody reads, %s", async (_, looks, heals) => {
    const policy = { "favorite-child-policy": "mtime", "data-self-heal": heals };
    await using copies = await startCopies({ options: policy });
    const inode = await splitBrain(copies);
    if (looks) await copies.session.lookup("f");
    // The last one that was written to has the newest time.
    const found = await runClock(copies, read(copies, inode));
    expect(found).toBe("copy 2");
    for (const index of [0, 1, 2]) expect(await copies.marks(index, inode)).toEqual({});
  });
});

describe("glusterfs.heal-info", () => {
  it("says whether a heal is due", async () => {
    await using copies = await startCopies();
    const { top, call } = copies.session;
    const inode = await copies.file("f");
    const info = async (): Promise<string | undefined> =>
      (await top.getxattr(call, { loc: { inode }, name: "glusterfs.heal-info" })).xattrs.text("heal-info");
    expect(await info()).toBe("no-heal");
    for (const index of [0, 1]) await copies.mark(index, inode, 2, [1, 0, 0]);
    expect(await info()).toBe("heal-pending");
  });
});

describe("an empty new copy", () => {
  const blame = (copies: Copies, pid: number, name: string): Promise<void> => {
    const session = copies.session.as({ pid });
    return session.setxattr(session.root, "trusted.replace-brick", name);
  };

  it("is blamed for everything on the root of the others", async () => {
    await using copies = await startCopies({ options: { "granular-entry-heal": "on" } });
    await blame(copies, -12, "v-client-1");
    const { root } = copies.session;
    expect(root.gfid.equals(ROOT_GFID)).toBe(true);
    for (const index of [0, 1, 2]) expect(await copies.marks(index, root)).toEqual({ 1: [1, 1, 1] });
  });

  it("is declared by volume management alone, and other sets pass it over", async () => {
    await using copies = await startCopies();
    await expect(blame(copies, 1000, "v-client-1")).rejects.toMatchObject({ code: "EPERM" });
    await blame(copies, -12, "v-client-7");
    expect(await copies.marks(0, copies.session.root)).toEqual({});
  });
});
