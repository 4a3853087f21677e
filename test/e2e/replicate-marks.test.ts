/**
 * What a replicated volume's bricks remember of operations that a copy missed: after each step of a script,
 * the marks and indices that Mortar leaves are those that GlusterFS leaves, byte for byte, names aside. A
 * dirty mark of zeroes counts as none: Mortar announces changes of xattrs, and the key stays when they are
 * done.
 *
 * The script begins with that of translators.md 12 and goes on with every other operation that changes
 * something: with a brick away, with a brick back and stale, and with another away then.
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cast } from "../support/casts.ts";
import { codeOf, type FileAgent } from "../support/file-agent.ts";
import { Lab, type Make } from "../support/peers.ts";
import { Scene } from "../support/scene.ts";
import { until } from "../support/wait.ts";

const BLOCK = 4096;
const PUNCH_HOLE = 3;

const lab = new Lab("replicate-marks");
afterAll(() => lab.close());

type At = (path: string) => string;
type Step = readonly [name: string, run: (agent: FileAgent, at: At) => Promise<unknown>];

/** With all bricks up. */
const BEFORE: readonly Step[] = [
  [
    "directories",
    async (agent, at) => {
      for (const name of ["d", "e", "victims", "victims/directory"]) await agent.mkdir(at(name));
    },
  ],
  [
    "files",
    async (agent, at) => {
      for (const name of ["img", "d/f", "d/g", "d/h", "p", "q", "e/old", "victims/file", "open"])
        await agent.writeFile(at(name), `content of ${name}`);
    },
  ],
  [
    "xattrs",
    async (agent, at) => {
      for (const name of ["user.one", "user.two"]) await agent.setXattr(at("d/f"), name, "value");
    },
  ],
  [
    "links",
    async (agent, at) => {
      await agent.link(at("q"), at("q2"));
      await agent.symlink("q", at("victims/link"));
    },
  ],
];

/** Translators.md 12, without shards. */
const SPEC: readonly Step[] = [
  ["write", (agent, at) => write(agent, at("img"), 0)],
  ["write again", (agent, at) => write(agent, at("img"), BLOCK)],
  ["chmod", (agent, at) => agent.chmod(at("d/f"), "0600")],
  [
    "touch",
    async (agent, at) => {
      await agent.close(await agent.open(at("d/new"), "O_WRONLY|O_CREAT"));
      await agent.utimes(at("d/new"), "1234567890000000000", "1234567890000000000");
    },
  ],
  ["mkdir", (agent, at) => agent.mkdir(at("d/sub"))],
  ["rm", (agent, at) => agent.unlink(at("d/g"))],
  ["mv", (agent, at) => agent.rename(at("p"), at("p2"))],
];

const MORE: readonly Step[] = [
  ["chown", (agent, at) => agent.chown(at("d/h"), 7, 8)],
  ["setxattr", (agent, at) => agent.setXattr(at("d/f"), "user.one", "other")],
  ["removexattr", (agent, at) => agent.removeXattr(at("d/f"), "user.two")],
  ["setxattr of a directory", (agent, at) => agent.setXattr(at("e"), "user.one", "value")],
  ["truncate", (agent, at) => agent.truncate(at("q"), 3)],
  [
    "fallocate and punch",
    async (agent, at) => {
      const fd = await agent.open(at("img"), "O_RDWR");
      await agent.fallocate(fd, 0, 0, 8 * BLOCK);
      await agent.fallocate(fd, PUNCH_HOLE, BLOCK, BLOCK);
      await agent.close(fd);
    },
  ],
  ["symlink", (agent, at) => agent.symlink("target", at("e/link"))],
  ["link", (agent, at) => agent.link(at("q"), at("e/hard"))],
  ["mknod", (agent, at) => agent.mknod(at("e/fifo"), "010640", 0)],
  ["device", (agent, at) => agent.mknod(at("e/null"), "020600", (1 << 8) | 3)],
  ["mv to another directory", (agent, at) => agent.rename(at("e/old"), at("d/moved"))],
  ["mv over a file", (agent, at) => agent.rename(at("q2"), at("victims/file"))],
  ["mv of a directory over an empty one", (agent, at) => agent.rename(at("d/sub"), at("victims/directory"))],
  ["rmdir", (agent, at) => agent.rmdir(at("victims/directory"))],
  ["rm of a symbolic link", (agent, at) => agent.unlink(at("victims/link"))],
  ["O_DSYNC", (agent, at) => write(agent, at("open"), 0, "O_WRONLY|O_DSYNC")],
  ["append", (agent, at) => write(agent, at("open"), 0, "O_WRONLY|O_APPEND")],
  [
    "write and fsync",
    async (agent, at) => {
      const fd = await agent.open(at("open"), "O_RDWR");
      await agent.write(fd, Buffer.alloc(BLOCK, 1), BLOCK);
      await agent.fsync(fd);
      await agent.close(fd);
    },
  ],
  [
    "ftruncate",
    async (agent, at) => {
      const fd = await agent.open(at("open"), "O_RDWR");
      await agent.ftruncate(fd, 10);
      await agent.close(fd);
    },
  ],
];

