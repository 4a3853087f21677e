/** features/read-only: which fops it refuses, which it lets through, and for whom. */

import { describe, expect, it } from "vitest";
import { type Call, internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { type Args, FOP_NAMES, type FopName } from "../../../src/core/fops.ts";
import { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from "../../../src/core/open-flags.ts";
import { wind } from "../../../src/core/xlator.ts";
import { readOnly } from "../../../xlators/features/read-only.ts";
import { above } from "./fake-child.ts";

const READS: readonly FopName[] = [
  "stat readlink readv statfs flush fsync getxattr opendir access fstat lk lookup readdir inodelk finodelk entrylk",
  "fentrylk fgetxattr rchecksum readdirp ipc seek lease getactivelk setactivelk",
].flatMap((line) => line.split(" ")) as FopName[];

const user: Call = { ...internalCall(), pid: 100 };
const count = (value: number) => {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(value, 0);
  return Dict.ofBytes({ "trusted.afr.dirty": bytes });
};

/** Arguments that make any fop a change, if it can be one. */
const ARGS = { flags: O_RDWR, xattrs: count(1) } as unknown as Args<FopName>;

describe("features/read-only", () => {
  it.each(FOP_NAMES)("%s passes exactly when it changes nothing", async (fop) => {
    const { top, asked } = above(readOnly, { "read-only": "on" });
    const work = wind(top, fop, user, ARGS as Args<typeof fop>);
    if (READS.includes(fop)) await work;
    else await expect(work).rejects.toMatchObject({ code: "EROFS", fop, xlator: "top" });
    expect(asked.map((one) => one.fop)).toEqual(READS.includes(fop) ? [fop] : []);
  });

  it("lets everything pass while it is off, and for internal callers", async () => {
    const off = above(readOnly);
    for (const fop of FOP_NAMES) await wind(off.top, fop, user, ARGS as never);
    expect(off.asked.map((one) => one.fop)).toEqual(FOP_NAMES);
    const on = above(readOnly, { "read-only": "on" });
    for (const fop of FOP_NAMES) await wind(on.top, fop, internalCall(-6), ARGS as never);
    expect(on.asked).toHaveLength(FOP_NAMES.length);
  });

  it("is switched while the graph runs", async () => {
    const { top } = above(readOnly);
    top.reconfigure({ "read-only": true } as never);
    await expect(top.unlink(user, ARGS as never)).rejects.toMatchObject({ code: "EROFS" });
  });

  it("refuses opens by what they may do", async () => {
    const { top } = above(readOnly, { "read-only": "on" });
    for (const flags of [O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_RDONLY | O_CREAT])
      await expect(top.open(user, { flags } as never)).rejects.toMatchObject({ code: "EROFS" });
    await top.open(user, { flags: O_RDONLY } as never);
  });

  it("lets an xattrop of zeros pass: it only reads", async () => {
    const { top, asked } = above(readOnly, { "read-only": "on" });
    await top.xattrop(user, { xattrs: count(0) } as never);
    await top.fxattrop(user, { xattrs: count(0) } as never);
    expect(asked.map((one) => one.fop)).toEqual(["xattrop", "fxattrop"]);
  });
});
