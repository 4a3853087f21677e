/**
 * Quorum, arbiter, choice of the copy to read, eager locks, as scenarios.md has them (QUO, ARB, RSV, EAG).
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { casts } from "../support/casts.ts";
import { describeMarks, gfidOf, pendingMarks } from "../support/copies.ts";
import { codeOf } from "../support/file-agent.ts";
import { pendingCount } from "../support/heal-info.ts";
import { openPaths } from "../support/open-files.ts";
import { Lab, type Mount } from "../support/peers.ts";
import type { Replica } from "../support/replica.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { sceneOpener } from "../support/scene.ts";
import { until } from "../support/wait.ts";

const MIB = 1 << 20;

const lab = new Lab("replicate-quorum");
const agent = lab.agent();
afterAll(() => lab.close());

const open = sceneOpener(lab);

const write = (mount: Mount, name = "file"): Promise<string> =>
  codeOf(agent.appendFile(join(mount.mountpoint, name), "more"));
const read = (mount: Mount, name = "file"): Promise<string> =>
  codeOf(agent.readFile(join(mount.mountpoint, name)));

describe.each(casts())("%s", (cast) => {
  it("QUO-03 two copies go on with one, as quorum is none by default", async () => {
    const s = await open(cast, { copies: 2 });
    await agent.writeFile(s.at("file"), "before");
    await s.replica.kill(0);
    expect(await write(s.mount)).toBe("ok");
    expect(String(await agent.readFile(s.at("file")))).toBe("beforemore");
  });

  it("QUO-04 each quorum-type refuses and allows what it says", async () => {
    const s = await open(cast);
    const mountWith = (...replicate: string[]): Promise<Mount> => s.replica.mount(cast.client, { replicate });
    const fixed = await mountWith("quorum-type fixed", "quorum-count 3");
    const none = await mountWith("quorum-type none");
    await agent.writeFile(s.at("file"), "before");
    await s.replica.kill(0);
    expect(await write(fixed)).toBe("ENOTCONN");
    expect(await read(fixed)).toBe("ENOTCONN");
    expect(await write(s.mount)).toBe("ok");
    expect(await read(s.mount)).toBe("ok");
    await s.replica.kill(1);
    expect(await write(s.mount)).toBe("ENOTCONN");
    expect(await read(s.mount)).toBe("ENOTCONN");
    expect(await codeOf(agent.list(s.at(".")))).toBe("ENOTCONN");
    expect(await codeOf(agent.mkdir(s.at("d")))).toBe("ENOTCONN");
    expect(await write(none)).toBe("ok");
    expect(await read(none)).toBe("ok");
    for (const mount of [fixed, none]) await lab.unmount(mount);
  });

  it("QUO-06 locks want quorum as writes do", async () => {
    const s = await open(cast, { copies: 2 });
    const mountWith = (...replicate: string[]): Promise<Mount> => s.replica.mount(cast.client, { replicate });
    const two = await mountWith("quorum-type fixed", "quorum-count 2");
    const one = await mountWith("quorum-type fixed", "quorum-count 1");
    const auto = await mountWith("quorum-type auto");
    await agent.writeFile(s.at("file"), "content");
    const files = new Map<Mount, number>();
    for (const mount of [two, one, auto])
      files.set(mount, await agent.open(join(mount.mountpoint, "file"), "O_RDWR"));
    const locks = async (mount: Mount): Promise<string> => {
      const code = await codeOf(agent.flock(files.get(mount)!, "exclusive"));
      if (code === "ok") await agent.flock(files.get(mount)!, "unlock");
      return code;
    };
    await s.replica.kill(1);
    expect(await locks(two)).not.toBe("ok");
    expect(await locks(one)).toBe("ok");
    expect(await locks(auto)).toBe("ok");
    await s.replica.revive(1);
    await s.replica.kill(0);
    expect(await locks(auto)).not.toBe("ok");
    await s.replica.kill(1);
    for (const mount of [two, one, auto]) expect(await locks(mount)).not.toBe("ok");
    await s.replica.revive(0, 1);
    for (const mount of [two, one, auto]) {
      await s.untilReached(mount);
      const fd = await agent.open(join(mount.mountpoint, "file"), "O_RDWR");
      expect(await agent.flock(fd, "exclusive")).toBe(true);
      await agent.close(fd);
    }
    for (const fd of files.values()) await agent.close(fd).catch(() => {});
    for (const mount of [two, one, auto]) await lab.unmount(mount);
  });

  it.each([
    { arbiter: true, refused: ["create", "mkdir"] },
    { arbiter: false, refused: ["create", "mkdir", "write"] },
  ])("QUO-10 a copy that is full is what the caller hears of, arbiter: $arbiter", async (spec) => {
    const { arbiter } = spec;
    const s = await open(cast, { arbiter, sizes: ["16m", "16m", "16m"] });
    await agent.writeFile(s.at("file"), "content");
    await s.replica.kill(2);
    const filler = ["if=/dev/zero", `of=${s.brick(2, ".glusterfs/filler")}`, "bs=64k"];
    expect((await lab.processes.tryRun("dd", filler)).stderr).toContain("No space left");
    await s.revive(2);
    await s.replica.kill(1);
    const codes = {
      create: await codeOf(agent.writeFile(s.at("new"), "content")),
      mkdir: await codeOf(agent.mkdir(s.at("directory"))),
      write: await codeOf(agent.appendFile(s.at("file"), pattern(64 * 1024))),
    };
    expect(codes).toEqual(
      Object.fromEntries(
        Object.keys(codes).map((fop) => [fop, spec.refused.includes(fop) ? "ENOSPC" : "ok"]),
      ),
    );
  });

  it("ARB-04 the room that is shown is that of the data copies", async () => {
    const s = await open(cast, { arbiter: true, sizes: ["160m", "128m", "16m"] });
    const shown = await lab.processes.run("df", ["--output=size,avail", "-B1M", s.mount.mountpoint]);
    const [size, available] = shown.trimEnd().split("\n").at(-1)!.trim().split(/\s+/).map(Number);
    expect(size).toBe(128);
    expect(available).toBeGreaterThan(120);
  });

  it("ARB-02 an arbiter that alone is good serves nobody, and heals when the other data copy is back", async () => {
    const s = await open(cast, { arbiter: true });
    await agent.writeFile(s.at("file"), "one");
    await agent.setXattr(s.at("file"), "user.mine", "old");
    await s.without([0], async () => {
      await agent.appendFile(s.at("file"), " two");
      await agent.setXattr(s.at("file"), "user.mine", "new");
    });
    await s.replica.kill(1);
    expect(await codeOf(agent.appendFile(s.at("file"), " three"))).not.toBe("ok");
    expect(await codeOf(agent.readFile(s.at("file")))).not.toBe("ok");
    expect(await codeOf(agent.getXattr(s.at("file"), "user.mine"))).not.toBe("ok");
    expect(await codeOf(agent.setXattr(s.at("file"), "user.mine", "newer"))).not.toBe("ok");
    expect(pendingCount(await s.replica.stockHealInfo())).toBeGreaterThan(0);
    await s.revive(1);
    await s.heal();
    expect(String(await agent.readFile(s.at("file")))).toBe("one two");
    expect(String(await agent.getXattr(s.at("file"), "user.mine"))).toBe("new");
    expect(await codeOf(agent.appendFile(s.at("file"), " three"))).toBe("ok");
  });

  it("ARB-03 the arbiter alone is no volume", async () => {
    const s = await open(cast, { arbiter: true });
    await s.replica.kill(0, 1);
    expect(await codeOf(agent.stat(s.at(".")))).toBe("ENOTCONN");
    await s.revive(0, 1);
    expect(await codeOf(agent.stat(s.at(".")))).toBe("ok");
  });

  it("ARB-08 an append at once after a heal of the arbiter succeeds", async () => {
    const s = await open(cast, { arbiter: true });
    await agent.writeFile(s.at("file"), "one");
    await s.without([2], () => agent.appendFile(s.at("file"), " two"));
    await s.heal();
    expect(await codeOf(agent.appendFile(s.at("file"), " three"))).toBe("ok");
    expect(readFileSync(s.brick(2, "file"))).toHaveLength(0);
    expect(String(readFileSync(s.brick(0, "file")))).toBe("one two three");
  });

  it("RSV-01 a stale copy is not read, preferred or not", async () => {
    const s = await open(cast, { copies: 2, replicate: ["read-subvolume-index 0", "choose-local no"] });
    await agent.writeFile(s.at("file"), "old");
    await s.without([0], () => agent.writeFile(s.at("file"), pattern(10 * MIB)));
    expect((await agent.stat(s.at("file"))).size).toBe(10 * MIB);
    expectSameBytes(await agent.readFile(s.at("file")), pattern(10 * MIB));
  });

  it("RSV-03 one file is read from one copy in mode 1, from both in mode 3, never from the arbiter", async () => {
    const s = await open(cast, { arbiter: true, replicate: ["choose-local no"] });
    await agent.writeFile(s.at("file"), pattern(8 * MIB));
    for (const [mode, wanted] of [
      [1, [8, 0, 0]],
      [3, [4, 4, 0]],
    ] as const) {
      const mount = await s.replica.mount(cast.client, { replicate: [`read-hash-mode ${mode}`] });
      const before = await sentBytes(s.replica);
      const path = join(mount.mountpoint, "file");
      await lab.processes.run("fio", [
        ...[`--name=${mode}`, `--filename=${path}`, "--rw=read", "--bs=128k", "--ioengine=libaio"],
        ...["--iodepth=16", "--direct=1", "--size=8m", "--allow_file_create=0"],
      ]);
      const after = await sentBytes(s.replica);
      const read = after.map((bytes, index) => (bytes - before[index]!) / MIB);
      const seen =
        mode === 1
          ? read
              .slice(0, 2)
              .sort((a, b) => b - a)
              .concat(read[2]!)
          : read;
      for (const [index, mib] of wanted.entries())
        expect(Math.abs(seen[index]! - mib), `mode ${mode}: ${read}`).toBeLessThan(mode === 1 ? 1 : 3.5);
      await lab.unmount(mount);
    }
  });

  it("RSV-06 data and holes are found as on a local file system", async () => {
    const s = await open(cast);
    const plain = lab.makeDirectory("plain");
    const found: string[][] = [];
    for (const directory of [plain, s.mount.mountpoint]) {
      const fd = await agent.open(join(directory, "sparse"), "O_RDWR|O_CREAT");
      await agent.write(fd, pattern(64 * 1024), MIB);
      await agent.write(fd, pattern(64 * 1024), 3 * MIB);
      await agent.ftruncate(fd, 5 * MIB);
      const offsets = [
        0,
        MIB - 1,
        MIB,
        MIB + 1,
        MIB + 65536,
        2 * MIB,
        3 * MIB,
        4 * MIB,
        5 * MIB - 1,
        5 * MIB,
        6 * MIB,
      ];
      const results: string[] = [];
      for (const what of ["data", "hole"] as const)
        for (const offset of offsets)
          results.push(
            `${what} from ${offset}: ${await agent.seek(fd, offset, what).catch((error) => error.code)}`,
          );
      found.push(results);
      await agent.close(fd);
    }
    expect(found[1]).toEqual(found[0]);
  });

  it("EAG-01 dirty is gone with the fsync, and soon after a writer was killed", async () => {
    const s = await open(cast, { replicate: ["post-op-delay-secs 3"] });
    const dirty = (): boolean =>
      s.replica.bricks.some(({ directory }) => "dirty" in pendingMarks(directory, "file"));
    await agent.writeFile(s.at("file"), "");
    const started = performance.now();
    for (let round = 0; round < 5; round++) await agent.appendFile(s.at("file"), "round");
    // Less than one delay: none of them waited for the post-op of the one before.
    expect(performance.now() - started).toBeLessThan(3000);
    const fd = await agent.open(s.at("file"), "O_WRONLY");
    await agent.write(fd, "synced", 0);
    await agent.fsync(fd);
    await agent.close(fd);
    await until("dirty is gone with the close", () => !dirty(), { deadlineMs: 2500 });
    const doomed = lab.agent();
    const open2 = await doomed.open(s.at("file"), "O_WRONLY");
    await doomed.write(open2, "unsynced", 0);
    await doomed.process.kill();
    await until("dirty is gone after the writer", () => !dirty(), { deadlineMs: 5000 });
  });

  it("EAG-02 when the last clean copy dies under a writer it fails, and nobody blames that copy", async () => {
    const s = await open(cast);
    const fd = await agent.open(s.at("file"), "O_RDWR|O_CREAT");
    const append = (number: number): Promise<string> =>
      codeOf(agent.write(fd, Buffer.alloc(1024, number), number * 1024));
    expect(await append(0)).toBe("ok");
    await s.without([0], async () => expect(await append(1)).toBe("ok"));
    await s.without([1], async () => expect(await append(2)).toBe("ok"));
    await s.replica.kill(2);
    expect(await append(3)).not.toBe("ok");
    await agent.close(fd).catch(() => {});
    for (const index of [0, 1])
      expect(
        pendingMarks(s.replica.directory(index), "file"),
        describeMarks(s.replica.directory(index)).join(),
      ).not.toHaveProperty("client-2");
    await s.revive(2);
    const clean = readFileSync(s.brick(2, "file"));
    await s.heal();
    expect(readFileSync(s.brick(0, "file"))).toEqual(clean);
    expect(clean.subarray(0, 3 * 1024)).toEqual(
      Buffer.concat([0, 1, 2].map((number) => Buffer.alloc(1024, number))),
    );
  });

  it("EAG-08 a file that was opened while a brick was away is locked on it when it is back", async () => {
    const s = await open(cast);
    await agent.writeFile(s.at("file"), "content");
    await s.replica.kill(0);
    const fd = await agent.open(s.at("file"), "O_RDWR");
    await s.revive(0);
    expect(await agent.flock(fd, "exclusive")).toBe(true);
    await agent.close(fd);
    const again = await agent.open(s.at("file"), "O_RDWR");
    expect(await agent.flock(again, "exclusive")).toBe(true);
    await agent.close(again);
  });

  it("EAG-09 with strict locks a descriptor that holds a lock is not used where the lock was lost", async () => {
    const s = await open(cast, { client: ["strict-locks on"] });
    const { replica } = s;
    await agent.writeFile(s.at("file"), "");
    const isOpenOn = (index: number): boolean => {
      const gfid = gfidOf(replica.directory(index), "file");
      const paths = openPaths(replica.bricks[index]!.process.pid);
      return paths.some((path) => path === s.brick(index, "file") || path.endsWith(`/${gfid}`));
    };
    const fd = await agent.open(s.at("file"), "O_RDWR");
    expect(await agent.flock(fd, "exclusive")).toBe(true);
    expect(await codeOf(agent.write(fd, "data-1", 0))).toBe("ok");
    expect([0, 1, 2].map(isOpenOn)).toEqual([true, true, true]);

    await s.without([0], async () => {});
    expect(await codeOf(agent.write(fd, "data-2", 0))).toBe("ok");
    expect([0, 1, 2].map(isOpenOn)).toEqual([false, true, true]);
    await until("the third copy has it", () => readFileSync(s.brick(2, "file"), "utf8") === "data-2");
    expect(readFileSync(s.brick(0, "file"), "utf8")).toBe("data-1");

    await replica.kill(1);
    expect(await codeOf(agent.write(fd, "data-3", 0))).not.toBe("ok");
    await s.revive(1);
    // Two bricks have lost the lock: nothing is done unprotected, also when all copies are level again.
    expect(await codeOf(agent.write(fd, "data-4", 0))).not.toBe("ok");
    expect(await codeOf(agent.read(fd, 10, 0))).not.toBe("ok");
    if (cast.client === "mortar") expect(readFileSync(s.brick(2, "file"), "utf8")).toBe("data-2");
    await s.heal();
    expect(await codeOf(agent.write(fd, "data-5", 0))).not.toBe("ok");
    expect(await codeOf(agent.read(fd, 10, 0))).not.toBe("ok");
    expect([0, 1, 2].map(isOpenOn)).toEqual([false, false, true]);

    const others = await replica.mount(cast.client);
    const other = lab.agent();
    await replica.kill(2);
    const taken = await other.open(join(others.mountpoint, "file"), "O_RDWR");
    expect(await other.flock(taken, "exclusive")).toBe(true);
    expect(await codeOf(other.write(taken, "data-6", 0))).toBe("ok");
    await s.revive(2);
    expect(await codeOf(agent.write(fd, "data-7", 0))).not.toBe("ok");
    expect(await codeOf(agent.read(fd, 10, 0))).not.toBe("ok");
    await other.close(taken);
    await agent.close(fd).catch(() => {});
    const again = await agent.open(s.at("file"), "O_RDWR");
    expect(await agent.flock(again, "exclusive")).toBe(true);
    expect(await codeOf(agent.write(again, "data-8", 0))).toBe("ok");
    await agent.close(again);
    await lab.unmount(others);
    await s.heal();
    expect(readFileSync(s.brick(2, "file"), "utf8")).toBe("data-8");
  });
});

/** By brick: bytes that it has sent on connections that still stand. */
async function sentBytes(replica: Replica): Promise<number[]> {
  const sums: number[] = [];
  for (const { address } of replica.bricks) {
    if (!("port" in address)) throw new Error("bricks listen on TCP here");
    const table = await lab.processes.run("ss", [
      "-tinH",
      "state",
      "established",
      "sport",
      "=",
      `:${address.port}`,
    ]);
    sums.push([...table.matchAll(/bytes_sent:(\d+)/g)].reduce((sum, [, bytes]) => sum + Number(bytes), 0));
  }
  return sums;
}
