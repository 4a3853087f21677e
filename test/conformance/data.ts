/** Reading and writing: contents, ends of files, holes, flags of open files, several clients. */

import { createHash } from "node:crypto";
import { expect } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { Fd } from "../../src/core/inode.ts";
import {
  O_APPEND,
  O_DIRECT,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TRUNC,
  O_WRONLY,
} from "../../src/core/open-flags.ts";
import { Prng } from "../support/prng.ts";
import type { Session } from "../support/session.ts";
import { outcome, type Subject } from "./suite.ts";

const KIB = 1024;

export const data: Subject = {
  name: "data",
  cases: [
    {
      name: "what was written is read, by the other client too",
      async run({ a, b }) {
        const fd = await a.create("f");
        const reply = await a.write(fd, "hello world");
        expect(reply.size).toBe(11);
        expect(await a.text(fd)).toBe("hello world");
        expect(await b.text(await b.open(await b.inode("f"), O_RDONLY))).toBe("hello world");
      },
    },
    {
      name: "a write tells the size before and after",
      needs: ["write-attributes"],
      async run({ a }) {
        const fd = await a.create("f");
        const { pre, post } = await a.write(fd, "hello world");
        expect([pre.size, post.size]).toEqual([0, 11]);
      },
    },
    {
      name: "a read gives less only at the end of the file, and says so",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "0123456789");
        const read = async (offset: number, size: number) => {
          const { data: parts, size: got, eof } = await a.top.readv(a.call, { fd, offset, size, flags: 0 });
          return [Buffer.concat(parts as Buffer[]).toString(), got, eof];
        };
        expect(await read(2, 3)).toEqual(["234", 3, false]);
        expect(await read(7, 100)).toEqual(["789", 3, true]);
        expect(await read(10, 5)).toEqual(["", 0, true]);
        expect(await read(1000, 5)).toEqual(["", 0, true]);
        expect((await read(0, 10))[0]).toBe("0123456789");
      },
    },
    {
      name: "what was never written reads as zeros",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "end", 100 * KIB);
        expect(await a.size(fd)).toBe(100 * KIB + 3);
        const all = await a.read(fd, 0, 200 * KIB);
        expect(all.length).toBe(100 * KIB + 3);
        expect(all.subarray(0, 100 * KIB).every((byte) => byte === 0)).toBe(true);
      },
    },
    {
      name: "writes overlap, cross pages and come in many pieces",
      async run({ a }) {
        const fd = await a.create("f");
        const pieces = Array.from({ length: 300 }, (_, index) => Buffer.alloc(index, index & 0xff));
        const whole = Buffer.concat(pieces);
        await a.top.writev(a.call, { fd, data: pieces, offset: 4000, flags: 0 });
        expect((await a.read(fd, 4000, whole.length)).equals(whole)).toBe(true);
        await a.write(fd, "XY", 4095);
        expect((await a.read(fd, 4094, 4)).toString("latin1")).toBe(
          `${String.fromCharCode(whole[94]!)}XY${String.fromCharCode(whole[97]!)}`,
        );
      },
    },
    {
      name: "one call moves a mebibyte",
      async run({ a, b }) {
        const fd = await a.create("f");
        const bytes = new Prng(1).bytes(1024 * KIB);
        expect((await a.write(fd, bytes, 5)).size).toBe(bytes.length);
        const other = await b.open(await b.inode("f"));
        expect((await b.read(other, 5, 1024 * KIB)).equals(bytes)).toBe(true);
      },
    },
    {
      name: "offsets beyond 2^32 and 2^40 are exact",
      async run({ a }) {
        const fd = await a.create("f");
        for (const offset of [2 ** 32 - 1, 2 ** 32 + 5, 2 ** 40 + 1]) {
          await a.write(fd, `at ${offset}`, offset);
          expect((await a.read(fd, offset, 16)).toString()).toContain(`at ${offset}`.slice(0, 5));
        }
        expect(await a.size(fd)).toBe(2 ** 40 + 1 + `at ${2 ** 40 + 1}`.length);
      },
    },
    {
      name: "an fd does what it was opened for",
      async run({ a }) {
        await a.release(await a.create("f"));
        const inode = await a.inode("f");
        const reader = await a.open(inode, O_RDONLY);
        const writer = await a.open(inode, O_WRONLY);
        expect(await outcome(a.write(reader, "x"))).toBe("EBADF");
        expect(await outcome(a.read(writer))).toBe("EBADF");
        await a.write(writer, "x");
        expect(await a.text(reader)).toBe("x");
        expect(["EINVAL", "EBADF"]).toContain(
          await outcome(a.top.ftruncate(a.call, { fd: reader, offset: 0 })),
        );
      },
    },
    {
      name: "open with O_TRUNC empties the file",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "data");
        await a.open(await a.inode("f"), O_RDWR | O_TRUNC);
        expect(await a.size(fd)).toBe(0);
      },
    },
    {
      name: "O_APPEND writes at the end, whatever the offset says, for two clients at once",
      async run({ a, b }) {
        const mine = await a.create("f", { flags: O_RDWR | O_APPEND });
        const theirs = await b.open(await b.inode("f"), O_RDWR | O_APPEND);
        for (let round = 0; round < 10; round++)
          await Promise.all([a.write(mine, "aaaa"), b.write(theirs, "bbbb")]);
        const text = await a.text(mine);
        expect(text.length).toBe(80);
        expect(text).toMatch(/^(aaaa|bbbb){20}$/);
      },
    },
    {
      name: "open on a directory is EISDIR, on a symlink ELOOP; opendir on a file is ENOTDIR",
      async run({ a }) {
        const dir = await a.mkdir("d");
        const link = await a.symlink("l", "d");
        await a.create("f");
        expect(await outcome(a.open(dir, O_RDWR))).toBe("EISDIR");
        expect(await outcome(a.open(link, O_RDONLY))).toBe("ELOOP");
        expect(await outcome(a.opendir(await a.inode("f")))).toBe("ENOTDIR");
      },
    },
    {
      name: "fsync, flush and fsyncdir succeed on open fds",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "x");
        const { post } = await a.top.fsync(a.call, { fd, datasync: false });
        expect(post.size).toBe(1);
        await a.top.fsync(a.call, { fd, datasync: true });
        await a.top.flush(a.call, { fd });
        await a.top.fsyncdir(a.call, { fd: await a.opendir(), datasync: true });
        await a.write(fd, "synced", 0, O_SYNC);
        expect(await a.text(fd)).toBe("synced");
      },
    },
    {
      name: "an empty write changes nothing",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "abc");
        expect((await a.write(fd, "", 100)).size).toBe(0);
        expect(await a.size(fd)).toBe(3);
      },
    },
    {
      name: "many writes in flight at once all arrive where they belong",
      async run({ a, b }) {
        const fd = await a.create("f");
        const rng = new Prng(3);
        const blocks = Array.from({ length: 64 }, () => rng.bytes(4 * KIB));
        await Promise.all(blocks.map((block, index) => a.write(fd, block, index * 4 * KIB)));
        const other = await b.open(await b.inode("f"));
        const reads = await Promise.all(blocks.map((_, index) => b.read(other, index * 4 * KIB, 4 * KIB)));
        for (const [index, block] of blocks.entries())
          expect(reads[index]!.equals(block), `block ${index}`).toBe(true);
      },
    },
    {
      name: "random reads, writes, truncates and holes do what they do to a buffer",
      async run({ a }) {
        for (const seed of [1, 2, 3]) await fsx(a, seed);
      },
    },
    {
      name: "an anonymous fd reads, writes and syncs by gfid",
      needs: ["anonymous-fds"],
      async run({ a, b }) {
        await a.release(await a.create("f"));
        const fd = Fd.anonymous(await a.inode("f"), O_RDWR);
        await a.write(fd, "anonymous");
        await a.top.fsync(a.call, { fd, datasync: false });
        const other = Fd.anonymous(await b.inode("f"), O_RDWR);
        expect(await b.text(other)).toBe("anonymous");
      },
    },
    {
      name: "an fd that was never opened is refused",
      needs: ["brick", "fd-checks"],
      async run({ a }) {
        await a.create("f");
        const fd = new Fd(await a.inode("f"), O_RDWR);
        for (const work of [() => a.size(fd), () => a.top.flush(a.call, { fd })])
          expect(["EBADF", "EBADFD"]).toContain(await outcome(work()));
      },
    },
    {
      name: "O_DIRECT wants whole blocks of 512 bytes, and gives a short read at the end of the file",
      needs: ["direct-io"],
      async run({ a }) {
        const fd = await a.create("f", { flags: O_RDWR | O_DIRECT });
        // Only where there are bytes: at the end of a file there is nothing to align.
        await a.write(fd, Buffer.alloc(4096));
        for (const [offset, size] of [
          [1, 512],
          [0, 1],
          [0, 511],
        ] as const) {
          expect(await outcome(a.write(fd, Buffer.alloc(size), offset)), `write ${offset} ${size}`).toBe(
            "EINVAL",
          );
          expect(await outcome(a.read(fd, offset, size)), `read ${offset} ${size}`).toBe("EINVAL");
        }
        const block = new Prng(5).bytes(4096);
        await a.write(fd, block);
        // A payload that is not aligned in memory is as good as any.
        await a.top.writev(a.call, {
          fd,
          data: [block.subarray(0, 100), block.subarray(100)],
          offset: 4096,
          flags: 0,
        });
        expect((await a.read(fd, 0, 8192)).equals(Buffer.concat([block, block]))).toBe(true);
        await a.top.ftruncate(a.call, { fd, offset: 501 });
        expect((await a.read(fd, 0, 4096)).equals(block.subarray(0, 501))).toBe(true);
      },
    },
    {
      name: "a write tells whether it appended, when asked",
      needs: ["brick"],
      async run({ a }) {
        const fd = await a.create("f");
        const append = async (offset: number): Promise<number | undefined> => {
          const xdata = new Dict().setUint("glusterfs.write-is-append", 1);
          const args = { fd, data: [Buffer.from("abc")], offset, flags: 0, xdata };
          return (await a.top.writev(a.call, args)).xdata?.number("glusterfs.write-is-append");
        };
        expect([await append(0), await append(3), await append(4), await append(100)]).toEqual([1, 1, 0, 0]);
      },
    },
    {
      name: "checksums are adler32 begun at 0 and MD5, or SHA-256 in fips mode",
      needs: ["brick"],
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "The quick brown fox");
        const xdata = new Dict().setInt("check-zero-filled", 1);
        const reply = await a.top.rchecksum(a.call, { fd, offset: 4, size: 5, xdata });
        // "quick" by hand: a is the sum of its bytes, b the sum of those sums.
        const sums = [113, 230, 335, 434, 541];
        expect(reply.weak).toBe(((sums.reduce((x, y) => x + y) << 16) | 541) >>> 0);
        const algorithm = reply.flags & 1 ? "sha256" : "md5";
        const strong = createHash(algorithm).update("quick").digest();
        expect(reply.strong.subarray(0, strong.length).equals(strong)).toBe(true);
        expect(reply.xdata?.number("buf-has-zeroes") ?? 0).toBe(0);
      },
    },
    {
      name: "copy_file_range copies within a file and between files",
      needs: ["brick"],
      async run({ a }) {
        const from = await a.create("from");
        const to = await a.create("to");
        await a.write(from, "0123456789");
        const args = { fdIn: from, offsetIn: 2, fdOut: to, offsetOut: 3, size: 4, flags: 0 };
        const reply = await a.top.copy_file_range(a.call, args);
        expect(reply.size).toBe(4);
        expect(await a.text(to)).toBe("\0\0\0" + "2345");
      },
    },
  ],
};

