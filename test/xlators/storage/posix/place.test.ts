/** A brick keeps which copy of a replicated volume it is, and tells it (see place.ts). */

import { mkdirSync, rmSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { internalCall } from "../../../../src/core/call.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { PLACE_XATTR } from "../../../../src/core/keys.ts";
import type { ChildEvent, EventSink } from "../../../../src/core/xlator.ts";
import { readPlace, writePlace } from "../../../../xlators/storage/posix/place.ts";
import { getXattr } from "../../../support/libc.ts";
import { CALL, makeDirectory, PosixFixture } from "./brick-fixture.ts";

const INTERNAL = internalCall(-6);

function set(brick: PosixFixture, id: string, call = INTERNAL): Promise<unknown> {
  const xattrs = new Dict().setStr(PLACE_XATTR, id);
  return brick.top.setxattr(call, { loc: { inode: brick.root }, xattrs, flags: 0 });
}

/** What a brick says of itself to one who asks now. */
function said(brick: PosixFixture): ChildEvent | undefined {
  let last: ChildEvent | undefined;
  const sink: EventSink = {
    onChildEvent: (event) => {
      last = event;
    },
  };
  brick.top.repeatTo(sink);
  return last;
}

describe("a brick", () => {
  it("is no copy in particular at first, and says what it was written down as", async () => {
    await using brick = await PosixFixture.start();
    expect(said(brick)).toEqual({ type: "child-up", brickId: "" });
    await set(brick, "v-client-1");
    expect(said(brick)).toEqual({ type: "child-up", brickId: "v-client-1" });
    expect(String(getXattr(brick.path(".glusterfs"), PLACE_XATTR))).toBe("v-client-1");
    await set(brick, "v-client-1");
    await expect(set(brick, "v-client-2")).rejects.toMatchObject({
      code: "EEXIST",
      message: expect.stringContaining('is "v-client-1" already'),
    });
    expect(said(brick)).toEqual({ type: "child-up", brickId: "v-client-1" });
  });

  it("does not take a user's word for it", async () => {
    await using brick = await PosixFixture.start();
    await set(brick, "v-client-1");
    await set(brick, "v-client-2", CALL);
    expect(await readPlace(brick.directory)).toBe("v-client-1");
    expect(said(brick)).toEqual({ type: "child-up", brickId: "v-client-1" });
  });

  it("forgets it with its .glusterfs", async () => {
    const directory = makeDirectory();
    try {
      mkdirSync(`${directory}/.glusterfs`);
      await writePlace(directory, "v-client-1");
      rmSync(`${directory}/.glusterfs`, { recursive: true });
      mkdirSync(`${directory}/.glusterfs`);
      expect(await readPlace(directory)).toBeUndefined();
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
