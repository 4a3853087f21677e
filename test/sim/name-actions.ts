/**
 * What programs do with names. Names in the directory `shared` are made and removed by all clients, those in
 * `own-CLIENT` are made, linked, renamed and removed by one of them; all look at all.
 *
 * In runs with images a new file gets contents, written once: whoever finds its name later reads them, and
 * never a byte of another file.
 */

import { type Gfid, gfidText } from "../../src/core/gfid.ts";
import { S_IFDIR } from "../../src/core/iatt.ts";
import type { Inode } from "../../src/core/inode.ts";
import { type Acting, whenMissing } from "./acting.ts";
import { ABSENT, CELL_BYTES, ImageModel, shortId } from "./model.ts";
import type { Register } from "./register.ts";

export const SHARED = "shared";
const NAMES = ["a", "b", "c", "d"] as const;

export class NameActions {
  readonly #acting: Acting;

  constructor(acting: Acting) {
    this.#acting = acting;
  }

  async create(): Promise<void> {
    const { edge, random } = this.#acting;
    const { dir, name, register, path } = await this.#place(false);
    const gfid = edge.newGfid();
    const directory = random.chance(0.2);
    await this.#acting.change(
      `${directory ? "mkdir" : "create"} ${path} ${shortId(gfid)}`,
      (change) => register.write(change, shortId(gfid)),
      async () => {
        if (directory) await edge.mkdir(dir, name, gfid);
        else if (this.#acting.plan.imageCells) await this.#createImage(dir, name, gfid);
        else await edge.close(await edge.create(dir, name, gfid));
        return true;
      },
    );
  }

  /** What becomes of the contents does not matter to the name. */
  async #createImage(dir: Inode, name: string, gfid: Gfid): Promise<void> {
    const { edge, numbers, plan, model } = this.#acting;
    const image = new ImageModel(shortId(gfid), numbers.next++, plan.imageCells!);
    model.images.set(image.id, image);
    const fd = await edge.create(dir, name, gfid);
    try {
      const { bytes } = image;
      const size = await edge.write(fd, bytes, 0);
      await edge.top.fsync(edge.call, { fd, datasync: false });
      if (!this.#acting.abandoned) image.isWhole = size === bytes.length;
    } catch (error) {
      this.#acting.note(`contents of ${image.id}: ${String(error)}`);
    }
    await edge.close(fd).catch(() => {});
  }

