/**
 * What a host of virtual machines does to a mount: qemu-img, qemu-io, the image locks of QEMU, fio with
 * verification, git, cp -a.
 *
 * Every case runs on a plain directory first, which proves the expectation, then on an embedded volume, and
 * on one over TCP whose images are cut into blocks, with the translators of the virt profile. On a replica 3
 * that loses a brick a few run; with MORTAR_TEST_CASTS=all, all. Its bricks have to be equal after a heal.
 */

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TreeEntry } from "../support/file-operations.ts";
import { Lab } from "../support/peers.ts";
import type { Exit, Running } from "../support/processes.ts";
import { describeExit } from "../support/processes.ts";
import { Replica } from "../support/replica.ts";
import { virtVolfile } from "../support/replica-volfiles.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern, writeSampleTree } from "../support/sample-tree.ts";
import { embeddedVolfile } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";

const MIB = 1 << 20;
const PREALLOCATIONS = {
  raw: ["off", "falloc", "full"],
  qcow2: ["off", "metadata", "falloc", "full"],
} as const;
const CACHES = ["none", "writeback"] as const;
const ENGINES = ["threads", "native", "io_uring"] as const;

const lab = new Lab("vm-tools");
const agent = lab.agent({ timeoutMs: 60_000 });
afterAll(() => lab.close());

interface Place {
  readonly directory: string;
  /** The same files through another mount. */
  readonly again?: string;
  /**
   * 512-byte blocks that the disk may take for xattrs and extents of the two files that a range lies in: a
   * brick does not count them while a file is full.
   */
  readonly bookkeepingBlocks?: number;
  /** What has to hold when all is done. */
  readonly leave?: () => Promise<void>;
}

const PLACES: Record<string, () => Promise<Place>> = {
  "a plain directory": async () => ({ directory: lab.makeDirectory("plain") }),
  "an embedded volume": async () => {
    const volfile = lab.writeFile("embedded.vol", embeddedVolfile(lab.makeDirectory("brick")));
    return { directory: (await lab.mount("mortar", volfile)).mountpoint };
  },
  "a sharded volume over TCP with the virt profile": async () => {
    const volumeId = randomUUID();
    const brick = await lab.startBrick("mortar", lab.makeBrickDirectory("sharded", volumeId));
    const volume = { name: "virt", volumeId, copies: [brick], shardBlockSize: "4MB" };
    const volfile = lab.writeFile("virt.vol", virtVolfile(volume));
    return {
      directory: (await lab.mount("mortar", volfile)).mountpoint,
      again: (await lab.mount("mortar", volfile)).mountpoint,
      bookkeepingBlocks: 32,
    };
  },
  ...(process.env["MORTAR_TEST_CASTS"] === "all" ? { "a sharded replica 3 without a brick": oneAway } : {}),
};

/** Three copies of images in blocks, with the virt profile. */
async function threeCopies(): Promise<{ replica: Replica; volfile: string }> {
  const shardBlockSize = "4MB";
  const replica = await Replica.three(lab, "mortar", { shardBlockSize });
  const { name, volumeId, bricks: copies } = replica;
  return {
    replica,
    volfile: lab.writeFile("copies.vol", virtVolfile({ name, volumeId, copies, shardBlockSize })),
  };
}

/** One brick is away for as long as there is work, and healed afterwards. */
async function oneAway(): Promise<Place> {
  const { replica, volfile } = await threeCopies();
  const [mount, again] = [await lab.mount("mortar", volfile), await lab.mount("mortar", volfile)];
  await replica.kill(1);
  return {
    directory: mount.mountpoint,
    again: again.mountpoint,
    bookkeepingBlocks: 32,
    leave: async () => {
      await replica.revive(1);
      await replica.heal("mortar");
    },
  };
}

function qemuImg(...args: string[]): Promise<string> {
  return lab.processes.run("qemu-img", args);
}

/** qemu-io reports a wrong pattern in its output; it must never pass for success. */
async function qemuIo(image: string, options: readonly string[], ...commands: string[]): Promise<string> {
  const exit = await lab.processes.tryRun("qemu-io", [
    ...options,
    ...commands.flatMap((command) => ["-c", command]),
    image,
  ]);
  if (exit.code !== 0 || /failed|error/i.test(exit.stdout + exit.stderr))
    throw new Error(`qemu-io ${options.join(" ")} ${commands.join("; ")}: ${describeExit(exit)}`);
  return exit.stdout;
}

