/** Children of a distribute are told which xattrs to tell of (GlusterFS dht_ipc). */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../../src/core/call.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { type ErrnoName, FopError } from "../../../../src/core/errors.ts";
import type { Args, Reply } from "../../../../src/core/fops.ts";
import { SILENT } from "../../../../src/core/log.ts";
import { IPC_UPCALL } from "../../../../src/core/upcall-flags.ts";
import type { XlatorBase } from "../../../../src/core/xlator.ts";
import { ipc } from "../../../../xlators/cluster/distribute/ipc.ts";
import { type DistributeOptions, options } from "../../../../xlators/cluster/distribute/options.ts";
import { SubvolumeSet } from "../../../../xlators/cluster/distribute/subvolume-set.ts";
import { startGraph } from "../../../support/build-graph.ts";
import { fakeEnv } from "../../../support/fake-env.ts";
import { Session } from "../../../support/session.ts";
import { sectionOf } from "../../../support/volfiles.ts";

const CALL = internalCall();
const WANTED: Args<"ipc"> = { op: IPC_UPCALL, xdata: new Dict().setInt("user.one", 0) };

class FakeBrick {
  readonly name: string;
  readonly heard: Args<"ipc">[] = [];
  fails: ErrnoName | undefined;

  constructor(name: string) {
    this.name = name;
  }

  async ipc(_call: unknown, args: Args<"ipc">): Promise<Reply<"ipc">> {
    this.heard.push(args);
    if (this.fails) throw new FopError(this.fails);
    return {};
  }
}

function rig(): { set: SubvolumeSet; bricks: readonly FakeBrick[] } {
  const bricks = [new FakeBrick("a"), new FakeBrick("b"), new FakeBrick("c")];
  const defaults = Object.entries(options).map(([key, option]) => [key, option.default]);
  const set = new SubvolumeSet({
    name: "d",
    children: bricks as unknown as XlatorBase[],
    options: Object.fromEntries(defaults) as DistributeOptions,
    env: fakeEnv(),
    log: SILENT,
  });
  for (const child of set.all) set.childIsUp(child);
  return { set, bricks };
}

describe("the wish to hear of xattrs", () => {
  it("goes to every child", async () => {
    const { set, bricks } = rig();
    expect(await ipc(set, CALL, WANTED)).toEqual({});
    for (const { heard } of bricks) expect(heard).toEqual([WANTED]);
  });

  it("is granted without a child that is away or goes away, and not without one that refuses", async () => {
    const { set, bricks } = rig();
    set.childIsDown(2);
    bricks[1]!.fails = "ENOTCONN";
    expect(await ipc(set, CALL, WANTED)).toEqual({});
    expect(bricks[2]!.heard).toEqual([]);
    bricks[1]!.fails = "EOPNOTSUPP";
    await expect(ipc(set, CALL, WANTED)).rejects.toMatchObject({ code: "EOPNOTSUPP" });
    set.childIsDown(0);
    bricks[1]!.fails = "ENOTCONN";
    await expect(ipc(set, CALL, WANTED)).rejects.toMatchObject({ code: "ENOTCONN" });
  });

  it("is alone in this: any other message goes to the first child", async () => {
    const { set, bricks } = rig();
    await ipc(set, CALL, { op: 1 });
    expect(bricks.map(({ heard }) => heard.length)).toEqual([1, 0, 0]);
  });
});

/** The kept xattr is another one below the cache: what the cache then answers shows what it believes. */
async function keptXattr(told: readonly ("on" | "off")[], afterMs: number): Promise<string> {
  const env = fakeEnv();
  const bricks = told.flatMap((word, index) => [
    sectionOf(`disk-${index}`, "storage/memory", {}, []),
    sectionOf(`locks-${index}`, "features/locks", {}, [`disk-${index}`]),
    sectionOf(`brick-${index}`, "features/upcall", { "cache-invalidation": word }, [`locks-${index}`]),
  ]);
  const cached = {
    "md-cache-timeout": "600",
    "cache-invalidation": "on",
    "xattr-cache-list": "user.one",
  };
  const names = told.map((_, index) => `brick-${index}`);
  const layers = [
    ...bricks,
    sectionOf("dht", "cluster/distribute", {}, names),
    sectionOf("cache", "performance/md-cache", cached, ["dht"]),
  ];
  await using graph = await startGraph(layers.join("\n"), { env });
  const session = new Session(graph.top);
  const { inode } = await session.create("file");
  await session.setxattr(inode, "user.one", "old");
  await session.getxattr(inode, "user.one");
  await new Session(graph.xlator("dht")).setxattr(inode, "user.one", "new");
  await env.clock.advance(afterMs);
  const value = await session.getxattr(inode, "user.one");
  await session.end();
  return value.toString();
}

describe("an md-cache over a distribute", () => {
  it("keeps xattrs for its whole timeout where all bricks promise to tell of changes", async () => {
    expect(await keptXattr(["on", "on"], 300_000)).toBe("old");
  });

  it("keeps them for a minute at most where one brick does not", async () => {
    expect(await keptXattr(["on", "off"], 300_000)).toBe("new");
  });
});
