/** features/selinux: the label's name above and below. */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Args } from "../../../src/core/fops.ts";
import { selinux } from "../../../xlators/features/selinux.ts";
import { above } from "./fake-child.ts";

const ABOVE = "security.selinux";
const BELOW = "trusted.glusterfs.selinux";
const call = internalCall();
const label = Buffer.from("system_u:object_r:svirt_image_t:s0\0");

describe("features/selinux", () => {
  it.each(["setxattr", "fsetxattr"] as const)("%s stores the label under its other name", async (fop) => {
    const { top, asked } = above(selinux);
    const xattrs = Dict.ofBytes({ [ABOVE]: label, "user.a": Buffer.from("1") });
    await top[fop](call, { xattrs, flags: 0 } as never);
    const below = (asked[0]!.args as Args<"setxattr">).xattrs;
    expect([...below.keys()]).toEqual([BELOW, "user.a"]);
    expect(below.bytes(BELOW)).toEqual(label);
    expect([...xattrs.keys()]).toEqual([ABOVE, "user.a"]);
  });

  it.each(["getxattr", "fgetxattr"] as const)(
    "%s reads it back under the name that was asked",
    async (fop) => {
      const { top, asked, answers } = above(selinux);
      answers.set(fop, () => ({ xattrs: Dict.ofBytes({ [BELOW]: label }) }));
      const reply = await top[fop](call, { name: ABOVE } as never);
      expect((asked[0]!.args as Args<"getxattr">).name).toBe(BELOW);
      expect(reply.xattrs.bytes(ABOVE)).toEqual(label);
      expect(reply.xattrs.has(BELOW)).toBe(false);
    },
  );

  it("leaves other names, and everything when it is off, as they are", async () => {
    const on = above(selinux);
    const args = { name: "user.a" } as never;
    await on.top.getxattr(call, args);
    expect(on.asked[0]!.args).toBe(args);
    const off = above(selinux, { selinux: "off" });
    const labelled = { xattrs: Dict.ofBytes({ [ABOVE]: label }), flags: 0 } as never;
    await off.top.setxattr(call, labelled);
    await off.top.getxattr(call, { name: ABOVE } as never);
    expect(off.asked[0]!.args).toBe(labelled);
    expect((off.asked[1]!.args as Args<"getxattr">).name).toBe(ABOVE);
  });
});