/** What is done more than once, to things that a copy missed and to new ones. */
const AGAIN: readonly Step[] = [
  ["write", (agent, at) => write(agent, at("img"), 0)],
  ["chmod", (agent, at) => agent.chmod(at("d/f"), "0640")],
  ["setxattr", (agent, at) => agent.setXattr(at("d"), "user.one", "value")],
  [
    "touch and rm",
    async (agent, at) => {
      await agent.writeFile(at("d/again"), "again");
      await agent.unlink(at("d/again"));
    },
  ],
  [
    "mkdir and rmdir",
    async (agent, at) => {
      await agent.mkdir(at("e/again"));
      await agent.rmdir(at("e/again"));
    },
  ],
  [
    "mv there and back",
    async (agent, at) => {
      await agent.rename(at("p2"), at("e/p2"));
      await agent.rename(at("e/p2"), at("p2"));
    },
  ],
  ["truncate", (agent, at) => agent.truncate(at("q"), 1)],
];

async function write(agent: FileAgent, path: string, offset: number, flags = "O_WRONLY"): Promise<void> {
  const fd = await agent.open(path, flags);
  await agent.write(fd, Buffer.alloc(BLOCK, offset + 1), offset);
  await agent.close(fd);
}

/** What the bricks say after each step: results, marks and index of each brick. */
type Story = Record<string, { result: string; marks: string[][] }>;

class Teller {
  readonly story: Story = {};
  readonly #scene: Scene;
  readonly #agent = lab.agent();

  private constructor(scene: Scene) {
    this.#scene = scene;
  }

  static async open(client: Make, bricks: Make, arbiter: boolean): Promise<Teller> {
    const replicate = ["post-op-delay-secs 0"];
    return new Teller(await Scene.open(lab, cast(client, bricks, client), { arbiter, replicate }));
  }

  async tell(title: string, steps: readonly Step[]): Promise<void> {
    const { replica } = this.#scene;
    const isSettled = (): boolean =>
      !replica
        .marks()
        .flat()
        .some((line) => line.startsWith("dirty "));
    for (const [name, run] of steps) {
      const result = await codeOf(run(this.#agent, (path) => this.#scene.at(path)));
      // A write is answered before its marks are settled.
      const detail = (): string => replica.marks().flat().join("\n");
      await until(`${name}: settled`, isSettled, { detail });
      this.story[`${title}: ${name}`] = { result, marks: replica.marks().map(withoutIdleDirty) };
    }
  }

  kill(index: number): Promise<void> {
    return this.#scene.replica.kill(index);
  }

  revive(index: number): Promise<void> {
    return this.#scene.revive(index);
  }

  async close(): Promise<void> {
    await this.#agent.process.kill();
    await this.#scene.close();
  }
}

function withoutIdleDirty(lines: string[]): string[] {
  return lines.flatMap((line) => {
    const said = line.replace(/(?:, )?dirty=0{8} 0{8} 0{8}/, "").replace(": , ", ": ");
    return said.endsWith(": ") ? [] : [said];
  });
}

async function tellAll(client: Make, bricks: Make, arbiter: boolean): Promise<Story> {
  const teller = await Teller.open(client, bricks, arbiter);
  await teller.tell("all up", BEFORE);
  await teller.kill(2);
  await teller.tell("brick 2 away", [...SPEC, ...MORE]);
  await teller.revive(2);
  await teller.tell("brick 2 stale", AGAIN);
  await teller.kill(0);
  await teller.tell("brick 2 stale, brick 0 away", AGAIN);
  await teller.close();
  return teller.story;
}

describe.each([
  ["replica 3", false],
  ["replica 3 with an arbiter", true],
] as const)("on %s", (_, arbiter) => {
  let expected: Story;
  beforeAll(async () => {
    expected = await tellAll("glusterfs", "glusterfs", arbiter);
  });

  // After each step they wait for marks to be settled, together.
  it.concurrent.each([
    ["mortar", "glusterfs"],
    ["mortar", "mortar"],
    ["glusterfs", "mortar"],
  ] as const)(
    "each step of a %s client leaves on %s bricks the marks that GlusterFS leaves",
    async (client, bricks) => {
      const story = await tellAll(client, bricks, arbiter);
      for (const [step, seen] of Object.entries(story)) expect(seen, step).toEqual(expected[step]);
    },
  );
});
