/**
 * Random histories of names by two clients, against a plain map: every errno agrees, both clients see the
 * same in the end, and the bricks hold each file once. In between linkto files vanish, stale ones appear, and
 * bricks go and come.
 */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { newGfid } from "../../../../src/core/gfid.ts";
import { S_IFREG } from "../../../../src/core/iatt.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { outcome } from "../../../conformance/suite.ts";
import { Prng } from "../../../support/prng.ts";
import type { Session } from "../../../support/session.ts";
import { LINKTO, Spread } from "./spread.ts";

const SEEDS = [1, 2, 3, 4, 5, 6];
const STEPS = 120;
/** A linkto file that is lost matters to nobody then. */
const LOOKS_EVERYWHERE = { "lookup-optimize": "off" };
const NAMES = Array.from({ length: 8 }, (_, index) => `n${index}`);

/** Content of files; `undefined` is a directory (always empty). */
type Model = Map<string, string | undefined>;

/** One change of names by one client; the errno that it must end with. */
async function step(session: Session, model: Model, rng: Prng, parent: Inode, count: number): Promise<void> {
  const name = rng.pick(NAMES);
  const to = rng.pick(NAMES);
  const what = rng.pick([
    "create",
    "create",
    "mkdir",
    "unlink",
    "rmdir",
    "rename",
    "rename",
    "rename",
    "link",
  ]);
  const isThere = model.has(name);
  const isDirectory = isThere && model.get(name) === undefined;
  // As a kernel does, which is also what takes stale linkto files out of the way.
  await outcome(session.lookup(name, parent));
  await outcome(session.lookup(to, parent));
  const label = `step ${count}: ${what} ${name} ${to}`;
  switch (what) {
    case "create": {
      const content = `${count}`;
      const got = await outcome(writeNew(session, name, parent, content));
      expect(got, label).toBe(isThere ? "EEXIST" : "ok");
      if (!isThere) model.set(name, content);
      return;
    }
    case "mkdir":
      expect(await outcome(session.mkdir(name, { parent })), label).toBe(isThere ? "EEXIST" : "ok");
      if (!isThere) model.set(name, undefined);
      return;
    case "unlink":
      expect(await outcome(session.unlink(name, parent)), label).toBe(
        isDirectory ? "EISDIR" : isThere ? "ok" : "ENOENT",
      );
      if (isThere && !isDirectory) model.delete(name);
      return;
    case "rmdir":
      expect(await outcome(session.rmdir(name, parent)), label).toBe(
        isDirectory ? "ok" : isThere ? "ENOTDIR" : "ENOENT",
      );
      if (isDirectory) model.delete(name);
      return;
    case "link": {
      if (!isThere || isDirectory) return;
      const got = await outcome(session.link(await session.inode(name, parent), to, parent));
      expect(got, label).toBe(model.has(to) ? "EEXIST" : "ok");
      // Only one of the names is kept: files of several names may not replace each other by name.
      if (got === "ok") await session.unlink(to, parent);
      return;
    }
    default: {
      const expected = renamed(model, name, to);
      expect(await outcome(session.rename(name, to, parent)), label).toBe(expected);
    }
  }
}

function renamed(model: Model, from: string, to: string): string {
  if (!model.has(from)) return "ENOENT";
  if (from === to) return "ok";
  const moved = model.get(from);
  if (model.has(to)) {
    const target = model.get(to);
    if (moved === undefined && target !== undefined) return "ENOTDIR";
    if (moved !== undefined && target === undefined) return "EISDIR";
  }
  model.delete(from);
  model.set(to, moved);
  return "ok";
}

async function writeNew(session: Session, name: string, parent: Inode, content: string): Promise<void> {
  const fd = await session.create(name, { parent, flags: 0o302 });
  await session.write(fd, content);
  await session.release(fd);
}

