/**
 * The same random operations on a dev-fuse mount and on a plain directory: each must give the same result or
 * the same errno, and leave the same bytes, names, modes and link counts. Seeded; a failure names its seed.
 */

import { createHash } from "node:crypto";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { codeOf, type FileAgent } from "../support/file-agent.ts";
import type { TreeEntry } from "../support/file-operations.ts";
import { Lab } from "../support/peers.ts";
import { Prng } from "../support/prng.ts";
import { embeddedVolfile } from "../support/volfiles.ts";

const FILE_MAX = 64 * 1024;
const SECTOR = 4096;
const FILE_STEPS = 600;
const NAME_STEPS = 800;

/**
 * Mount options under which the kernel works differently. With the write-back cache a direct read may end
 * early where the file's new end is only in the cache (the kernel flushes the range that it reads, no more),
 * so that mode has none.
 */
const MODES: Readonly<Record<string, readonly string[]>> = {
  "no kernel caching": [],
  "kernel caching": ["attribute-timeout=60", "entry-timeout=60", "negative-timeout=60"],
  "direct I/O everywhere": ["direct-io-mode=enable"],
  "write-back cache": ["kernel-writeback-cache", "attribute-timeout=60", "entry-timeout=60"],
};

const lab = new Lab("dev-fuse-model");
afterAll(() => lab.close());

interface Side {
  readonly agent: FileAgent;
  readonly root: string;
}

async function bothSides(options: readonly string[]): Promise<{ mount: Side; plain: Side }> {
  const volfile = lab.writeFile("embedded.vol", embeddedVolfile(lab.makeDirectory("brick")));
  const { mountpoint } = await lab.mount("mortar", volfile, { options });
  return {
    mount: { agent: lab.agent(), root: mountpoint },
    plain: { agent: lab.agent(), root: lab.makeDirectory("plain") },
  };
}

/** A value (of bytes, their length and hash), or the errno. */
async function outcome(result: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  const code = await codeOf(result.then((got) => (value = got)));
  if (code !== "ok") return { code };
  if (!Buffer.isBuffer(value)) return value;
  return { bytes: value.length, sha256: createHash("sha256").update(value).digest("hex") };
}

const seedOf = (mode: string): number => 20260 + Object.keys(MODES).indexOf(mode);

describe.each(Object.entries(MODES))("with %s", (mode, options) => {
  const seed = seedOf(mode);

  it(`a file keeps what a plain file keeps (seed ${seed})`, async () => {
    const { mount, plain } = await bothSides(options);
    const steps = options.includes("kernel-writeback-cache")
      ? FILE_STEP_KINDS.filter((kind) => kind !== "direct read")
      : FILE_STEP_KINDS;
    const test = new FileTest(new Prng(seed), [mount, plain], steps);
    await test.open();
    for (let step = 0; step < FILE_STEPS; step++) await test.step(step);
    await test.compareWhole();
  });
});

describe.each(["no kernel caching", "kernel caching"])("with %s", (mode) => {
  const seed = seedOf(mode);

  it(`names stand where they stand in a plain directory (seed ${seed})`, async () => {
    const { mount, plain } = await bothSides(MODES[mode]!);
    const random = new Prng(seed);
    for (let step = 0; step < NAME_STEPS; step++) {
      const [what, run] = nameStep(random);
      const [got, expected] = await Promise.all([outcome(run(mount)), outcome(run(plain))]);
      expect(got, `step ${step}: ${what}`).toEqual(expected);
    }
    const [got, expected] = [await mount.agent.snapshot(mount.root), await plain.agent.snapshot(plain.root)];
    expect(got.map(comparable)).toEqual(expected.map(comparable));
  });
});

/**
 * What must be equal; inode numbers and times are each file system's own, and a brick's root links .glusterfs
 * too.
 */
function comparable(entry: TreeEntry): unknown {
  const { path, type, mode, nlink, size, target, sha256 } = entry;
  const links = path === "." ? 0 : nlink;
  return { path, type, mode, links, size: type === "directory" ? 0 : size, target, sha256 };
}

const FILE_STEP_KINDS = [
  ...["write", "write", "direct write", "read", "read", "direct read", "truncate", "fallocate"],
] as const;

type FdOperation = (agent: FileAgent, fd: number, direct: number) => Promise<unknown>;

/** Two descriptors of one file on each side: a buffered and a direct one. */
class FileTest {
  readonly #random: Prng;
  readonly #sides: readonly Side[];
  readonly #steps: readonly string[];
  #fds: { buffered: number; direct: number }[] = [];

  constructor(random: Prng, sides: readonly Side[], steps: readonly string[]) {
    this.#random = random;
    this.#sides = sides;
    this.#steps = steps;
  }

  async open(): Promise<void> {
    this.#fds = [];
    for (const { agent, root } of this.#sides) {
      const path = join(root, "file");
      const buffered = await agent.open(path, "O_RDWR|O_CREAT");
      this.#fds.push({ buffered, direct: await agent.open(path, "O_RDWR|O_DIRECT") });
    }
  }

