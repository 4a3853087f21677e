/** Bricks are told which xattrs to tell of, and what they tell is taken (GlusterFS afr_ipc, upcall). */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../../src/core/call.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { type ErrnoName, FopError } from "../../../../src/core/errors.ts";
import type { Args } from "../../../../src/core/fops.ts";
import { SILENT } from "../../../../src/core/log.ts";
import { IPC_UPCALL, UPCALL } from "../../../../src/core/upcall-flags.ts";
import type { XlatorBase } from "../../../../src/core/xlator.ts";
import { ipc } from "../../../../xlators/cluster/replicate/ipc.ts";
import { options, type ReplicateOptions } from "../../../../xlators/cluster/replicate/options.ts";
import { ReplicaSet } from "../../../../xlators/cluster/replicate/replica-set.ts";
import { fakeEnv } from "../../../support/fake-env.ts";
import { Copies } from "./three-copies.ts";

const CALL = internalCall();

class FakeBrick {
  heard: Args<"ipc"> | undefined;
  fails: ErrnoName | undefined;
  readonly name = "brick";

  async ipc(_call: unknown, args: Args<"ipc">): Promise<object> {
    this.heard = args;
    if (this.fails) throw new FopError(this.fails);
    return {};
  }
}

function rig(): { set: ReplicaSet; bricks: FakeBrick[] } {
  const bricks = [new FakeBrick(), new FakeBrick(), new FakeBrick()];
  const defaults = Object.entries(options).map(([key, option]) => [key, option.default]);
  const set = new ReplicaSet({
    name: "r",
    children: bricks as unknown as XlatorBase[],
    brickIds: ["v-client-0", "v-client-1", "v-client-2"],
    options: Object.fromEntries(defaults) as ReplicateOptions,
    env: fakeEnv(),
    log: SILENT,
  });
  for (const child of [0, 1, 2]) set.childIsUp(child);
  return { set, bricks };
}

const wanted: Args<"ipc"> = { op: IPC_UPCALL, xdata: new Dict().setInt("user.one", 0) };

describe("the wish to hear of xattrs", () => {
  it("goes to all bricks, with the marks of this set", async () => {
    const { set, bricks } = rig();
    await ipc(set, CALL, wanted);
    const names = ["user.one", ...[0, 1, 2].map((child) => `trusted.afr.v-client-${child}`)];
    for (const { heard } of bricks) expect([...heard!.xdata!.keys()]).toEqual(names);
    expect([...wanted.xdata!.keys()]).toEqual(["user.one"]);
  });

  it("is granted without a brick that is away or goes away, and not without one that refuses", async () => {
    const { set, bricks } = rig();
    set.childIsDown(2);
    bricks[1]!.fails = "ENOTCONN";
    await ipc(set, CALL, wanted);
    expect(bricks[2]!.heard).toBeUndefined();
    bricks[1]!.fails = "EOPNOTSUPP";
    await expect(ipc(set, CALL, wanted)).rejects.toMatchObject({ code: "EOPNOTSUPP" });
    set.childIsDown(0);
    bricks[1]!.fails = "ENOTCONN";
    await expect(ipc(set, CALL, wanted)).rejects.toMatchObject({ code: "ENOTCONN" });
  });

  it("is alone in this: any other message goes to the first brick", async () => {
    const { set, bricks } = rig();
    await ipc(set, CALL, { op: 1 });
    expect(bricks.map(({ heard }) => heard?.op)).toEqual([1, undefined, undefined]);
  });
});

it("a copy that another client blames is not read once a brick tells of the mark", async () => {
  await using v = await Copies.start({ options: { "read-subvolume-index": "1" } });
  const inode = await v.file("file", "old");
  const fd = await v.session.open(inode);
  const readers = async (): Promise<number[]> => {
    v.clearCalls();
    await v.session.read(fd, 3);
    return [...v.wires.keys()].filter((child) => v.wires[child]!.count("readv") > 0);
  };
  expect(await readers()).toEqual([1]);
  for (const child of [0, 2]) await v.mark(child, inode, 1, [1, 0, 0]);
  expect(await readers()).toEqual([1]);
  const { gfid } = inode;
  const upcall = { kind: "cache-invalidation", gfid, flags: UPCALL.XATTR, expireSec: 60 } as const;
  v.wires[0]!.onChildEvent({ type: "upcall", upcall }, v.wires[0]!.children[0]!);
  const after = await readers();
  expect(after).toHaveLength(1);
  expect(after).not.toEqual([1]);
});
