/** `mortar rm` waits for the blocks of what it removed: not for ever, not against the user's will. */

import { PassThrough } from "node:stream";
import type { WriteStream } from "node:tty";
import { describe, expect, it } from "vitest";
import { flags, Volume } from "../../src/api/index.ts";
import { waitForRemovals } from "../../src/cli/files/removals.ts";
import { parseWait } from "../../src/cli/files/rm-command.ts";
import { UserError } from "../../src/core/errors.ts";
import type { DelayGen, Hold } from "../../xlators/debug/delay-gen.ts";
import { shardWith } from "../../xlators/features/shard/shard.ts";
import { type StartedGraph, stack, startGraph } from "../support/build-graph.ts";

const BLOCK = 4096;
const BLOCKS = 50;
/** Longer than any test runs. */
const LONG_SEC = 600;
const NEVER = new AbortController().signal;

/** A volume of small blocks, one sharded file "image" in it. */
async function start(): Promise<{ graph: StartedGraph; volume: Volume; held: () => Hold }> {
  const layers = [
    { name: "brick", type: "storage/memory" },
    { name: "locks", type: "features/locks" },
    { name: "late", type: "debug/delay-gen", options: { "delay-percentage": "0" } },
    { name: "shard", type: "features/shard", options: { "shard-block-size": `${BLOCK}` } },
  ];
  const graph = await startGraph(stack(...layers), { definitions: [shardWith(BLOCK)] });
  const volume = new Volume(graph.graph);
  const file = await volume.open("/image", flags.O_RDWR | flags.O_CREAT);
  await file.write(0, Buffer.alloc(BLOCK * BLOCKS, 1));
  await file.close();
  return { graph, volume, held: () => graph.xlator<DelayGen>("late").hold("unlink") };
}

/** Lets the name go and stops at the first block. */
async function unlinkUpToBlocks(volume: Volume, hold: Hold): Promise<void> {
  const unlinked = volume.unlink("/image");
  await hold.arrived();
  hold.release();
  await unlinked;
  await hold.arrived();
}

describe("after a removal", () => {
  it("all blocks are gone when the wait is over", async () => {
    const { graph, volume } = await start();
    await using _end = graph;
    await volume.unlink("/image");
    expect(await waitForRemovals([volume], { seconds: LONG_SEC, signal: NEVER })).toBe(true);
    expect(volume.afterwork).toEqual({ found: BLOCKS - 1, done: BLOCKS - 1 });
  });

  it("the wait ends with its time, and says that blocks are left", async () => {
    const { graph, volume, held } = await start();
    await using _end = graph;
    const hold = held();
    await unlinkUpToBlocks(volume, hold);
    expect(await waitForRemovals([volume], { seconds: 0.01, signal: NEVER })).toBe(false);
    expect(volume.afterwork).toMatchObject({ found: BLOCKS - 1, done: 0 });
    graph.xlator<DelayGen>("late").unhold(hold);
    expect(await waitForRemovals([volume], { seconds: LONG_SEC, signal: NEVER })).toBe(true);
  });

  it("the wait ends when the user wants it", async () => {
    const { graph, volume, held } = await start();
    await using _end = graph;
    const hold = held();
    await unlinkUpToBlocks(volume, hold);
    const stop = new AbortController();
    const wait = waitForRemovals([volume], { seconds: LONG_SEC, signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(wait).rejects.toThrow("enough");
    graph.xlator<DelayGen>("late").unhold(hold);
  });

  it("a terminal shows how far it is", async () => {
    const { graph, volume, held } = await start();
    await using _end = graph;
    const hold = held();
    await unlinkUpToBlocks(volume, hold);
    const out = Object.assign(new PassThrough(), { isTTY: true, columns: 120 }) as unknown as WriteStream;
    await waitForRemovals([volume], { seconds: 0.01, signal: NEVER, out });
    graph.xlator<DelayGen>("late").unhold(hold);
    expect(String((out as unknown as PassThrough).read())).toContain(
      `0 of ${BLOCKS - 1} blocks of removed files`,
    );
  });
});

describe("--wait", () => {
  it.each([
    ["0", 0],
    ["60", 60],
    ["0.5", 0.5],
  ])("%s is so many seconds", (text, seconds) => {
    expect(parseWait(text)).toBe(seconds);
  });

  it.each(["", "-1", "soon", "1e9"])('"%s" is refused', (text) => {
    expect(() => parseWait(text)).toThrow(UserError);
  });
});
