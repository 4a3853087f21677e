/** Directory listings: complete, in pieces, resumed, while the directory changes. */

import { expect } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import type { Dirent } from "../../src/core/fops.ts";
import { gfidEquals, inoOf } from "../../src/core/gfid.ts";
import { S_IFIFO } from "../../src/core/iatt.ts";
import type { Fd } from "../../src/core/inode.ts";
import type { Session } from "../support/session.ts";
import type { Subject } from "./suite.ts";

const DT_DIR = 4;
const DT_REG = 8;
const DT_LNK = 10;
const DT_FIFO = 1;

/** Makes files n0, n1 ... and returns their names. */
async function fill(session: Session, count: number): Promise<string[]> {
  const made = Array.from({ length: count }, (_, index) => `n${index}`);
  for (const name of made) await session.release(await session.create(name));
  return made;
}

async function readPiece(session: Session, fd: Fd, offset: bigint, size = 1024) {
  return session.top.readdir(session.call, { fd, size, offset });
}

/** From an offset to the end, in pieces. */
async function readRest(session: Session, fd: Fd, offset: bigint): Promise<Dirent[]> {
  const all: Dirent[] = [];
  for (;;) {
    const { entries, eof } = await readPiece(session, fd, offset);
    all.push(...entries);
    if (eof || entries.length === 0) return all;
    offset = entries.at(-1)!.offset;
  }
}

function namesOf(entries: readonly Dirent[]): string[] {
  return entries.map(({ name }) => name).filter((name) => name !== "." && name !== "..");
}

export const readdir: Subject = {
  name: "readdir",
  cases: [
    {
      name: 'a new directory has no entries but "." and ".."',
      async run({ a }) {
        const dir = await a.mkdir("d");
        const fd = await a.opendir(dir);
        const { entries, eof } = await readPiece(a, fd, 0n);
        expect(eof).toBe(true);
        expect(entries.every(({ name }) => name === "." || name === "..")).toBe(true);
        expect(await a.list(dir)).toEqual([]);
      },
    },
    {
      name: "every name once, with its type and inode number, however small the pieces",
      async run({ a, b }) {
        await a.create("file");
        await a.mkdir("dir");
        await a.symlink("link", "t");
        await a.mknod("fifo", S_IFIFO | 0o600);
        const types: Record<string, number> = { file: DT_REG, dir: DT_DIR, link: DT_LNK, fifo: DT_FIFO };
        for (const size of [1, 300, 65536]) {
          const fd = await b.opendir();
          const entries: Dirent[] = [];
          for (let offset = 0n, eof = false; !eof; ) {
            const piece = await readPiece(b, fd, offset, size);
            entries.push(...piece.entries);
            offset = piece.entries.at(-1)?.offset ?? offset;
            eof = piece.eof || piece.entries.length === 0;
          }
          expect(namesOf(entries).sort()).toEqual(Object.keys(types).sort());
          for (const { name, type, ino } of entries) {
            if (!(name in types)) continue;
            expect([types[name], 0], name).toContain(type);
            expect(ino, name).toBe(inoOf((await b.stat(name)).gfid));
          }
        }
      },
    },
    {
      name: "a thousand names come whole, from a second open directory as well",
      async run({ a }) {
        const made = await fill(a, 1000);
        for (let round = 0; round < 2; round++) expect((await a.list()).sort()).toEqual([...made].sort());
      },
    },
    {
      name: "an entry's offset resumes right after it, on the same fd and on another one",
      async run({ a, b }) {
        await fill(a, 50);
        const fd = await a.opendir();
        const all = await readRest(a, fd, 0n);
        const other = await b.opendir();
        for (const at of [0, 7, 49, all.length - 1]) {
          const expected = namesOf(all.slice(at + 1));
          expect(namesOf(await readRest(a, fd, all[at]!.offset)), `entry ${at}`).toEqual(expected);
          expect(namesOf(await readRest(b, other, all[at]!.offset)).sort(), `other fd, entry ${at}`).toEqual(
            [...expected].sort(),
          );
        }
      },
    },
    {
      name: "reading again from 0 sees what changed",
      async run({ a }) {
        await fill(a, 3);
        const fd = await a.opendir();
        await readRest(a, fd, 0n);
        await a.unlink("n1");
        await a.create("new");
        expect(namesOf(await readRest(a, fd, 0n)).sort()).toEqual(["n0", "n2", "new"]);
      },
    },
    {
      name: "names that stay are listed exactly once while others come and go",
      async run({ a, b }) {
        const made = await fill(a, 200);
        const stay = made.filter((_, index) => index % 4 !== 0);
        const fd = await a.opendir();
        const seen: string[] = [];
        for (let offset = 0n, round = 0, eof = false; !eof; round++) {
          const piece = await readPiece(a, fd, offset, 600);
          seen.push(...namesOf(piece.entries));
          offset = piece.entries.at(-1)?.offset ?? offset;
          eof = piece.eof || piece.entries.length === 0;
          const victim = made[round * 4];
          if (victim) await b.unlink(victim);
          await b.create(`late${round}`);
        }
        for (const name of stay)
          expect(
            seen.filter((one) => one === name),
            name,
          ).toEqual([name]);
        expect(new Set(seen).size).toBe(seen.length);
      },
    },
    {
      name: "everything can be removed while it is listed",
      async run({ a }) {
        await fill(a, 100);
        const fd = await a.opendir();
        for (let offset = 0n, eof = false; !eof; ) {
          const piece = await readPiece(a, fd, offset, 700);
          for (const name of namesOf(piece.entries)) await a.unlink(name);
          offset = piece.entries.at(-1)?.offset ?? offset;
          eof = piece.eof || piece.entries.length === 0;
        }
        expect(await a.list()).toEqual([]);
      },
    },
    {
      name: "readdirp brings the attributes, and xattrs that are asked for",
      needs: ["brick"],
      async run({ a, b }) {
        const fd = await a.create("f");
        await a.write(fd, "12345");
        await a.mkdir("d");
        await a.setxattr(await a.inode("f"), "user.x", "value");
        const dir = await b.opendir();
        const xdata = new Dict().setInt("user.x", 0);
        const { entries } = await b.top.readdirp(b.call, { fd: dir, size: 65536, offset: 0n, xdata });
        const file = entries.find(({ name }) => name === "f")!;
        expect(file.stat).toEqual(await b.stat("f"));
        expect(file.xattrs!.bytes("user.x")!.toString()).toBe("value");
        const sub = entries.find(({ name }) => name === "d")!;
        expect(gfidEquals(sub.stat.gfid, (await b.stat("d")).gfid)).toBe(true);
        expect(sub.xattrs?.has("user.x") ?? false).toBe(false);
      },
    },
  ],
};