/** The mixture of operations that fsx is known for, against a buffer. */
async function fsx(session: Session, seed: number): Promise<void> {
  const rng = new Prng(seed);
  const max = 64 * KIB;
  const fd = await session.create(`fsx-${seed}`);
  const { top, call } = session;
  let model = Buffer.alloc(0);
  const resize = (size: number): void => {
    const next = Buffer.alloc(size);
    model.copy(next, 0, 0, Math.min(size, model.length));
    model = next;
  };
  for (let step = 0; step < 150; step++) {
    const where = `seed ${seed} step ${step}`;
    const offset = rng.int(0, max - 1);
    const size = rng.int(1, max - offset);
    switch (rng.pick(["write", "write", "read", "read", "truncate", "discard", "zerofill", "fallocate"])) {
      case "write": {
        const bytes = rng.bytes(size);
        await session.write(fd, bytes, offset);
        resize(Math.max(model.length, offset + size));
        bytes.copy(model, offset);
        break;
      }
      case "read":
        expect(
          (await session.read(fd, offset, size)).equals(model.subarray(offset, offset + size)),
          where,
        ).toBe(true);
        break;
      case "truncate":
        await top.ftruncate(call, { fd, offset });
        resize(offset);
        break;
      case "discard":
        await top.discard(call, { fd, offset, size });
        model.fill(0, Math.min(offset, model.length), Math.min(offset + size, model.length));
        break;
      case "zerofill":
        await top.zerofill(call, { fd, offset, size });
        resize(Math.max(model.length, offset + size));
        model.fill(0, offset, offset + size);
        break;
      case "fallocate": {
        const keepSize = rng.chance(0.5);
        await top.fallocate(call, { fd, keepSize, offset, size });
        if (!keepSize) resize(Math.max(model.length, offset + size));
      }
    }
    expect(await session.size(fd), where).toBe(model.length);
  }
  expect((await session.read(fd, 0, max)).equals(model), `seed ${seed}`).toBe(true);
}