describe.each(Object.keys(PLACES))("on %s", (name) => {
  let place: Place;
  const at = (...names: string[]): string => join(place.directory, ...names);

  beforeAll(async () => {
    place = await PLACES[name]!();
  });
  afterAll(() => place?.leave?.());

  describe("qemu-img", () => {
    describe.each(["raw", "qcow2"] as const)("with %s images", (format) => {
      it.each(PREALLOCATIONS[format])("creates, fills and checks one with preallocation %s", async (mode) => {
        const image = at(`create-${mode}.${format}`);
        await qemuImg("create", "-q", "-f", format, "-o", `preallocation=${mode}`, image, "32M");
        const info = JSON.parse(await qemuImg("info", "--output", "json", image)) as Record<string, number>;
        expect(info["virtual-size"]).toBe(32 * MIB);
        if (mode === "full" || mode === "falloc")
          expect(info["actual-size"]).toBeGreaterThanOrEqual(32 * MIB);
        else expect(info["actual-size"]).toBeLessThan(2 * MIB);
        await qemuIo(
          image,
          ["-f", format, "-t", "none"],
          "read -P 0 0 32M",
          "write -P 7 5M 3M",
          "read -P 7 5M 3M",
        );
        if (format === "qcow2") await qemuImg("check", "-q", image);
      });

      it("resizes one", async () => {
        const image = at(`resize.${format}`);
        await qemuImg("create", "-q", "-f", format, image, "8M");
        await qemuIo(image, ["-f", format, "-t", "none"], "write -P 3 0 8M");
        await qemuImg("resize", "-q", "-f", format, image, "20M");
        await qemuIo(
          image,
          ["-f", format, "-t", "none"],
          "read -P 3 0 8M",
          "read -P 0 8M 12M",
          "write -P 4 19M 1M",
        );
        await qemuImg("resize", "-q", "-f", format, "--shrink", image, "4M");
        await qemuIo(image, ["-f", format], "read -P 3 0 4M");
        const info = JSON.parse(await qemuImg("info", "--output", "json", image)) as Record<string, number>;
        expect(info["virtual-size"]).toBe(4 * MIB);
      });
    });

    it("maps data and holes as they were written", async () => {
      const image = at("map.raw");
      await qemuImg("create", "-q", "-f", "raw", image, "16M");
      await qemuIo(
        image,
        ["-f", "raw", "-t", "none"],
        "write -P 1 1M 64k",
        "write -P 1 10M 1M",
        "discard 10M 64k",
      );
      const map = JSON.parse(await qemuImg("map", "--output", "json", "-f", "raw", image)) as {
        start: number;
        length: number;
        data: boolean;
      }[];
      const data = map.filter((extent) => extent.data).map(({ start, length }) => [start, length]);
      expect(data).toEqual([
        [0, 4096],
        [MIB, 64 * 1024],
        [10 * MIB + 64 * 1024, MIB - 64 * 1024],
      ]);
    });

    it.each(["none", "writeback", "unsafe"])(
      "converts both ways with cache mode %s and compares equal",
      async (cache) => {
        const [raw, qcow2, back] = [at(`${cache}.raw`), at(`${cache}.qcow2`), at(`${cache}-back.raw`)];
        await qemuImg("create", "-q", "-f", "raw", raw, "48M");
        await qemuIo(
          raw,
          ["-f", "raw"],
          "write -P 0x11 0 3M",
          "write -P 0x22 20000k 70k",
          "write -P 0x33 47M 1M",
        );
        const caches = ["-t", cache, "-T", cache === "unsafe" ? "writeback" : cache];
        await qemuImg("convert", "-q", ...caches, "-f", "raw", "-O", "qcow2", raw, qcow2);
        await qemuImg("convert", "-q", ...caches, "-f", "qcow2", "-O", "raw", qcow2, back);
        await qemuImg("check", "-q", qcow2);
        await qemuImg("compare", "-q", "-f", "raw", "-F", "qcow2", raw, qcow2);
        await qemuImg("compare", "-q", "-f", "raw", "-F", "raw", raw, back);
        await qemuIo(back, ["-f", "raw", "-t", "none"], "read -P 0x22 20000k 70k", "read -P 0 3M 10M");
        expect((await agent.stat(back)).blocks * 512).toBeLessThan(8 * MIB);
      },
    );

    it("takes, applies and deletes snapshots", async () => {
      const image = at("snapshots.qcow2");
      await qemuImg("create", "-q", "-f", "qcow2", image, "16M");
      await qemuIo(image, ["-t", "none"], "write -P 1 0 4M");
      await qemuImg("snapshot", "-c", "before", image);
      await qemuIo(image, ["-t", "none"], "write -P 2 0 4M");
      await qemuImg("snapshot", "-a", "before", image);
      await qemuIo(image, ["-t", "none"], "read -P 1 0 4M");
      await qemuImg("snapshot", "-d", "before", image);
      expect(await qemuImg("snapshot", "-l", image)).not.toContain("before");
      await qemuImg("check", "-q", image);
    });

    it("commits an overlay into its backing image", async () => {
      const [base, overlay] = [at("base.qcow2"), at("overlay.qcow2")];
      await qemuImg("create", "-q", "-f", "qcow2", base, "16M");
      await qemuIo(base, ["-t", "none"], "write -P 1 0 8M");
      await qemuImg("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay);
      await qemuIo(overlay, ["-t", "none"], "write -P 2 1M 1M", "write -z 2M 1M");
      await qemuImg("commit", "-q", "-t", "none", overlay);
      await qemuIo(
        base,
        ["-t", "none"],
        "read -P 1 0 1M",
        "read -P 2 1M 1M",
        "read -P 0 2M 1M",
        "read -P 1 3M 5M",
      );
      await qemuImg("check", "-q", base);
      await qemuImg("check", "-q", overlay);
    });
  });

  describe.each(CACHES)("qemu-io with cache %s", (cache) => {
    // Linux AIO needs O_DIRECT.
    describe.each(ENGINES.filter((engine) => cache === "none" || engine !== "native"))(
      "and aio %s",
      (engine) => {
        const options = ["-f", "raw", "-t", cache, "-i", engine];
        let image: string;
        beforeAll(async () => {
          image = at(`io-${cache}-${engine}.raw`);
          await qemuImg("create", "-q", "-f", "raw", image, "16M");
        });

        it("zeroes a range and reads zeros there, old bytes beside it", async () => {
          await qemuIo(
            image,
            options,
            ...["write -P 0xaa 0 1M", "write -z 64k 256k", "read -P 0 64k 256k"],
            ...["read -P 0xaa 0 64k", "read -P 0xaa 320k 704k"],
          );
          // A mount that only says that it zeroed would be believed by the process that wrote.
          await qemuIo(image, options, "read -P 0 64k 256k", "read -P 0xaa 320k 704k");
        });

        it("zeroes unaligned ranges, with and without unmapping", async () => {
          await qemuIo(
            image,
            options,
            ...["write -P 0xbb 0 2M", "write -z 70001 100007", "read -P 0 70001 100007"],
            ...["write -z -u 1000001 99", "read -P 0 1000001 99", "read -P 0xbb 1000100 999900"],
            ...["read -P 0xbb 0 70001", "read -P 0xbb 370008 629993"],
          );
        });

        it("discards a range and gives its space back", async () => {
          await qemuIo(image, options, "write -P 0xcc 0 8M", "flush");
          const before = await agent.stat(image);
          await qemuIo(
            image,
            options,
            "discard 1M 4M",
            "read -P 0 1M 4M",
            "read -P 0xcc 5M 3M",
            "read -P 0xcc 0 1M",
          );
          const after = await agent.stat(image);
          expect(after.size).toBe(before.size);
          const freed = before.blocks - after.blocks;
          expect(freed).toBeLessThanOrEqual((4 * MIB) / 512);
          expect(freed).toBeGreaterThanOrEqual((4 * MIB) / 512 - (place.bookkeepingBlocks ?? 0));
        });

        it("writes 512 bytes and 4 KiB side by side, many at a time", async () => {
          const commands: string[] = [];
          for (let index = 0; index < 16; index++) {
            commands.push(`aio_write -P ${index + 1} ${9 * MIB + index * 512} 512`);
            commands.push(`aio_write -P ${index + 1} ${10 * MIB + index * 4096} 4k`);
          }
          commands.push("aio_flush");
          for (let index = 0; index < 16; index++) {
            commands.push(`read -P ${index + 1} ${9 * MIB + index * 512} 512`);
            commands.push(`read -P ${index + 1} ${10 * MIB + index * 4096} 4k`);
          }
          await qemuIo(image, options, ...commands, "flush");
        });
      },
    );
  });

  describe("image locks", () => {
    async function startGuest(image: string): Promise<Running> {
      const guest = lab.processes.start(
        "qemu-system-x86_64",
        [
          ...["-machine", "q35", "-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none", "-S"],
          ...["-drive", `file=${image},format=raw,if=none,id=disk,cache=none,aio=native`],
          ...["-device", "virtio-blk-pci,drive=disk", "-qmp", "stdio"],
        ],
        { input: '{"execute":"qmp_capabilities"}\n{"execute":"query-block"}\n' },
      );
      await until(
        "the guest has its disk",
        () => {
          if (guest.exit !== undefined) throw new Error(guest.output);
          return guest.stdout.includes('"inserted"');
        },
        { detail: () => guest.output },
      );
      return guest;
    }

    function resize(image: string): Promise<Exit> {
      return lab.processes.tryRun("qemu-img", ["resize", "-q", "-f", "raw", image, "+1M"]);
    }

    it("refuse a second writer, also on another mount, until the first is killed", async () => {
      const image = at("locked.raw");
      await qemuImg("create", "-q", "-f", "raw", image, "8M");
      const guest = await startGuest(image);
      const openers = [image, ...(place.again === undefined ? [] : [join(place.again, "locked.raw")])];
      for (const opener of openers) {
        const refused = await resize(opener);
        expect(refused.stderr).toContain('Failed to get "write" lock');
        expect(refused.code).toBe(1);
        await qemuImg("info", "-U", opener);
      }
      await guest.kill();
      // The kernel sends the last RELEASE of a killed process after its end.
      const [last = image] = openers.slice(-1);
      await until("the image is free", async () => (await resize(last)).code === 0, { deadlineMs: 5000 });
      const next = await startGuest(image);
      await next.kill();
    });

    it("stay with the second descriptor of a process when the first is closed", async () => {
      const path = at("two-descriptors");
      const [first, second] = [await agent.open(path, "O_RDWR|O_CREAT"), await agent.open(path, "O_RDWR")];
      const byte = { kind: "ofd", start: 201, length: 1 } as const;
      expect(await agent.lock({ fd: first, type: "read", ...byte })).toBe(true);
      expect(await agent.lock({ fd: second, type: "read", ...byte })).toBe(true);
      await agent.close(first);
      const third = await agent.open(path, "O_RDWR");
      expect(await agent.conflictingLock({ fd: third, type: "write", ...byte })).toBe("read 201 1");
      await agent.close(second);
      await until("the last lock is gone", async () => {
        return (await agent.conflictingLock({ fd: third, type: "write", ...byte })) === undefined;
      });
      await agent.close(third);
    });
  });

  describe("direct reads", () => {
    it("over the end of a short file give its bytes", async () => {
      const path = at("short");
      await agent.writeFile(path, pattern(501));
      const fd = await agent.open(path, "O_RDONLY|O_DIRECT");
      expectSameBytes(await agent.read(fd, 4096, 0), pattern(501));
      expectSameBytes(await agent.read(fd, 4096, 4096), Buffer.alloc(0));
      await agent.close(fd);
    });

    it("that the disk could not do are refused", async () => {
      const path = at("aligned");
      await agent.writeFile(path, pattern(8192));
      const fd = await agent.open(path, "O_RDONLY|O_DIRECT");
      await expect(agent.read(fd, 1, 0)).rejects.toMatchObject({ code: "EINVAL" });
      await expect(agent.read(fd, 512, 100)).rejects.toMatchObject({ code: "EINVAL" });
      expectSameBytes(await agent.read(fd, 512, 512), pattern(8192).subarray(512, 1024));
      await agent.close(fd);
    });
  });

  describe("fio", () => {
    it.each(["libaio", "io_uring", "psync", "mmap"])(
      "verifies what it wrote by engine %s",
      async (engine) => {
        await lab.processes.run("fio", [
          ...["--name=verify", `--filename=${at(`fio-${engine}`)}`, "--size=16m", "--bs=4k", "--rw=randrw"],
          ...[`--ioengine=${engine}`, "--iodepth=32", `--direct=${engine === "mmap" ? 0 : 1}`],
          ...[
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_state_save=0",
            "--fallocate=none",
            "--randseed=7",
          ],
        ]);
      },
    );

    it("verifies large blocks of several files with fsyncs among them", async () => {
      await lab.processes.run("fio", [
        ...[
          "--name=large",
          `--directory=${place.directory}`,
          "--nrfiles=4",
          "--size=64m",
          "--bs=1m",
          "--rw=write",
        ],
        ...[
          "--ioengine=libaio",
          "--iodepth=8",
          "--direct=1",
          "--verify=crc32c",
          "--verify_fatal=1",
          "--verify_state_save=0",
          "--fsync=4",
        ],
      ]);
    });
  });

  it("git clones, changes, packs and checks a repository", async () => {
    const origin = await makeRepository();
    const clone = at("clone");
    const git = (...args: string[]): Promise<string> => lab.processes.run("git", ["-C", clone, ...args]);
    await lab.processes.run("git", ["clone", "-q", "--no-hardlinks", origin, clone]);
    expect(await git("status", "--porcelain")).toBe("");
    await agent.writeFile(join(clone, "new file"), "new");
    await git("add", "-A");
    await git("-c", "user.name=m", "-c", "user.email=m@example.org", "commit", "-q", "-m", "on the mount");
    await git("gc", "-q", "--aggressive", "--prune=now");
    await git("fsck", "--full", "--strict");
    expect((await git("rev-list", "--count", "HEAD")).trim()).toBe("7");
    await lab.processes.run("git", ["clone", "-q", "--no-hardlinks", clone, lab.path("back")]);
  });

  async function makeRepository(): Promise<string> {
    const origin = lab.makeDirectory("origin");
    const git = (...args: string[]): Promise<string> => lab.processes.run("git", ["-C", origin, ...args]);
    await git("init", "-q");
    for (let commit = 0; commit < 6; commit++) {
      await agent.mkdir(join(origin, `directory-${commit}`));
      for (let file = 0; file < 10; file++)
        await agent.writeFile(
          join(origin, `directory-${commit}`, `file-${file}`),
          pattern(commit * 1500 + file),
        );
      await git("add", "-A");
      await git(
        "-c",
        "user.name=m",
        "-c",
        "user.email=m@example.org",
        "commit",
        "-q",
        "-m",
        `commit ${commit}`,
      );
    }
    return origin;
  }

  it("cp -a copies a tree onto it and back with nothing lost", async () => {
    const source = lab.makeDirectory("source");
    await writeSampleTree(agent, source);
    await lab.processes.run("cp", ["-a", source, at("copied")]);
    const back = lab.path("copied-back");
    await lab.processes.run("cp", ["-a", at("copied"), back]);
    const expected = copied(await agent.snapshot(source));
    expect(copied(await agent.snapshot(at("copied")))).toEqual(expected);
    expect(copied(await agent.snapshot(back))).toEqual(expected);
    await agent.removeTree(at("copied"));
  });

  /** What a copy keeps. Hard links are compared as sets of names. */
  function copied(tree: readonly TreeEntry[]): unknown[] {
    const first = new Map<string, string>();
    for (const { ino, path } of tree) if (!first.has(ino)) first.set(ino, path);
    return tree.map(
      ({ ino, blocks: _blocks, ctime: _ctime, atime: _atime, size, nlink, extents, ...entry }) => ({
        ...entry,
        sameAs: first.get(ino),
        ...(entry.type === "directory" ? {} : { size, nlink }),
        ...(entry.path === "sparse" || entry.path === "grown" ? { extents } : {}),
      }),
    );
  }

  it("keeps a file that is unlinked while open usable to the last close", async () => {
    const path = at("unlinked");
    const fd = await agent.open(path, "O_RDWR|O_CREAT");
    await agent.write(fd, pattern(10_000), 0);
    await agent.unlink(path);
    await agent.ftruncate(fd, 5000);
    await agent.write(fd, "more", 5000);
    await agent.fchmod(fd, "0600");
    await agent.fsync(fd);
    expect(await agent.fstat(fd)).toMatchObject({ size: 5004, nlink: 0, mode: "0600" });
    expect((await agent.read(fd, 8192, 4999)).subarray(1).toString()).toBe("more");
    await agent.close(fd);
    await expect(agent.stat(path)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("serves a directory of 1000 names", async () => {
    const directory = at("many");
    await lab.processes.run("sh", [
      ...["-c", `mkdir "$1" && cd "$1" && seq -f 'name-%.0f' 1000 | xargs touch`, "sh", directory],
    ]);
    expect((await agent.list(directory)).length).toBe(1000);
    await lab.processes.run("rm", ["-r", directory]);
  });
});

it("a replica 3 loses a brick under the tools, has it back, and has equal bricks after a heal", async () => {
  const { replica, volfile } = await threeCopies();
  const { mountpoint } = await lab.mount("mortar", volfile);
  const at = (name: string): string => join(mountpoint, name);
  const [raw, qcow2, back, copy] = [at("disk.raw"), at("disk.qcow2"), at("back.raw"), at("copy.raw")];
  const direct = ["-t", "none", "-i", "native"];
  await qemuImg("create", "-q", "-f", "raw", raw, "24M");
  await qemuImg("create", "-q", "-f", "qcow2", at("grown.qcow2"), "8M");
  await qemuIo(raw, ["-f", "raw", ...direct], "write -P 1 0 9M", "write -P 2 15M 2M");

  await replica.kill(0);
  // Over ends of blocks, all of them; a whole block and pieces of two are given back.
  await qemuIo(
    raw,
    ["-f", "raw", ...direct],
    ...["write -P 3 4000k 200k", "write -z 8000k 300k", "discard 3M 6M", "write -P 4 7M 64k", "flush"],
  );
  const reads = [
    "read -P 1 0 3M",
    "read -P 0 3M 4M",
    "read -P 4 7M 64k",
    "read -P 0 9M 6M",
    "read -P 2 15M 2M",
  ];
  await qemuIo(raw, ["-f", "raw", ...direct], ...reads);
  await qemuImg("convert", "-q", "-t", "none", "-T", "none", "-f", "raw", "-O", "qcow2", raw, qcow2);
  await qemuImg("resize", "-q", "-f", "qcow2", at("grown.qcow2"), "20M");
  await qemuIo(at("grown.qcow2"), ["-f", "qcow2", ...direct], "write -P 5 7M 3M", "write -z -u 8M 1M");

  // It comes back while they go on; nobody waits for a heal.
  await replica.revive(0);
  await qemuImg("check", "-q", qcow2);
  await qemuImg("check", "-q", at("grown.qcow2"));
  await qemuImg("convert", "-q", "-f", "qcow2", "-O", "raw", qcow2, back);
  await qemuImg("compare", "-q", "-f", "raw", "-F", "raw", raw, back);
  await qemuIo(back, ["-f", "raw", ...direct], ...reads);
  const map = JSON.parse(await qemuImg("map", "--output", "json", "-f", "raw", raw)) as {
    start: number;
    length: number;
    data: boolean;
  }[];
  expect(map.filter(({ data }) => data).map(({ start, length }) => [start, length])).toEqual([
    [0, 3 * MIB],
    [7 * MIB, 64 * 1024],
    [15 * MIB, 2 * MIB],
  ]);
  await lab.processes.run("cp", ["--sparse=always", raw, copy]);
  await lab.processes.run("cmp", [raw, copy]);
  expect((await agent.stat(copy)).blocks * 512).toBeLessThan(6 * MIB);
  await qemuImg("resize", "-q", "-f", "raw", "--shrink", raw, "5M");
  await qemuImg("resize", "-q", "-f", "raw", raw, "30M");
  await qemuIo(raw, ["-f", "raw", ...direct], "read -P 1 0 3M", "read -P 0 3M 27M");
  const verify = ["--filesize=12m", "--io_size=12m", "--rw=randwrite", "--verify=crc32c", "--verify_fatal=1"];
  const sizes = [
    ["unaligned", "--ioengine=psync", "--bsrange=512-300k", "--bs_unaligned=1"],
    ["direct", "--ioengine=libaio", "--iodepth=8", "--bsrange=4k-5m", "--direct=1"],
  ] as const;
  for (const [name, ...options] of sizes)
    await lab.processes.run("fio", [
      ...[`--name=${name}`, `--filename=${at(name)}`, "--verify_state_save=0", "--fallocate=none"],
      ...[...verify, ...options],
    ]);
  await replica.heal("mortar");
});

it("the machine allows what these tests need", () => {
  expect(readFileSync("/proc/sys/kernel/io_uring_disabled", "utf8").trim()).toBe("0");
});
