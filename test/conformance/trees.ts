/**
 * Random changes of a small tree against a model of one: every errno has to agree, and the tree in the end.
 * The model is written from POSIX and proved on a plain directory like the rest.
 */

import { expect } from "vitest";
import type { Inode } from "../../src/core/inode.ts";
import { Prng } from "../support/prng.ts";
import type { Session } from "../support/session.ts";
import { outcome, type Subject } from "./suite.ts";

/** A file counts its names; a directory holds them. */
interface ModelFile {
  readonly kind: "file";
  links: number;
}

interface ModelDir {
  readonly kind: "dir";
  readonly entries: Map<string, ModelNode>;
  parent: ModelDir | undefined;
  inode: Inode;
}

type ModelNode = ModelFile | ModelDir;

const NAMES = ["a", "b", "c"];
const STEPS = 150;

class Model {
  readonly root: ModelDir;
  dirs: ModelDir[];

  constructor(root: Inode) {
    this.root = { kind: "dir", entries: new Map(), parent: undefined, inode: root };
    this.dirs = [this.root];
  }

  create(dir: ModelDir, name: string): string {
    if (dir.entries.has(name)) return "EEXIST";
    dir.entries.set(name, { kind: "file", links: 1 });
    return "ok";
  }

  mkdir(dir: ModelDir, name: string, inode: Inode): void {
    const made: ModelDir = { kind: "dir", entries: new Map(), parent: dir, inode };
    dir.entries.set(name, made);
    this.dirs.push(made);
  }

  unlink(dir: ModelDir, name: string): string {
    const node = dir.entries.get(name);
    if (!node) return "ENOENT";
    if (node.kind === "dir") return "EISDIR";
    node.links--;
    dir.entries.delete(name);
    return "ok";
  }

  rmdir(dir: ModelDir, name: string): string {
    const node = dir.entries.get(name);
    if (!node) return "ENOENT";
    if (node.kind === "file") return "ENOTDIR";
    if (node.entries.size > 0) return "ENOTEMPTY";
    this.#removeDir(dir, name, node);
    return "ok";
  }

  link(from: ModelDir, name: string, to: ModelDir, newName: string): string {
    const node = from.entries.get(name)!;
    if (to.entries.has(newName)) return "EEXIST";
    if (node.kind === "dir") return "EPERM";
    node.links++;
    to.entries.set(newName, node);
    return "ok";
  }

  rename(from: ModelDir, name: string, to: ModelDir, newName: string): string {
    const moved = from.entries.get(name);
    if (!moved) return "ENOENT";
    const victim = to.entries.get(newName);
    if (moved === victim) return "ok";
    if (moved.kind === "dir" && isBelow(to, moved)) return "EINVAL";
    if (victim) {
      // An ancestor of what moves cannot be empty, and the kernel says just that.
      if (victim.kind === "dir" && isBelow(from, victim)) return "ENOTEMPTY";
      if (moved.kind === "dir" && victim.kind === "file") return "ENOTDIR";
      if (moved.kind === "file" && victim.kind === "dir") return "EISDIR";
      if (victim.kind === "dir" && victim.entries.size > 0) return "ENOTEMPTY";
      if (victim.kind === "dir") this.#removeDir(to, newName, victim);
      else victim.links--;
    }
    from.entries.delete(name);
    to.entries.set(newName, moved);
    if (moved.kind === "dir") moved.parent = to;
    return "ok";
  }

  #removeDir(parent: ModelDir, name: string, dir: ModelDir): void {
    parent.entries.delete(name);
    this.dirs = this.dirs.filter((other) => other !== dir);
  }
}

function isBelow(dir: ModelDir | undefined, top: ModelDir): boolean {
  for (let at = dir; at; at = at.parent) if (at === top) return true;
  return false;
}

/** The tree as text, with link counts: of the model, and of the graph as a session sees it. */
function shownModel(dir: ModelDir, path = ""): string[] {
  return [...dir.entries].sort(byName).flatMap(([name, node]) => {
    const here = `${path}/${name}`;
    if (node.kind === "file") return [`${here} ${node.links}`];
    const subdirectories = [...node.entries.values()].filter(({ kind }) => kind === "dir").length;
    return [`${here}/ ${2 + subdirectories}`, ...shownModel(node, here)];
  });
}

async function shownGraph(session: Session, dir: Inode, path = ""): Promise<string[]> {
  const out: string[] = [];
  for (const name of (await session.list(dir)).sort()) {
    const { stat, inode } = await session.lookup(name, dir);
    const here = `${path}/${name}`;
    const isDir = (stat.mode & 0o170000) === 0o040000;
    out.push(isDir ? `${here}/ ${stat.nlink}` : `${here} ${stat.nlink}`);
    if (isDir) out.push(...(await shownGraph(session, inode, here)));
  }
  return out;
}

function byName([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : 1;
}

/** One random change of both; the errno of the graph and the one that the model expects. */
async function step(
  session: Session,
  model: Model,
  rng: Prng,
): Promise<{ what: string; got: string; expected: string }> {
  const [dir, other] = [rng.pick(model.dirs), rng.pick(model.dirs)];
  const [name, newName] = [rng.pick(NAMES), rng.pick(NAMES)];
  const what = rng.pick([
    "create",
    "create",
    "mkdir",
    "mkdir",
    "unlink",
    "rmdir",
    "link",
    "rename",
    "rename",
    "rename",
  ]);
  switch (what) {
    case "create": {
      const got = await outcome(session.mknod(name, 0o100644, { parent: dir.inode }));
      return { what, got, expected: model.create(dir, name) };
    }
    case "mkdir": {
      const made = session.mkdir(name, { parent: dir.inode });
      const got = await outcome(made);
      const expected = dir.entries.has(name) ? "EEXIST" : "ok";
      if (expected === "ok" && got === "ok") model.mkdir(dir, name, await made);
      return { what, got, expected };
    }
    case "unlink":
      return { what, got: await outcome(session.unlink(name, dir.inode)), expected: model.unlink(dir, name) };
    case "rmdir":
      return { what, got: await outcome(session.rmdir(name, dir.inode)), expected: model.rmdir(dir, name) };
    case "link": {
      const node = dir.entries.get(name);
      // A directory onto a name that is there is wrong twice; which of the two is told is nobody's business.
      if (!node || (node.kind === "dir" && other.entries.has(newName)))
        return { what, got: "ok", expected: "ok" };
      const inode = await session.inode(name, dir.inode);
      const got = await outcome(session.link(inode, newName, other.inode));
      return { what, got, expected: model.link(dir, name, other, newName) };
    }
    default: {
      const got = await outcome(session.rename(name, newName, dir.inode, other.inode));
      return { what, got, expected: model.rename(dir, name, other, newName) };
    }
  }
}

export const trees: Subject = {
  name: "trees",
  cases: [
    {
      name: "random changes of names end as POSIX says, errnos included, and the other client sees the same",
      async run({ a, b }) {
        for (const seed of [11, 12, 13]) {
          const root = await a.mkdir(`seed${seed}`);
          const model = new Model(root);
          const rng = new Prng(seed);
          for (let count = 0; count < STEPS; count++) {
            const { what, got, expected } = await step(a, model, rng);
            expect(got, `seed ${seed} step ${count} ${what}`).toBe(expected);
          }
          const shown = shownModel(model.root);
          expect(await shownGraph(a, root), `seed ${seed}`).toEqual(shown);
          expect(await shownGraph(b, await b.inode(`seed${seed}`)), `seed ${seed}`).toEqual(shown);
        }
      },
    },
  ],
};