  async unlink(): Promise<void> {
    const { edge } = this.#acting;
    const { dir, name, register, path } = await this.#place(false);
    const { inode } = await edge.lookup(dir, name);
    const directory = inode.type === S_IFDIR;
    await this.#acting.change(
      `${directory ? "rmdir" : "unlink"} ${path}`,
      (change) => register.write(change, ABSENT),
      async () => {
        if (directory) await edge.rmdir(dir, name);
        else await edge.unlink(dir, name);
        return true;
      },
    );
  }

  async rename(): Promise<void> {
    const { edge, random, model } = this.#acting;
    const { dir, name, register, path } = await this.#place(true);
    const to = random.pick(NAMES.filter((other) => other !== name));
    const { inode } = await edge.lookup(dir, name);
    // Two names of one file: the kernel does nothing then.
    const there = await edge.lookup(dir, to).catch(whenMissing("ENOENT", undefined));
    if (there?.inode === inode) return;
    const target = model.name(path.replace(/[^/]+$/, to));
    await this.#acting.change(
      `rename ${path} to ${to}`,
      (change) => {
        register.write(change, ABSENT);
        target.write(change, shortId(inode.gfid));
      },
      async () => {
        await edge.rename(dir, name, to);
        return true;
      },
    );
  }

  /** Renames into the directory in which all clients change names. */
  async move(): Promise<void> {
    const { edge, random, model } = this.#acting;
    const { dir, name, register, path } = await this.#place(true);
    const to = random.pick(NAMES);
    const { inode } = await edge.lookup(dir, name);
    const toDir = await this.#acting.dir(SHARED);
    const there = await edge.lookup(toDir, to).catch(whenMissing("ENOENT", undefined));
    if (there?.inode === inode) return;
    const target = model.name(`${SHARED}/${to}`);
    await this.#acting.change(
      `move ${path} to ${SHARED}/${to}`,
      (change) => {
        register.write(change, ABSENT);
        target.write(change, shortId(inode.gfid));
      },
      async () => {
        await edge.rename(dir, name, to, toDir);
        return true;
      },
    );
  }

  async lookup(): Promise<void> {
    const { edge, random, model, client } = this.#acting;
    const path = random.pick(this.#paths());
    const [dirName, name] = path.split("/") as [string, string];
    const dir = await this.#acting.dir(dirName);
    const startTick = model.tick();
    const found = await edge
      .lookup(dir, name)
      .then(({ inode }) => shortId(inode.gfid), whenMissing("ENOENT", ABSENT));
    if (this.#acting.abandoned) return;
    this.#acting.note(`lookup ${path}: ${found}`);
    model.judge(`${client.name}: ${path}`, model.name(path), found, startTick);
  }

  /** Reads the contents of a file that somebody made. */
  async peek(): Promise<void> {
    const { edge, random, model, client } = this.#acting;
    const path = random.pick(this.#paths());
    const [dirName, name] = path.split("/") as [string, string];
    const dir = await this.#acting.dir(dirName);
    const { inode } = await edge.lookup(dir, name);
    const image = model.images.get(shortId(inode.gfid));
    if (image === undefined) return;
    const isWhole = image.isWhole;
    const fd = await edge.open(inode);
    try {
      const bytes = await edge.read(fd, 0, (image.cells + 1) * CELL_BYTES);
      // A file that was removed meanwhile may be gone in part.
      const { stat } = await edge.lookup(dir, name);
      if (this.#acting.abandoned) return;
      this.#acting.note(`peek at ${path}: ${bytes.length} bytes of ${image.id}`);
      const isThere = gfidText(stat.gfid) === gfidText(inode.gfid);
      model.judgeImage(`${client.name}: ${path}`, image, bytes, isWhole && isThere);
    } finally {
      await edge.close(fd).catch(() => {});
    }
  }

  async link(): Promise<void> {
    const { edge, random, model } = this.#acting;
    const { dir, name, path } = await this.#place(true);
    const to = random.pick(NAMES.filter((other) => other !== name));
    const { inode } = await edge.lookup(dir, name);
    if (inode.type === S_IFDIR) return;
    const target = model.name(path.replace(/[^/]+$/, to));
    await this.#acting.change(
      `link ${path} to ${to}`,
      (change) => target.write(change, shortId(inode.gfid)),
      async () => {
        await edge.link(inode, dir, to);
        return true;
      },
    );
  }

  async list(): Promise<void> {
    const { edge, random, model, plan, client } = this.#acting;
    const dirName = random.chance(0.5) ? SHARED : `own-${client.name}`;
    const dir = await this.#acting.dir(dirName);
    const startTick = model.tick();
    if (plan.freshReads) await edge.refresh(dir);
    const names = await edge.list(dir);
    if (this.#acting.abandoned) return;
    this.#acting.note(`list ${dirName}: ${names.join(" ")}`);
    for (const name of NAMES) {
      const path = `${dirName}/${name}`;
      model.judgeListed(`${client.name}: ${path}`, model.name(path), names.includes(name), startTick);
    }
  }

  /** A directory and a name in it. `mine`: one in which this client alone changes names. */
  async #place(
    mine: boolean,
  ): Promise<{ dir: Inode; name: string; register: Register<string>; path: string }> {
    const { random, client, model } = this.#acting;
    const dirName = mine || random.chance(0.4) ? `own-${client.name}` : SHARED;
    const name = random.pick(NAMES);
    const path = `${dirName}/${name}`;
    return { dir: await this.#acting.dir(dirName), name, path, register: model.name(path) };
  }

  #paths(): string[] {
    const { clients } = this.#acting.plan;
    const dirs = [SHARED, ...Array.from({ length: clients }, (_, i) => `own-client-${i}`)];
    return dirs.flatMap((dir) => NAMES.map((name) => `${dir}/${name}`));
  }
}
