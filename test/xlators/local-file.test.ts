/** Which translators let the kernel use a brick's file in their place: for readers, for writers, or not. */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import { newGfid } from "../../src/core/gfid.ts";
import { Fd, Inode, InodeTable } from "../../src/core/inode.ts";
import { O_RDONLY, O_RDWR } from "../../src/core/open-flags.ts";
import { stack, startGraph } from "../support/build-graph.ts";

const CALL = internalCall(100);
const OS_FD = 7;

interface Case {
  readonly type: string;
  readonly options?: Record<string, string>;
}

/** For whom a translator lets a file through that the brick below it has for everybody. */
async function served({ type, options = {} }: Case): Promise<string> {
  const layers = [
    { name: "brick", type: "storage/memory" },
    { name: "layer", type, options },
  ];
  await using graph = await startGraph(stack(...layers));
  const { top } = graph;
  graph.xlator("brick").localFile = () => OS_FD;
  const table = new InodeTable();
  const fresh = new Inode();
  const loc = { inode: fresh, parent: table.root, name: "f" };
  const writer = new Fd(fresh, O_RDWR);
  const xdata = new Dict().setGfid("gfid-req", newGfid());
  const { stat } = await top.create(CALL, { loc, fd: writer, flags: O_RDWR, mode: 0o644, umask: 0, xdata });
  const inode = table.link(fresh, stat.gfid, stat.mode);
  const reader = new Fd(inode, O_RDONLY);
  await top.open(CALL, { loc: { inode }, fd: reader, flags: O_RDONLY });
  const whom = [top.localFile(reader) && "readers", top.localFile(writer) && "writers"];
  for (const fd of [reader, writer]) await top.release(fd);
  return whom.filter((one) => one !== undefined).join(" and ") || "nobody";
}

describe("the kernel may use a brick's file past", () => {
  it.each([
    { type: "debug/io-stats" },
    { type: "features/locks" },
    { type: "performance/write-behind" },
    { type: "features/remote-dio" },
  ])("$type for all", async (one) => {
    expect(await served(one)).toBe("readers and writers");
  });

  it.each([
    { type: "performance/md-cache" },
    { type: "performance/quick-read" },
    { type: "performance/io-cache" },
    { type: "performance/read-ahead" },
    { type: "performance/readdir-ahead" },
  ])("$type for readers, since it keeps what a writer changes", async (one) => {
    expect(await served(one)).toBe("readers");
  });

  it.each([
    { type: "features/utime" },
    { type: "features/read-only" },
    { type: "features/upcall" },
    { type: "debug/io-stats", options: { "count-fop-hits": "on" } },
    { type: "features/locks", options: { "mandatory-locking": "forced" } },
    { type: "features/remote-dio", options: { "filter-O_DIRECT": "on" } },
  ])("$type $options for nobody", async (one) => {
    expect(await served(one)).toBe("nobody");
  });
});
