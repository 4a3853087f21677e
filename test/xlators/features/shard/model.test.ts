/** Random histories on a file in many small blocks do what they do to a buffer, for two clients in turn. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FopError } from "../../../../src/core/errors.ts";
import type { Fd } from "../../../../src/core/inode.ts";
import { BLOCK, bytes, type Client, Rig } from "./rig.ts";

const BELIEVED_MS = 1001;
const MAX = 7 * BLOCK;

type Op = { readonly who: 0 | 1 } & (
  | {
      readonly kind: "write" | "read" | "fallocate" | "keep" | "discard" | "zerofill";
      at: number;
      size: number;
    }
  | { readonly kind: "truncate"; at: number }
  | { readonly kind: "seek"; at: number; what: "data" | "hole" }
  | { readonly kind: "append"; size: number }
  | { readonly kind: "fsync" | "wait" | "reopen" }
);

/** Offsets on and near edges of blocks are the interesting ones. */
const offset = fc.oneof(
  fc.nat(MAX - 1),
  fc
    .tuple(fc.nat(6), fc.integer({ min: -2, max: 2 }))
    .map(([block, near]) => Math.max(0, block * BLOCK + near)),
);
const size = fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 3 * BLOCK }));
const who = fc.constantFrom(0 as const, 1 as const);
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ who, kind: fc.constant("write" as const), at: offset, size }) },
  { weight: 3, arbitrary: fc.record({ who, kind: fc.constant("read" as const), at: offset, size }) },
  { weight: 2, arbitrary: fc.record({ who, kind: fc.constant("truncate" as const), at: offset }) },
  {
    weight: 4,
    arbitrary: fc.record({
      who,
      kind: fc.constantFrom("fallocate" as const, "keep" as const, "discard" as const, "zerofill" as const),
      at: offset,
      size,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      who,
      kind: fc.constant("seek" as const),
      at: offset,
      what: fc.constantFrom("data" as const, "hole" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ who, kind: fc.constant("append" as const), size }) },
  {
    weight: 2,
    arbitrary: fc.record({
      who,
      kind: fc.constantFrom("fsync" as const, "wait" as const, "reopen" as const),
    }),
  },
);

class Model {
  content = Buffer.alloc(0);

  resize(length: number): void {
    const next = Buffer.alloc(length);
    this.content.copy(next, 0, 0, Math.min(length, this.content.length));
    this.content = next;
  }

  reach(end: number): void {
    if (end > this.content.length) this.resize(end);
  }
}

/** Where the model lets a seek end: what is skipped must be zeros, for a hole what is found, too. */
function checkSeek(content: Buffer, from: number, what: "data" | "hole", at: number | "ENXIO"): void {
  if (from >= content.length) {
    expect(at).toBe("ENXIO");
    return;
  }
  if (what === "data") {
    const to = at === "ENXIO" ? content.length : at;
    expect(content.subarray(from, to).every((byte) => byte === 0)).toBe(true);
    return;
  }
  expect(at).not.toBe("ENXIO");
  expect(at).toBeGreaterThanOrEqual(from);
  if (at !== content.length) expect(content[at as number]).toBe(0);
}

async function step(rig: Rig, model: Model, fds: Fd[], one: Op, index: number): Promise<void> {
  const client = rig.clients[one.who]!;
  const { top, call } = client;
  const fd = fds[one.who]!;
  switch (one.kind) {
    case "write": {
      const data = bytes(one.size, index);
      await client.write(fd, data, one.at);
      model.reach(one.at + one.size);
      data.copy(model.content, one.at);
      break;
    }
    case "append": {
      const data = bytes(one.size, index);
      const end = model.content.length;
      // O_APPEND
      await client.write(fd, data, 0, 0o2000);
      model.reach(end + one.size);
      data.copy(model.content, end);
      break;
    }
    case "read": {
      const got = await client.read(fd, one.at, one.size);
      expect(got.equals(model.content.subarray(one.at, one.at + one.size))).toBe(true);
      break;
    }
    case "truncate":
      await top.ftruncate(call, { fd, offset: one.at });
      model.resize(one.at);
      break;
    case "fallocate":
    case "keep": {
      const keepSize = one.kind === "keep";
      await top.fallocate(call, { fd, keepSize, offset: one.at, size: one.size });
      if (!keepSize) model.reach(one.at + one.size);
      break;
    }
    case "discard":
      await top.discard(call, { fd, offset: one.at, size: one.size });
      model.content.fill(
        0,
        Math.min(one.at, model.content.length),
        Math.min(one.at + one.size, model.content.length),
      );
      break;
    case "zerofill":
      await top.zerofill(call, { fd, offset: one.at, size: one.size });
      model.reach(one.at + one.size);
      model.content.fill(0, one.at, one.at + one.size);
      break;
    case "seek": {
      const found = await top.seek(call, { fd, offset: one.at, what: one.what }).then(
        ({ offset: at }) => at,
        (error) => {
          if (error instanceof FopError && error.code === "ENXIO") return "ENXIO" as const;
          throw error;
        },
      );
      checkSeek(model.content, one.at, one.what, found);
      break;
    }
    case "fsync":
      await top.fsync(call, { fd, datasync: false });
      break;
    case "wait":
      await rig.pass();
      break;
    case "reopen":
      await client.close(fd);
      fds[one.who] = await client.open(await client.inode("f"));
  }
}

async function finish(rig: Rig, model: Model, fds: readonly Fd[]): Promise<void> {
  await rig.pass(BELIEVED_MS);
  for (const [index, client] of rig.clients.entries()) {
    const fd = fds[index]!;
    expect(await client.size(fd)).toBe(model.content.length);
    expect((await client.read(fd, 0, 2 * MAX)).equals(model.content)).toBe(true);
  }
  for (const [index, client] of rig.clients.entries()) await client.close(fds[index]!);
  const { gfid } = await rig.a.stat("f");
  expect(rig.extent(gfid)).toEqual({ size: model.content.length, blocks: rig.room(gfid) });
  await rig.a.unlink("f");
  await rig.pass();
  expect(rig.hidden()).toEqual([]);
}

async function run(ops: readonly Op[], open: (client: Client) => Promise<Fd>): Promise<void> {
  await using rig = await Rig.start({ clients: 2 });
  const first = await rig.a.create("f");
  const fds = [first, await open(rig.b)];
  const model = new Model();
  let cutBy: number | undefined;
  for (const [index, one] of ops.entries()) {
    // A client may believe for a second that a file still reaches where another has just cut it.
    if (cutBy !== undefined && cutBy !== one.who) await rig.pass(BELIEVED_MS);
    if (one.kind === "truncate") cutBy = one.who;
    else if (cutBy !== one.who) cutBy = undefined;
    await step(rig, model, fds, one, index);
    expect(await rig.clients[one.who]!.size(fds[one.who]!)).toBe(model.content.length);
  }
  await finish(rig, model, fds);
}

describe("a file in blocks", () => {
  it("is what a buffer is, for two clients that take turns", async () => {
    const open = async (client: Client): Promise<Fd> => client.open(await client.inode("f"));
    await fc.assert(
      fc.asyncProperty(fc.array(op, { maxLength: 40 }), (ops) => run(ops, open)),
      { numRuns: 60 },
    );
  });
});