/** What time and accidents do to linkto files. */
async function disturb(spread: Spread, rng: Prng, parent: Inode): Promise<void> {
  const name = rng.pick(NAMES);
  const child = rng.int(0, 2);
  const shown = await spread.shown(name, parent);
  if (rng.chance(0.5)) {
    if (shown[child]?.startsWith("link")) await spread.brick(child).unlink(name, parent);
    return;
  }
  if (shown.some((one) => one !== undefined)) return;
  const target = spread.distribute.set.names[(child + 1) % 3]!;
  const xdata = new Dict().setGfid("gfid-req", newGfid()).setStr(LINKTO, target);
  const brick = spread.brick(child);
  const args = { loc: brick.at(name, parent), mode: S_IFREG | 0o1000, rdev: 0, umask: 0, xdata };
  // On its own child only: nobody looks for one elsewhere as long as the name is not there.
  if (spread.distribute.set.childFor(spread.distribute.set.states.of(parent).layout!, name) === child)
    await brick.top.mknod(brick.call, args);
}

async function seenBy(session: Session, parent: Inode): Promise<Model> {
  const seen: Model = new Map();
  for (const name of await session.list(parent)) {
    const { inode, stat } = await session.lookup(name, parent);
    const isDirectory = (stat.mode & 0o170000) === 0o040000;
    const fd = isDirectory ? undefined : await session.open(inode);
    seen.set(name, fd && (await session.text(fd)));
    if (fd) await session.release(fd);
  }
  return seen;
}

describe("random histories of two clients", () => {
  it.each(SEEDS)("end as a plain directory would, seed %i", async (seed) => {
    await using spread = await Spread.start({ contracts: seed % 2 === 0, options: LOOKS_EVERYWHERE });
    const rng = new Prng(seed);
    const other = await spread.second(LOOKS_EVERYWHERE);
    const parent = await spread.session.mkdir("d");
    const parents = [parent, await other.inode("d")] as const;
    const clients = [spread.session, other] as const;
    const model: Model = new Map();
    for (let count = 0; count < STEPS; count++) {
      const which = rng.int(0, 1);
      if (rng.chance(0.2)) await disturb(spread, rng, parent);
      await step(clients[which]!, model, rng, parents[which]!, count);
    }
    for (const [which, client] of clients.entries())
      expect([...(await seenBy(client, parents[which]!))].sort()).toEqual([...model].sort());
    for (const [name, content] of model) {
      const shown = await spread.shown(name, parent);
      const data = shown.filter((one) => one === "data").length;
      expect(data, `${name}: ${shown.join()}`).toBe(content === undefined ? 0 : 1);
      expect(shown.filter((one) => one?.startsWith("link")).length).toBeLessThanOrEqual(1);
    }
    await other.end();
  });

  it.each(SEEDS)(
    "at the same time leave each file once, with what one of them wrote, seed %i",
    async (seed) => {
      await using spread = await Spread.start({ contracts: false });
      const other = await spread.second();
      const parent = await spread.session.mkdir("d");
      const parents = [parent, await other.inode("d")] as const;
      const run = async (client: Session, directory: Inode, rng: Prng): Promise<void> => {
        for (let count = 0; count < STEPS; count++) {
          const name = rng.pick(NAMES);
          const work = rng.pick([
            () => writeNew(client, name, directory, `${seed}`),
            () => client.rename(name, rng.pick(NAMES), directory),
            () => client.rename(name, rng.pick(NAMES), directory),
            () => client.unlink(name, directory),
            () => client.lookup(name, directory),
          ]);
          const got = await outcome(work());
          expect(["ok", "ENOENT", "EEXIST", "ESTALE"], `seed ${seed} step ${count}`).toContain(got);
        }
      };
      await Promise.all([
        run(spread.session, parents[0], new Prng(seed)),
        run(other, parents[1], new Prng(seed + 100)),
      ]);
      const ours = await seenBy(spread.session, parents[0]);
      expect([...(await seenBy(other, parents[1]))].sort()).toEqual([...ours].sort());
      for (const [name, content] of ours) {
        expect(["", `${seed}`]).toContain(content);
        const shown = await spread.shown(name, parent);
        expect(
          shown.filter((one) => one === "data"),
          `${name}: ${shown.join()}`,
        ).toHaveLength(1);
      }
      await other.end();
    },
  );
});