  async step(step: number): Promise<void> {
    const [what, run] = this.#choose();
    const results = await Promise.all(
      this.#sides.map(({ agent }, index) => {
        const { buffered, direct } = this.#fds[index]!;
        return outcome(run(agent, buffered, direct));
      }),
    );
    expect(results[0], `step ${step}: ${what}`).toEqual(results[1]);
    if (this.#random.chance(0.02)) await this.#reopen();
  }

  async compareWhole(): Promise<void> {
    const [got, expected] = await Promise.all(
      this.#sides.map(({ agent, root }) => agent.readFile(join(root, "file"))),
    );
    expect(got!.equals(expected!)).toBe(true);
  }

  async #reopen(): Promise<void> {
    for (const [index, { agent }] of this.#sides.entries()) {
      await agent.close(this.#fds[index]!.buffered);
      await agent.close(this.#fds[index]!.direct);
    }
    await this.open();
  }

  #choose(): [string, FdOperation] {
    const random = this.#random;
    const offset = random.int(0, FILE_MAX);
    const size = random.int(1, random.pick([100, 5000, 20_000]));
    const sector = random.int(0, FILE_MAX / SECTOR) * SECTOR;
    const sectors = random.int(1, 4) * SECTOR;
    const fill = random.int(1, 255);
    switch (random.pick(this.#steps)) {
      case "write":
        return [`write ${offset}+${size}`, (agent, fd) => agent.write(fd, Buffer.alloc(size, fill), offset)];
      case "direct write":
        return [
          `direct write ${sector}+${sectors}`,
          (agent, _fd, fd) => agent.write(fd, Buffer.alloc(sectors, fill), sector),
        ];
      case "read":
        return [`read ${offset}+${size}`, (agent, fd) => agent.read(fd, size, offset)];
      case "direct read":
        return [`direct read ${sector}+${sectors}`, (agent, _fd, fd) => agent.read(fd, sectors, sector)];
      case "truncate":
        return [
          `truncate ${offset}`,
          async (agent, fd) => {
            await agent.ftruncate(fd, offset);
            return (await agent.fstat(fd)).size;
          },
        ];
      default: {
        // Allocate, keep size, punch, zero, zero and keep size.
        const mode = random.pick([0, 1, 3, 0x10, 0x11]);
        return [
          `fallocate ${mode} ${offset}+${size}`,
          async (agent, fd) => {
            await agent.fallocate(fd, mode, offset, size);
            return (await agent.fstat(fd)).size;
          },
        ];
      }
    }
  }
}

type NameOperation = (side: Side) => Promise<unknown>;

function nameStep(random: Prng): [string, NameOperation] {
  const depth = random.int(0, 2);
  const a = randomPath(random, depth);
  const b = randomPath(random, random.int(0, 2));
  const mode = random.pick(["0644", "0600", "0755", "0711"]);
  const operation = random.pick(NAME_OPERATIONS);
  const on =
    (run: (agent: FileAgent, a: string, b: string) => Promise<unknown>): NameOperation =>
    ({ agent, root }) =>
      run(agent, join(root, a), join(root, b));
  switch (operation) {
    case "mkdir":
      return [`mkdir ${a}`, on((agent, path) => agent.mkdir(path, mode))];
    case "rmdir":
      return [`rmdir ${a}`, on((agent, path) => agent.rmdir(path))];
    case "write":
      return [`write ${a}`, on((agent, path) => agent.writeFile(path, `${a} ${mode}`))];
    case "unlink":
      return [`unlink ${a}`, on((agent, path) => agent.unlink(path))];
    case "rename":
      return [`rename ${a} ${b}`, on((agent, from, to) => agent.rename(from, to))];
    case "link":
      return [`link ${a} ${b}`, on((agent, from, to) => agent.link(from, to))];
    case "symlink":
      return [`symlink ${a}`, on((agent, path) => agent.symlink(b, path))];
    case "chmod":
      return [`chmod ${a}`, on((agent, path) => agent.chmod(path, mode))];
    case "list":
      return [`list ${a}`, on((agent, path) => agent.list(path))];
    default:
      return [
        `stat ${a}`,
        on(async (agent, path) => {
          const { type, nlink, mode: bits, size } = await agent.stat(path);
          return { type, nlink, bits, size: type === "directory" ? 0 : size };
        }),
      ];
  }
}

const NAME_OPERATIONS = [
  ...["mkdir", "mkdir", "rmdir", "write", "write", "unlink", "rename", "rename", "link", "symlink"],
  ...["chmod", "list", "stat", "stat"],
] as const;

/** One of few names at each level, so that steps meet. */
function randomPath(random: Prng, depth: number): string {
  const names = ["a", "b", "c", "long-name-ü"];
  return Array.from({ length: depth + 1 }, () => random.pick(names)).join("/");
}
