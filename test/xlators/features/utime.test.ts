/** features/utime: which times each fop moves, and whose clock they come from. */

import { describe, expect, it } from "vitest";
import { type Call, internalCall, TIME_FLAGS } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import { type Args, FOP_NAMES, type FopName } from "../../../src/core/fops.ts";
import { newGfid } from "../../../src/core/gfid.ts";
import { SETATTR, ZERO_IATT } from "../../../src/core/iatt.ts";
import { Inode } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { wind } from "../../../src/core/xlator.ts";
import { utime } from "../../../xlators/features/utime.ts";
import { above } from "./fake-child.ts";

const call: Call = { ...internalCall(), uid: 7 };

/** As letters: a, m, c for the object, M, C for its parent; fops that are not listed carry no time. */
const MOVES: Partial<Record<FopName, string>> = {
  mknod: "amcMC",
  mkdir: "amcMC",
  symlink: "amcMC",
  create: "amcMC",
  unlink: "cMC",
  rmdir: "cMC",
  rename: "cMC",
  link: "cMC",
  truncate: "mc",
  ftruncate: "mc",
  writev: "mc",
  copy_file_range: "mc",
  fallocate: "am",
  zerofill: "am",
  removexattr: "c",
  fremovexattr: "c",
  open: "",
  opendir: "",
  readv: "",
};

function letters(flags: number): string {
  const { ATIME, MTIME, CTIME, PARENT_MTIME, PARENT_CTIME } = TIME_FLAGS;
  const table = { a: ATIME, m: MTIME, c: CTIME, M: PARENT_MTIME, C: PARENT_CTIME };
  return Object.entries(table)
    .filter(([, bit]) => flags & bit)
    .map(([letter]) => letter)
    .join("");
}

describe("features/utime", () => {
  const others: readonly FopName[] = ["setattr", "fsetattr", "lookup"];
  it.each(FOP_NAMES.filter((fop) => !others.includes(fop)))("%s moves the times it should", async (fop) => {
    const { top, asked, env } = above(utime);
    await wind(top, fop, call, {} as never);
    const { time, uid } = asked[0]!.call;
    expect(uid).toBe(7);
    expect(time && letters(time.flags)).toBe(MOVES[fop]);
    if (time) expect({ sec: time.sec, nsec: time.nsec }).toEqual(env.clock.wall());
  });

  it("moves access times of reads and opens only without noatime", async () => {
    const { top, asked } = above(utime, { noatime: "off" });
    for (const fop of ["open", "opendir", "readv"] as const) await wind(top, fop, call, {} as never);
    expect(asked.map((one) => letters(one.call.time!.flags))).toEqual(["a", "a", "a"]);
  });

  it("setattr moves ctime for owner and mode, and takes the caller's clock for now", async () => {
    const stat = { ...ZERO_IATT, atime: 5, atimeNsec: 6, mtime: 7, mtimeNsec: 8 };
    const time = async (valid: number) => {
      const { top, asked } = above(utime);
      await top.setattr(call, { loc: { inode: new Inode() }, stat, valid });
      return asked[0]!.call.time!;
    };
    expect(letters((await time(SETATTR.MODE)).flags)).toBe("c");
    expect(letters((await time(SETATTR.GID)).flags)).toBe("c");
    expect(letters((await time(0)).flags)).toBe("c");
    expect(letters((await time(SETATTR.ATIME)).flags)).toBe("");
    expect(await time(SETATTR.ATIME | SETATTR.ATIME_NOW)).toMatchObject({ sec: 5, nsec: 6 });
    expect(await time(SETATTR.MTIME | SETATTR.MTIME_NOW)).toMatchObject({ sec: 7, nsec: 8 });
  });

  describe("lookup", () => {
    const stat = { ...ZERO_IATT, gfid: newGfid(), mode: 0o100644, mtime: 3, mtimeNsec: 4 };
    const args: Args<"lookup"> = { loc: { inode: new Inode() }, xdata: new Dict().setInt("k", 1) };

    it("asks for the stored times and is done when there are some", async () => {
      const { top, asked, answers } = above(utime);
      const xdata = Dict.ofBytes({ [KEY.MDATA]: Buffer.alloc(57) });
      answers.set("lookup", () => ({ stat, postParent: stat, xdata }));
      await top.lookup(call, args);
      expect([...(asked[0]!.args as typeof args).xdata!.keys()]).toEqual(["k", KEY.MDATA]);
      expect([...args.xdata!.keys()]).toEqual(["k"]);
      expect(asked).toHaveLength(1);
    });

    it("stores the times of an object that has none, as root and as an internal caller", async () => {
      const { top, asked, answers } = above(utime);
      answers.set("lookup", () => ({ stat, postParent: stat }));
      await top.lookup(call, args);
      expect(asked[1]).toMatchObject({ fop: "setxattr", call: { uid: 0, pid: -13 } });
      const { loc, xattrs } = asked[1]!.args as Args<"setxattr">;
      expect(loc.inode.gfid).toBe(stat.gfid);
      expect(xattrs.get(KEY.SET_MDATA)).toMatchObject({ type: "mdata", value: { mtime: 3, mtimeNsec: 4 } });
    });

    it("succeeds when these cannot be stored, with a warning", async () => {
      const { top, answers, env } = above(utime);
      answers.set("lookup", () => ({ stat, postParent: stat }));
      answers.set("setxattr", () => Promise.reject(new FopError("EROFS")));
      expect((await top.lookup(call, args)).stat).toBe(stat);
      expect(env.log.lines.map(({ level }) => level)).toEqual(["warn"]);
    });
  });
});
