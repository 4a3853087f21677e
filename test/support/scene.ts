/**
 * What scenarios of a replicated volume need: a volume and a mount of a given cast, bricks that go and come,
 * marks set by hand, heals by the cast's healer.
 */

import { linkSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach } from "vitest";
import type { Cast } from "./casts.ts";
import { gfidOf, type Marks } from "./copies.ts";
import type { FileAgent } from "./file-agent.ts";
import { pendingCount } from "./heal-info.ts";
import { setXattr } from "./libc.ts";
import { type Lab, type Mount, tail } from "./peers.ts";
import { describeExit } from "./processes.ts";
import { Replica, type ReplicaSpec } from "./replica.ts";
import { until } from "./wait.ts";

const PATHINFO = "trusted.glusterfs.pathinfo";
/** GlusterFS tries to connect every 3 s. */
const CONNECT_DEADLINE_MS = 20_000;

/** What a scene is opened with; three copies by default. `mount`: options of the mount. */
export type SceneSpec = Omit<ReplicaSpec, "makes"> & { copies?: 2 | 3; mount?: readonly string[] };

/** Opens scenes, one a test, that are closed when the test ends. To be called where hooks may be. */
export function sceneOpener(lab: Lab): (cast: Cast, spec?: SceneSpec) => Promise<Scene> {
  let scene: Scene | undefined;
  afterEach(async () => {
    await scene?.close();
    scene = undefined;
  });
  return async (cast, spec) => {
    scene = await Scene.open(lab, cast, spec);
    return scene;
  };
}

/** One scenario: a volume of a cast, its mount, and what may happen to them. */
export class Scene {
  readonly replica: Replica;
  readonly mount: Mount;
  readonly cast: Cast;
  readonly #agent: FileAgent;

  private constructor(replica: Replica, mount: Mount, cast: Cast) {
    this.#agent = replica.lab.agent();
    this.replica = replica;
    this.mount = mount;
    this.cast = cast;
  }

  static async open(lab: Lab, cast: Cast, { copies = 3, mount, ...spec }: SceneSpec = {}): Promise<Scene> {
    const makes = Array.from({ length: copies }, () => cast.bricks);
    const replica = await Replica.start(lab, { ...spec, makes });
    return new Scene(replica, await replica.mount(cast.client, mount ? { mount } : {}), cast);
  }

  at(path: string): string {
    return join(this.mount.mountpoint, path);
  }

  brick(index: number, path: string): string {
    return join(this.replica.directory(index), path);
  }

  /** Runs changes while some bricks are away; resolves when the mount has them back. */
  async without(indexes: readonly number[], change: () => Promise<unknown>): Promise<void> {
    await this.replica.kill(...indexes);
    await change();
    await this.revive(...indexes);
  }

  /** Changes brick directories behind everybody's back: with all bricks down, as none expects it. */
  async byHand(change: () => void): Promise<void> {
    const all = this.replica.bricks.map((_, index) => index);
    await this.replica.kill(...all);
    change();
    await this.replica.revive(...all);
  }

  async revive(...indexes: readonly number[]): Promise<void> {
    await this.replica.revive(...indexes);
    await this.untilConnected(...indexes);
  }

  /** Waits until the mount reaches these bricks, all by default. */
  untilConnected(...indexes: readonly number[]): Promise<void> {
    return this.untilReached(this.mount, ...indexes);
  }

  /** The same for any mount of the volume, by where it says that its root lies. */
  async untilReached(mount: Mount, ...indexes: readonly number[]): Promise<void> {
    const all = this.replica.bricks.map((_, index) => index);
    const wanted = (indexes.length > 0 ? indexes : all).map((index) => this.replica.directory(index));
    let seen = "";
    await until(
      "the mount reaches its bricks",
      async () => {
        seen = await this.#agent.getXattr(mount.mountpoint, PATHINFO).then(String, String);
        return wanted.every((directory) => seen.includes(directory));
      },
      {
        deadlineMs: CONNECT_DEADLINE_MS,
        detail: () => `${seen}\n${tail(mount.logFile)}\n${this.replica.logs()}`,
      },
    );
  }

  /** Heals, and asks both makes whether anything is left. */
  async heal(): Promise<void> {
    await this.replica.heal(this.cast.healer);
    const info = await this.replica.stockHealInfo();
    if (pendingCount(info) > 0) throw new Error(`glfsheal finds more to heal: ${JSON.stringify(info)}`);
    const ours = await this.replica.mortarHeal("info");
    if (ours.code !== 0 || /^Number of entries: [1-9]/m.test(ours.stdout))
      throw new Error(`mortar heal finds more to heal: ${describeExit(ours)}`);
  }

  /** Sets the marks of a copy by hand. */
  setMarks(index: number, path: string, marks: Marks): void {
    for (const [key, hex] of Object.entries(marks)) {
      const name = key === "dirty" ? key : `${this.replica.name}-${key}`;
      setXattr(this.brick(index, path), `trusted.afr.${name}`, Buffer.from(hex.replaceAll(" ", ""), "hex"));
    }
  }

  /** The same, and lists it in that brick's index. */
  blame(index: number, path: string, marks: Marks): void {
    const brick = this.replica.directory(index);
    this.setMarks(index, path, marks);
    const indices = join(brick, ".glusterfs", "indices", "xattrop");
    const base = readdirSync(indices).find((name) => name.startsWith("xattrop-"));
    const entry = join(indices, gfidOf(brick, path));
    if (base === undefined) writeFileSync(entry, "");
    else linkSync(join(indices, base), entry);
  }

  async close(): Promise<void> {
    await this.replica.lab.unmount(this.mount);
    await this.#agent.process.kill();
    await Promise.all(this.replica.bricks.map(({ process }) => process.kill()));
  }
}
