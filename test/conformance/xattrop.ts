/** xattrop: counters that several clients change at once (spec translators.md 2.7, wire.md 7.4). */

import { expect } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { XATTROP } from "../../src/core/fops.ts";
import type { Inode } from "../../src/core/inode.ts";
import type { Session } from "../support/session.ts";
import { outcome, type Subject } from "./suite.ts";

const PENDING = "trusted.count.vol-client-0";

function be32(...words: number[]): Buffer {
  const out = Buffer.alloc(words.length * 4);
  for (const [index, word] of words.entries()) out.writeInt32BE(word, index * 4);
  return out;
}

async function xattrop(
  session: Session,
  inode: Inode,
  op: number,
  request: Record<string, Buffer>,
): Promise<Dict> {
  const args = { loc: { inode }, op, xattrs: Dict.ofBytes(request) };
  return (await session.top.xattrop(session.call, args)).xattrs;
}

export const xattropSubject: Subject = {
  name: "xattrop",
  cases: [
    {
      name: "adds arrays of 32-bit numbers, several keys in one call, and answers the new values",
      needs: ["brick"],
      async run({ a, b }) {
        await a.create("f");
        const inode = await a.inode("f");
        const first = await xattrop(a, inode, XATTROP.ADD_ARRAY, {
          [PENDING]: be32(1, 0, 2),
          "trusted.count.dirty": be32(1, 0, 0),
        });
        expect(first.bytes(PENDING)).toEqual(be32(1, 0, 2));
        const second = await xattrop(b, await b.inode("f"), XATTROP.ADD_ARRAY, { [PENDING]: be32(-1, 5, 1) });
        expect(second.bytes(PENDING)).toEqual(be32(0, 5, 3));
        expect(await a.getxattr(inode, PENDING)).toEqual(be32(0, 5, 3));
        expect(await a.getxattr(inode, "trusted.count.dirty")).toEqual(be32(1, 0, 0));
      },
    },
    {
      name: "zeros read a counter and create nothing",
      needs: ["brick"],
      async run({ a }) {
        await a.create("f");
        const inode = await a.inode("f");
        const reply = await xattrop(a, inode, XATTROP.ADD_ARRAY, { [PENDING]: be32(0, 0, 0) });
        expect(reply.bytes(PENDING)).toEqual(be32(0, 0, 0));
        expect(await outcome(a.getxattr(inode, PENDING))).toBe("ENODATA");
      },
    },
    {
      name: "a counter that comes back to zero stays as zeros",
      needs: ["brick"],
      async run({ a }) {
        const dir = await a.mkdir("d");
        await xattrop(a, dir, XATTROP.ADD_ARRAY, { [PENDING]: be32(0, 0, 1) });
        await xattrop(a, dir, XATTROP.ADD_ARRAY, { [PENDING]: be32(0, 0, -1) });
        expect(await a.getxattr(dir, PENDING)).toEqual(be32(0, 0, 0));
      },
    },
    {
      name: "64-bit addition wraps, as shard's sizes need it",
      needs: ["brick"],
      async run({ a }) {
        const fd = await a.create("f");
        const be64 = (value: bigint): Buffer => {
          const out = Buffer.alloc(8);
          out.writeBigInt64BE(value);
          return out;
        };
        const add = async (value: bigint): Promise<bigint> => {
          const request = Dict.ofBytes({ "trusted.test.sizes": be64(value) });
          const reply = await a.top.fxattrop(a.call, { fd, op: XATTROP.ADD_ARRAY64, xattrs: request });
          return reply.xattrs.bytes("trusted.test.sizes")!.readBigInt64BE();
        };
        expect(await add(2n ** 40n)).toBe(2n ** 40n);
        expect(await add(-(2n ** 39n))).toBe(2n ** 39n);
        expect(await add(2n ** 63n - 1n)).toBe(-(2n ** 63n) + 2n ** 39n - 1n);
      },
    },
    {
      name: "the default counts where an element is zero",
      needs: ["brick"],
      async run({ a }) {
        await a.create("f");
        const inode = await a.inode("f");
        const request = Buffer.concat([be32(1, 1), be32(10, 20)]);
        const first = await xattrop(a, inode, XATTROP.ADD_ARRAY_WITH_DEFAULT, { [PENDING]: request });
        expect(first.bytes(PENDING)).toEqual(be32(11, 21));
        const second = await xattrop(a, inode, XATTROP.ADD_ARRAY_WITH_DEFAULT, { [PENDING]: request });
        expect(second.bytes(PENDING)).toEqual(be32(12, 22));
      },
    },
    {
      name: "GET_AND_SET stores and answers what was there, no key when nothing was",
      needs: ["brick"],
      async run({ a }) {
        await a.create("f");
        const inode = await a.inode("f");
        const first = await xattrop(a, inode, XATTROP.GET_AND_SET, { [PENDING]: be32(7) });
        expect(first.has(PENDING)).toBe(false);
        const second = await xattrop(a, inode, XATTROP.GET_AND_SET, { [PENDING]: be32(8) });
        expect(second.bytes(PENDING)).toEqual(be32(7));
        expect(await a.getxattr(inode, PENDING)).toEqual(be32(8));
      },
    },
    {
      name: "OR and AND are refused",
      needs: ["brick"],
      async run({ a }) {
        await a.create("f");
        const inode = await a.inode("f");
        for (const op of [XATTROP.OR_ARRAY, XATTROP.AND_ARRAY, 99])
          expect(await outcome(xattrop(a, inode, op, { [PENDING]: be32(1) }))).toBe("EINVAL");
      },
    },
    {
      name: "loses no addition of many clients at once",
      needs: ["brick"],
      async run({ a, b }) {
        await a.create("f");
        const [mine, theirs] = [await a.inode("f"), await b.inode("f")];
        const adds = Array.from({ length: 40 }, (_, index) =>
          index % 2
            ? xattrop(a, mine, 0, { [PENDING]: be32(1) })
            : xattrop(b, theirs, 0, { [PENDING]: be32(1) }),
        );
        await Promise.all(adds);
        expect(await a.getxattr(mine, PENDING)).toEqual(be32(40));
      },
    },
    {
      name: "lookup answers xattrs by name and by pattern, with raw bytes, and leaves out what is not there",
      needs: ["brick"],
      async run({ a, b }) {
        await a.create("f");
        const inode = await a.inode("f");
        await xattrop(a, inode, 0, {
          "trusted.count.x": be32(1),
          "trusted.count.dirty": be32(2),
          "user.other": be32(3),
        });
        const request = new Dict()
          .setInt("trusted.count.*", 0)
          .setInt("user.other", 12)
          .setInt("user.none", 0);
        const { xdata } = await b.lookup("f", b.root, request);
        expect(xdata!.bytes("trusted.count.x")).toEqual(be32(1));
        expect(xdata!.bytes("trusted.count.dirty")).toEqual(be32(2));
        expect(xdata!.bytes("user.other")).toEqual(be32(3));
        expect(xdata!.has("user.none")).toBe(false);
      },
    },
    {
      name: "a request with xdata is answered with xdata, even when there is nothing to say",
      needs: ["brick"],
      async run({ a }) {
        await a.create("f");
        expect((await a.lookup("f", a.root, new Dict())).xdata).toBeDefined();
      },
    },
    {
      name: "lookup answers the number of open fds and small contents",
      needs: ["brick"],
      async run({ a, b }) {
        const fd = await a.create("f");
        await a.write(fd, "small");
        const count = async (): Promise<number | undefined> => {
          const { xdata } = await b.lookup("f", b.root, new Dict().setInt("glusterfs.open-fd-count", 0));
          return xdata!.number("glusterfs.open-fd-count");
        };
        expect(await count()).toBe(1);
        const second = await b.open(await b.inode("f"));
        expect(await count()).toBe(2);
        await b.release(second);
        expect(await count()).toBe(1);
        const content = async (max: number): Promise<string | undefined> => {
          const { xdata } = await b.lookup("f", b.root, new Dict().setUint("glusterfs.content", max));
          return xdata!.bytes("glusterfs.content")?.toString();
        };
        expect(await content(64)).toBe("small");
        expect(await content(4)).toBeUndefined();
      },
    },
  ],
};
