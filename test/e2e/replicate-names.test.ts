/**
 * Names on a volume of three copies under a rule of quorum, changed by clients of both makes in turn while
 * one brick after the other is away: healed by either make, no removed name returns and no new one is lost.
 * And renames that one copy alone has seen.
 */

import { statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { cast, casts } from "../support/casts.ts";
import { counts } from "../support/copies.ts";
import { codeOf, type FileAgent } from "../support/file-agent.ts";
import { Lab, type Mount } from "../support/peers.ts";
import { Scene } from "../support/scene.ts";

const DIRECTORY = "d";
const MOVED_TO = "d/moved";

const lab = new Lab("replicate-names");
afterAll(() => lab.close());

/** What is to be seen in the end: contents by path, directories as undefined. */
type Tree = Map<string, string | undefined>;

/** One client that changes names in one phase; `label` keeps its names apart from those of others. */
class Changer {
  readonly #agent: FileAgent;
  readonly #root: string;
  readonly #label: string;
  readonly #tree: Tree;

  constructor(agent: FileAgent, mount: Mount, label: string, tree: Tree) {
    this.#agent = agent;
    this.#root = mount.mountpoint;
    this.#label = label;
    this.#tree = tree;
  }

  /** What has to be there before the phase. */
  async prepare(): Promise<void> {
    for (const name of ["gone", "old", "again", "over", "onto"]) await this.#write(this.#named(name), name);
    await this.#mkdir(this.#named("tree"));
    await this.#write(this.#named("tree/file"), "inside");
    await this.#write(this.#named("linked"), "two names");
    await this.#agent.link(this.#at(this.#named("linked")), this.#at(this.#named("link")));
    this.#tree.set(this.#named("link"), "two names");
  }

  async change(): Promise<void> {
    await this.#unlink(this.#named("gone"));
    await this.#write(this.#named("new"), "created while a brick was away");
    await this.#rename(this.#named("old"), join(MOVED_TO, `old${this.#label}`));
    await this.#rename(this.#named("over"), this.#named("onto"));
    await this.#unlink(this.#named("again"));
    await this.#write(this.#named("again"), "another file of the same name");
    await this.#unlink(this.#named("tree/file"));
    await this.#agent.rmdir(this.#at(this.#named("tree")));
    this.#tree.delete(this.#named("tree"));
    await this.#mkdir(this.#named("made"));
    await this.#write(this.#named("made/file"), "inside what is new");
    await this.#unlink(this.#named("link"));
  }

  /** Takes away, and moves, what another client has made in the phase before. */
  async undo(label: string): Promise<void> {
    await this.#unlink(join(DIRECTORY, `new${label}`));
    await this.#rename(join(MOVED_TO, `old${label}`), join(DIRECTORY, `back${label}`));
    await this.#unlink(join(DIRECTORY, `made${label}`, "file"));
    await this.#agent.rmdir(this.#at(join(DIRECTORY, `made${label}`)));
    this.#tree.delete(join(DIRECTORY, `made${label}`));
  }

  #at(path: string): string {
    return join(this.#root, path);
  }

  /** The label stands at the end of the first part of the name. */
  #named(name: string): string {
    const [first, ...rest] = name.split("/");
    return join(DIRECTORY, `${first}${this.#label}`, ...rest);
  }

  async #write(path: string, content: string): Promise<void> {
    await this.#agent.writeFile(this.#at(path), content);
    this.#tree.set(path, content);
  }

  async #mkdir(path: string): Promise<void> {
    await this.#agent.mkdir(this.#at(path));
    this.#tree.set(path, undefined);
  }

  async #unlink(path: string): Promise<void> {
    await this.#agent.unlink(this.#at(path));
    this.#tree.delete(path);
  }

  async #rename(from: string, to: string): Promise<void> {
    await this.#agent.rename(this.#at(from), this.#at(to));
    this.#tree.set(to, this.#tree.get(from));
    this.#tree.delete(from);
  }
}

async function readTree(agent: FileAgent, root: string, path = DIRECTORY): Promise<Tree> {
  const tree: Tree = new Map();
  for (const name of await agent.list(join(root, path))) {
    const below = join(path, name);
    const isDirectory = (await agent.stat(join(root, below))).type === "directory";
    tree.set(below, isDirectory ? undefined : String(await agent.readFile(join(root, below))));
    if (isDirectory) for (const entry of await readTree(agent, root, below)) tree.set(...entry);
  }
  return tree;
}

