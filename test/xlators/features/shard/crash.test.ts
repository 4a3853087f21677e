/**
 * A client dies after each change that an operation makes on the brick. Another client finds a file that is
 * as before, as after, or cut short in the way that the operation allows, and nothing of it is left behind
 * when the file is removed.
 */

import { describe, expect, it } from "vitest";
import { MemoryDisk } from "../../../../xlators/storage/memory/disk.ts";
import { BLOCK, bytes, type Client, Rig } from "./rig.ts";

const SIZE = 5 * BLOCK - 100;
const CONTENT = bytes(SIZE);

interface Operation {
  readonly name: string;
  readonly prepare?: (client: Client) => Promise<unknown>;
  readonly run: (client: Client) => Promise<unknown>;
  /** What may be there afterwards; `undefined`: no file. */
  readonly check: (content: Buffer | undefined) => void;
}

function startsLike(content: Buffer, model: Buffer, size: number): void {
  expect(content.subarray(0, size).equals(model.subarray(0, size))).toBe(true);
}

/** Every byte from there on is what it was, or zero. */
function keptOrZero(content: Buffer, from: number): void {
  for (let at = from; at < content.length; at++)
    if (content[at] !== 0 && content[at] !== CONTENT[at])
      throw new Error(`byte ${at} is neither old nor zero`);
}

async function truncate(client: Client, offset: number): Promise<void> {
  await client.top.truncate(client.call, { loc: { inode: await client.inode("f") }, offset });
}

const OPERATIONS: readonly Operation[] = [
  {
    name: "unlink",
    run: (client) => client.unlink("f"),
    check: (content) => content && expect(content.equals(CONTENT)).toBe(true),
  },
  {
    name: "unlink of an open file",
    run: async (client) => {
      await client.open(await client.inode("f"));
      await client.unlink("f");
    },
    check: (content) => content && expect(content.equals(CONTENT)).toBe(true),
  },
  {
    name: "rename over it",
    prepare: async (client) => {
      const fd = await client.create("other");
      await client.write(fd, bytes(3 * BLOCK, 9));
      await client.close(fd);
    },
    run: (client) => client.rename("other", "f"),
    check: (content) => expect([3 * BLOCK, SIZE]).toContain(content?.length),
  },
  {
    name: "truncate to the middle of a block",
    run: (client) => truncate(client, 5000),
    check: (content) => {
      expect([5000, SIZE]).toContain(content?.length);
      startsLike(content!, CONTENT, 5000);
      keptOrZero(content!, 5000);
    },
  },
  {
    name: "truncate to nothing",
    run: (client) => truncate(client, 0),
    check: (content) => {
      expect([0, SIZE]).toContain(content?.length);
      keptOrZero(content!, 0);
    },
  },
  {
    name: "growing by a hole",
    run: (client) => truncate(client, 9 * BLOCK),
    check: (content) => {
      expect([9 * BLOCK, SIZE]).toContain(content?.length);
      startsLike(content!, CONTENT, SIZE);
      keptOrZero(content!, SIZE);
    },
  },
  {
    name: "a write that extends it over several blocks",
    run: async (client) => {
      const fd = await client.open(await client.inode("f"));
      await client.write(fd, bytes(3 * BLOCK, 4), SIZE);
    },
    check: (content) => {
      expect([SIZE + 3 * BLOCK, SIZE]).toContain(content?.length);
      startsLike(content!, CONTENT, SIZE);
      if (content!.length > SIZE) expect(content!.subarray(SIZE).equals(bytes(3 * BLOCK, 4))).toBe(true);
    },
  },
  {
    name: "a first write over the end of block 0",
    prepare: (client) => truncate(client, 0),
    run: async (client) => {
      const fd = await client.open(await client.inode("f"));
      await client.write(fd, bytes(BLOCK + 512, 4));
    },
    check: (content) => expect([0, BLOCK + 512]).toContain(content?.length),
  },
  {
    name: "a write that begins where block 0 ends",
    prepare: (client) => truncate(client, BLOCK),
    run: async (client) => {
      const fd = await client.open(await client.inode("f"));
      await client.write(fd, bytes(512, 4), BLOCK);
    },
    check: (content) => expect([BLOCK, BLOCK + 512]).toContain(content?.length),
  },
  {
    name: "fallocate beyond its end",
    run: async (client) => {
      const fd = await client.open(await client.inode("f"));
      await client.top.fallocate(client.call, { fd, keepSize: false, offset: 0, size: 8 * BLOCK });
    },
    check: (content) => {
      expect([8 * BLOCK, SIZE]).toContain(content?.length);
      startsLike(content!, CONTENT, SIZE);
      keptOrZero(content!, SIZE);
    },
  },
];

async function prepared(operation: Operation): Promise<Rig> {
  const rig = await Rig.start();
  const fd = await rig.a.create("f");
  await rig.a.write(fd, CONTENT);
  await rig.a.close(fd);
  await operation.prepare?.(rig.a);
  await rig.pass();
  return rig;
}

/** Changes that the operation makes when nothing happens, what it leaves to the background included. */
async function stepsOf(operation: Operation): Promise<number> {
  await using rig = await prepared(operation);
  const before = rig.a.wire.changeCount;
  await operation.run(rig.a);
  await rig.pass();
  return rig.a.wire.changeCount - before;
}

async function readAll(client: Client): Promise<Buffer | undefined> {
  if (!(await client.exists("f"))) return undefined;
  const fd = await client.open(await client.inode("f"));
  const content = await client.read(fd, 0, 20 * BLOCK);
  expect(await client.size(fd)).toBe(content.length);
  await client.close(fd);
  return content;
}

describe("a client that dies", () => {
  it.each(OPERATIONS)("in any step of $name", async (operation) => {
    const steps = await stepsOf(operation);
    expect(steps).toBeGreaterThan(1);
    for (let step = 0; step < steps; step++) {
      await using rig = await prepared(operation);
      rig.a.wire.changesLeft = step;
      await operation.run(rig.a).catch(() => {});
      await rig.pass();
      rig.a.wire.changesLeft = 0;
      await rig.a.end().catch(() => {});
      const heir = await rig.join();
      operation.check(await readAll(heir));
      for (const name of ["f", "other"]) if (await heir.exists(name)) await heir.unlink(name);
      await rig.pass();
      expect(rig.hidden(), `died after ${step} of ${steps} changes`).toEqual([]);
    }
  });
});

describe("a brick that loses power", () => {
  it("keeps what an fsync covered, in every block", async () => {
    const disk = new MemoryDisk();
    await using rig = await Rig.start({ disk });
    const fd = await rig.a.create("f");
    await rig.a.write(fd, CONTENT);
    await rig.a.top.fsync(rig.a.call, { fd, datasync: false });
    await rig.a.write(fd, bytes(SIZE, 2));
    disk.crash();
    const heir = await rig.join();
    const content = await readAll(heir);
    expect(content!.length).toBe(SIZE);
    expect(content!.equals(CONTENT)).toBe(true);
  });
});
