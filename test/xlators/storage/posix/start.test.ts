/** How a brick starts, refuses to start, watches itself and stops (translators.md 2.1, 2.9). */

// koffi is configured there, which must come before anything else is loaded through it.
import "../../../../src/os/libc.ts";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { UserError } from "../../../../src/core/errors.ts";
import { gfidText, newGfid, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { parseOptions } from "../../../../src/core/options.ts";
import type { ChildEvent } from "../../../../src/core/xlator.ts";
import { openDiskIo } from "../../../../src/os/disk-io.ts";
import { close } from "../../../../src/os/files.ts";
import { createBrickDirectory, openBrickDirectory } from "../../../../xlators/storage/posix/brick-dir.ts";
import { HealthCheck } from "../../../../xlators/storage/posix/health.ts";
import { posixOptions } from "../../../../xlators/storage/posix/options.ts";
import { stack, startGraph } from "../../../support/build-graph.ts";
import { fakeEnv } from "../../../support/fake-env.ts";
import { getXattr, setXattr } from "../../../support/libc.ts";
import { until } from "../../../support/wait.ts";
import { CALL, makeDirectory, PosixFixture } from "./brick-fixture.ts";

const ANY_OWNER = { uid: -1, gid: -1 };

/** A temporary directory and its end. */
function temporary(): { path: string } & Disposable {
  const path = makeDirectory();
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

async function refusal(directory: string, volumeId = ""): Promise<string> {
  try {
    const { lockFd } = await openBrickDirectory(directory, volumeId, ANY_OWNER);
    await close(lockFd);
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  }
  throw new Error("the brick was accepted");
}

describe("a directory is refused, with one line that says why, when it", () => {
  it("does not exist, is a file, or is not given", async () => {
    using dir = temporary();
    const missing = join(dir.path, "missing");
    expect(await refusal(missing)).toBe(
      `brick "${missing}": does not exist; create it first (is its file system mounted?)`,
    );
    const file = join(dir.path, "file");
    writeFileSync(file, "");
    expect(await refusal(file)).toBe(`brick "${file}": is not a directory`);
    expect(await refusal("")).toBe("storage/posix: option directory is missing");
  });

  it("has no extended attributes", async () => {
    expect(await refusal("/proc")).toMatch(
      /^brick "\/proc": is on a file system without extended attributes/,
    );
  });

  it("belongs to another volume, or to none, and is left as it was", async () => {
    using dir = temporary();
    const mine = gfidText(newGfid());
    expect(await refusal(dir.path, mine)).toMatch(/belongs to no volume/);
    const other = newGfid();
    setXattr(dir.path, "trusted.glusterfs.volume-id", other);
    expect(await refusal(dir.path, mine)).toBe(
      `brick "${dir.path}": belongs to volume "${gfidText(other)}", not to "${mine}"`,
    );
    expect(await refusal(dir.path, "rubbish")).toMatch(/option volume-id: "rubbish" is no uuid/);
    expect(readdirSync(dir.path)).toEqual([]);
  });

  it("is a directory inside another brick", async () => {
    using dir = temporary();
    setXattr(dir.path, "trusted.gfid", newGfid());
    expect(await refusal(dir.path)).toMatch(/is a directory inside another brick/);
  });

  it("is served already", async () => {
    using dir = temporary();
    const { lockFd } = await openBrickDirectory(dir.path, "", ANY_OWNER);
    expect(await refusal(dir.path)).toBe(
      `brick "${dir.path}": is served by this process already: name it once`,
    );
    await close(lockFd);
    await close((await openBrickDirectory(dir.path, "", ANY_OWNER)).lockFd);
  });

  it("has a .glusterfs that is none", async () => {
    using dir = temporary();
    writeFileSync(join(dir.path, ".glusterfs"), "");
    expect(await refusal(dir.path)).toMatch(/".glusterfs" is not a directory/);
    rmSync(join(dir.path, ".glusterfs"));
    mkdirSync(join(dir.path, ".glusterfs/00/00"), { recursive: true });
    symlinkSync("/etc", join(dir.path, ".glusterfs/00/00", gfidText(ROOT_GFID)));
    expect(await refusal(dir.path)).toMatch(/does not lead to the brick; remove it/);
  });
});

describe("a directory that is accepted", () => {
  it("loses what was parked in unlink and an old landfill, and keeps everything else", async () => {
    using dir = temporary();
    mkdirSync(join(dir.path, ".glusterfs/unlink/sub"), { recursive: true });
    writeFileSync(join(dir.path, ".glusterfs/unlink/sub/x"), "");
    writeFileSync(join(dir.path, ".glusterfs/unlink/y"), "");
    mkdirSync(join(dir.path, ".landfill/old"), { recursive: true });
    writeFileSync(join(dir.path, "file"), "kept");
    chmodSync(join(dir.path, ".glusterfs"), 0o600);
    const { lockFd, base } = await openBrickDirectory(dir.path, "", { uid: 12, gid: 34 });
    await close(lockFd);
    expect(base).toBe(dir.path);
    expect(readdirSync(join(dir.path, ".glusterfs/unlink"))).toEqual([]);
    expect(readdirSync(dir.path).sort()).toEqual([".glusterfs", "file"]);
    expect(readdirSync(join(dir.path, ".glusterfs/landfill"))).toHaveLength(1);
    expect(statSync(join(dir.path, ".glusterfs")).mode & 0o777).toBe(0o600);
    expect(statSync(dir.path)).toMatchObject({ uid: 12, gid: 34 });
  });

  it("may be made for a volume first, once", async () => {
    using dir = temporary();
    const id = newGfid();
    await createBrickDirectory(dir.path, id);
    await createBrickDirectory(dir.path, id);
    expect(getXattr(dir.path, "trusted.glusterfs.volume-id")).toEqual(id);
    expect(statSync(join(dir.path, ".glusterfs")).mode & 0o777).toBe(0o600);
    await expect(createBrickDirectory(dir.path, newGfid())).rejects.toThrow(/belongs to volume/);
    await close((await openBrickDirectory(dir.path, gfidText(id), ANY_OWNER)).lockFd);
  });

  it("is found through a symlink", async () => {
    using dir = temporary();
    const real = join(dir.path, "real");
    mkdirSync(real);
    symlinkSync(real, join(dir.path, "link"));
    const { base, lockFd } = await openBrickDirectory(join(dir.path, "link"), "", ANY_OWNER);
    await close(lockFd);
    expect(base).toBe(real);
  });
});

describe("a brick", () => {
  it("started again finds the same data by the same gfids", async () => {
    using dir = temporary();
    const volfile = stack({ name: "brick", type: "storage/posix", options: { directory: dir.path } });
    mkdirSync(join(dir.path, "d"));
    writeFileSync(join(dir.path, "d/f"), "data");
    const gfids: string[] = [];
    for (let round = 0; round < 2; round++) {
      await using graph = await startGraph(volfile);
      const root = new Inode(ROOT_GFID, 0o040000);
      const { stat } = await graph.top.lookup(CALL, { loc: { inode: root } });
      gfids.push(gfidText(stat.gfid));
      expect(existsSync(join(dir.path, ".glusterfs/ff"))).toBe(true);
    }
    expect(gfids).toEqual([gfidText(ROOT_GFID), gfidText(ROOT_GFID)]);
  });

  it("takes new options while it runs", async () => {
    await using brick = await PosixFixture.start({ "max-hardlinks": "1" });
    const { inode } = await brick.create("f");
    const link = () => brick.top.link(CALL, { from: { inode }, to: brick.entry("g", brick.root, inode) });
    await expect(link()).rejects.toMatchObject({ code: "EMLINK" });
    const given = new Map([
      ["directory", brick.directory],
      ["brick-uid", "77"],
    ]);
    brick.top.reconfigure(parseOptions(posixOptions, given, { who: "test" }).values);
    await link();
    await until("the owner is changed", () => statSync(brick.directory).uid === 77);
    expect(statSync(brick.directory).gid).toBe(0);
  });

  it("looks at the free space again and again, and says child-down once its health check fails", async () => {
    const env = fakeEnv();
    await using brick = await PosixFixture.start({ "health-check-interval": "7", reserve: "0" }, env);
    const events: ChildEvent["type"][] = [];
    brick.top.addParent({ onChildEvent: (event) => events.push(event.type) });
    const file = brick.path(".glusterfs/health_check");
    await env.clock.advance(7000);
    const text = (): string => (existsSync(file) ? readFileSync(file, "utf8") : "");
    const first = await until("first check", () => /^2023-.*Z$/.test(text()) && text());
    await until("another check", async () => {
      await env.clock.advance(7000);
      return text().length === first.length && text() !== first;
    });
    expect(events).toEqual([]);
    // A check that is under way may make the file again in between.
    await until("a directory is in the way", () => {
      rmSync(file, { force: true, recursive: true });
      try {
        mkdirSync(file);
        return true;
      } catch {
        return false;
      }
    });
    await until("the brick is down", async () => {
      await env.clock.advance(7000);
      return events.length > 0;
    });
    expect(events).toEqual(["child-down"]);
  });
});

describe("the health check", () => {
  it("fails when the disk does not answer in time", async () => {
    using dir = temporary();
    const env = fakeEnv();
    const failures: string[] = [];
    const stalled = { ...openDiskIo("pool"), writev: () => new Promise<number>(() => {}) };
    const check = new HealthCheck({
      path: join(dir.path, "health_check"),
      io: { ...stalled, kind: "pool", readv: stalled.writev, fsync: async () => {} },
      env,
      seconds: () => ({ interval: 30, timeout: 20 }),
      onFailure: (error) => failures.push(error.code),
    });
    check.start();
    await until("the check gave up", async () => {
      await env.clock.advance(10_000);
      return failures.length > 0;
    });
    expect(failures).toEqual(["ETIMEDOUT"]);
    expect(env.clock.nowMs()).toBeGreaterThanOrEqual(50_000);
  });
});
