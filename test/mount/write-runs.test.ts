import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FopError } from "../../src/core/errors.ts";
import { u32, u64 } from "./fake-kernel.ts";
import { MountedGraph } from "./mounted-graph.ts";

const WRITE = 16;
const LOCKOWNER = 2;
const KILL_SUIDGID = 4;
const O_APPEND = 0o2000;
const PIECE = 64 * 1024;

/** A WRITE of a message; what is absent is as in the others. */
interface Wanted {
  readonly fh: number;
  readonly offset: number;
  readonly data: Buffer;
  readonly writeFlags?: number;
  readonly flags?: number;
  readonly owner?: number;
  readonly uid?: number;
  readonly inCompany?: boolean;
}

describe("WRITEs that were read together", () => {
  let mount: MountedGraph;
  let node: number;
  let fh: number;

  beforeEach(async () => {
    mount = await MountedGraph.start();
    ({ node, fh } = await mount.create("f"));
    mount.spy.take();
  });

  afterEach(async () => {
    expect(mount.kernel.bugs).toEqual([]);
    expect(mount.kernel.unanswered).toBe(0);
    await mount[Symbol.asyncDispose]();
  });

  /** Sends them all at once; the answers: bytes written, or the errno. */
  async function send(...writes: Wanted[]): Promise<(number | string)[]> {
    const answers = writes.map(async (write) => {
      const { offset, data, writeFlags = 0, flags = 2, owner = 0, uid = 0, inCompany = true } = write;
      const head = [u64(write.fh, offset), u32(data.length, writeFlags), u64(owner), u32(flags, 0)];
      const { code, body } = await mount.kernel.send(WRITE, node, [...head, data], { uid, inCompany });
      return code === "ok" ? body.readUInt32LE(0) : code;
    });
    return await Promise.all(answers);
  }

  /** The fops that wrote: offset, and sizes of the parts. */
  function fops(): [number, number[]][] {
    return mount.spy.seen
      .filter(({ fop }) => fop === "writev")
      .map(({ args }) => [
        Number(args["offset"]),
        (args["data"] as unknown as Buffer[]).map(({ length }) => length),
      ]);
  }

  const at = (offset: number, text: string, more: Partial<Wanted> = {}): Wanted => ({
    fh,
    offset,
    data: Buffer.from(text),
    ...more,
  });

  it("and follow one another are one fop; each gets its own answer", async () => {
    expect(await send(at(0, "abc"), at(10, "xy"), at(3, "de"), at(12, "z"))).toEqual([3, 2, 2, 1]);
    expect(fops()).toEqual([
      [0, [3, 2]],
      [10, [2, 1]],
    ]);
    expect(await mount.read(node, fh, 0, 20)).toEqual(Buffer.from("abcde\0\0\0\0\0xyz"));
  });

  it("one that is alone in flight goes on before the next one is there", async () => {
    const answer = send(at(0, "ab", { inCompany: false }));
    expect(fops()).toEqual([[0, [2]]]);
    expect(await answer).toEqual([2]);
  });

  it("become fops of at most 256 KiB", async () => {
    const pieces = [0, 1, 2, 3, 4].map((index) => ({ fh, offset: index * PIECE, data: Buffer.alloc(PIECE) }));
    expect(await send(...pieces)).toEqual(new Array(5).fill(PIECE));
    expect(fops()).toEqual([
      [0, new Array(4).fill(PIECE)],
      [4 * PIECE, [PIECE]],
    ]);
  });

  it.each([
    ["through another handle", async () => ({ fh: (await mount.open(node, 2)).fh })],
    ["with other flags of the file", () => ({ flags: 0o100002 })],
    ["for another lock owner", () => ({ writeFlags: LOCKOWNER, owner: 7 })],
    ["for another user", () => ({ uid: 1000 })],
    ["that take set-id bits", () => ({ writeFlags: KILL_SUIDGID })],
    ["behind a gap", () => ({ offset: 3 })],
  ])("stay apart: those %s", async (_what, other) => {
    expect(await send(at(0, "ab"), at(2, "cd", await other()))).toEqual([2, 2]);
    expect(fops()).toHaveLength(2);
  });

  it("stay apart: appends", async () => {
    const flags = 2 | O_APPEND;
    expect(await send(at(0, "ab", { flags }), at(2, "cd", { flags }))).toEqual([2, 2]);
    expect(fops()).toHaveLength(2);
  });

  it("a message that is shorter than it says fails alone", async () => {
    const head = [u64(fh, 2), u32(9, 0), u64(0), u32(2, 0), Buffer.from("x")];
    const good = send(at(0, "ab"));
    expect((await mount.kernel.send(WRITE, node, head, { inCompany: true })).code).toBe("EINVAL");
    expect(await good).toEqual([2]);
  });

  it("what a short write left is written again, each by itself", async () => {
    let calls = 0;
    mount.spy.answer("writev", async (_call, args, pass) => {
      if (++calls > 1) return pass();
      const reply = await mount.state.top.writev(_call, { ...args, data: [Buffer.from("abc")] });
      return { ...reply, size: 3 };
    });
    expect(await send(at(0, "ab"), at(2, "cd"), at(4, "ef"))).toEqual([2, 1, 2]);
    expect(fops().slice(1)).toEqual([
      [0, [3]],
      [4, [2]],
    ]);
    expect(await mount.read(node, fh, 0, 20)).toEqual(Buffer.from("abc\0ef"));
  });

  it("a full disk fails those that have no room, and no others", async () => {
    mount.spy.answer("writev", (_call, args, pass) => {
      const end = args.offset + args.data.reduce((sum, part) => sum + part.length, 0);
      return end > 4 ? Promise.reject(new FopError("ENOSPC")) : pass();
    });
    expect(await send(at(0, "ab"), at(2, "cd"), at(4, "ef"))).toEqual([2, 2, "ENOSPC"]);
  });

  it("a volume that fails is asked once, and its error is everybody's", async () => {
    mount.spy.answer("writev", () => Promise.reject(new FopError("ENOTCONN")));
    expect(await send(at(0, "ab"), at(2, "cd"))).toEqual(["ENOTCONN", "ENOTCONN"]);
    expect(fops()).toHaveLength(1);
  });

  it("leave in the file what each of them wrote, whatever comes together", async () => {
    const length = 60;
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: length - 1 }), { maxLength: 12 });
    const order = fc.array(fc.nat(), { minLength: 13, maxLength: 13 });
    const bytes = fc.uint8Array({ minLength: length, maxLength: length });
    const histories = fc.array(fc.record({ bytes, cuts, order }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(histories, async (rounds) => {
        for (const round of rounds) {
          const ends = [...round.cuts].sort((one, other) => one - other).concat(length);
          const writes = ends.map((end, index) => {
            const offset = ends[index - 1] ?? 0;
            return {
              fh,
              offset,
              data: Buffer.from(round.bytes.slice(offset, end)),
              rank: round.order[index]!,
            };
          });
          writes.sort((one, other) => one.rank - other.rank);
          expect(await send(...writes)).toEqual(writes.map(({ data }) => data.length));
          expect(await mount.read(node, fh, 0, length)).toEqual(Buffer.from(round.bytes));
        }
      }),
      { numRuns: 40 },
    );
  });
});