const sorted = (tree: Tree): [string, string | undefined][] =>
  [...tree].sort(([one], [other]) => (one < other ? -1 : 1));

const wanted = [cast("mortar", "mortar", "glusterfs"), cast("mortar", "glusterfs", "mortar")];
/** A client of GlusterFS takes part in each. */
const mixtures = casts(wanted).filter(({ client }) => client === "mortar");

// They wait for reconnects and daemons most of the time: that they do together.
describe.concurrent.each(mixtures)("%s", (cast) => {
  it("what clients of both makes remove, make and move stays removed, made and moved", async () => {
    const s = await Scene.open(lab, cast);
    const agent = lab.agent();
    const other = await s.replica.mount("glusterfs");
    const tree: Tree = new Map([[MOVED_TO, undefined]]);
    const changer = (phase: number, mount: Mount): Changer =>
      new Changer(agent, mount, `-${phase}-${mount.make}`, tree);
    const phases = [1, 2].map((phase) => [changer(phase, s.mount), changer(phase, other)] as const);
    await agent.mkdir(s.at(DIRECTORY));
    await agent.mkdir(s.at(MOVED_TO));
    for (const both of phases) for (const one of both) await one.prepare();

    await s.replica.kill(0);
    for (const one of phases[0]!) await one.change();
    await s.revive(0);
    await s.untilReached(other, 0);
    // Nothing is healed yet: of the two that serve now, the first lacks all of it.
    await s.replica.kill(1);
    for (const one of phases[1]!) await one.change();
    // One copy alone has what is new: both makes refuse what only that one could do.
    for (const mount of [s.mount, other])
      expect(await codeOf(agent.unlink(join(mount.mountpoint, DIRECTORY, "new-1-mortar")))).toBe("ENOTCONN");
    await s.revive(1);
    await s.untilReached(other, 1);
    // All are there, and still only the third has everything.
    await phases[1]![0].undo("-1-glusterfs");
    await phases[1]![1].undo("-1-mortar");
    for (const mount of [s.mount, other])
      expect(sorted(await readTree(agent, mount.mountpoint)), mount.make).toEqual(sorted(tree));
    await s.heal();
    for (const mount of [s.mount, other])
      expect(sorted(await readTree(agent, mount.mountpoint)), mount.make).toEqual(sorted(tree));
    await lab.unmount(other);
    await agent.process.kill();
    await s.close();
  });
});

describe.concurrent("on glusterfs bricks", () => {
  it("what was renamed on one copy only, with nobody blamed, has its old name there again", async () => {
    const s = await Scene.open(lab, cast("mortar", "glusterfs", "mortar"));
    const agent = lab.agent();
    for (const path of [DIRECTORY, MOVED_TO, "d/tree"]) await agent.mkdir(s.at(path));
    for (const path of ["d/tree/inside", "d/file", "d/onto", "d/first"])
      await agent.writeFile(s.at(path), path);
    await agent.link(s.at("d/first"), s.at("d/second"));
    const before = sorted(await readTree(agent, s.mount.mountpoint));
    await s.replica.kill(0, 1);
    const lonely = await s.replica.mount("mortar", { replicate: ["quorum-type none"] });
    for (const [from, to] of [
      ["d/tree", "d/moved/tree"],
      ["d/file", "d/onto"],
      ["d/first", "d/moved/third"],
    ] as const)
      await agent.rename(join(lonely.mountpoint, from), join(lonely.mountpoint, to));
    await lab.unmount(lonely);
    await s.byHand(() => {
      for (const path of [DIRECTORY, MOVED_TO]) {
        for (const index of [0, 1]) s.blame(index, path, { dirty: counts(0, 0, 1) });
        const marks = { "client-0": counts(0), "client-1": counts(0), dirty: counts(0, 0, 1) };
        s.setMarks(2, path, marks);
      }
    });
    await s.untilConnected();
    await s.heal();
    expect(sorted(await readTree(agent, s.mount.mountpoint))).toEqual(before);
    for (const index of [0, 1, 2]) expect(statSync(s.brick(index, "d/file")).nlink).toBe(2);
    await agent.process.kill();
    await s.close();
  });
});
