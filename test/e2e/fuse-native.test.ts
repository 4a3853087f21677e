/**
 * The fuse-native edge on a real mount: what it does, and every limit that its header states. The mount is a
 * process of its own; files are touched by agents only, since a call on a mount that hangs must not hang the
 * test.
 */

import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { FileAgent } from "../support/file-agent.ts";
import { mountAt } from "../support/mounts.ts";
import { inOwnMounts } from "../support/namespace.ts";
import { directFilesBelow, openPaths } from "../support/open-files.ts";
import { Lab, MORTAR, tail } from "../support/peers.ts";
import type { Running } from "../support/processes.ts";
import { clientVolfile, embeddedVolfile } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";

const NOBODY = "65534";
const MIB = 1 << 20;

interface NativeMount {
  readonly mountpoint: string;
  readonly brick: string;
  readonly volfile: string;
  readonly process: Running;
}

let lab: Lab;
let agent: FileAgent;

beforeAll(() => {
  lab = new Lab("fuse-native");
  agent = lab.agent();
});
afterAll(() => lab.close());

/** The log goes to a file, so that standard error has nothing but the one line of a refusal. */
function mountArguments(source: string, mountpoint: string, options: readonly string[]): string[] {
  const given = options.length > 0 ? ["-o", options.join(",")] : [];
  const log = ["--log-file", `${mountpoint}.log`];
  return ["mount", source, mountpoint, "--edge", "fuse-native", "--foreground", ...log, ...given];
}

/** Mounts a new embedded brick, or `source`. */
async function mount(options: readonly string[] = [], source?: string): Promise<NativeMount> {
  const brick = lab.makeDirectory("brick");
  const mountpoint = lab.makeDirectory("mnt");
  const volfile = source ?? lab.writeFile("embedded.vol", embeddedVolfile(brick));
  const process = lab.processes.start(MORTAR, mountArguments(volfile, mountpoint, options));
  const log = `${mountpoint}.log`;
  await until(
    "the mount is ready",
    () => {
      if (process.exit !== undefined) throw new Error(`mount ended: ${process.output}`);
      return /: mounted /.test(tail(log));
    },
    { deadlineMs: 30_000, detail: () => `${process.output}\n${tail(log)}` },
  );
  return { mountpoint, brick, volfile, process };
}

/** The one line that a mount which cannot be made leaves behind. */
async function refusal(command: string, args: readonly string[]): Promise<string> {
  const exit = await lab.processes.tryRun(command, args);
  expect(exit.code).toBe(1);
  const lines = exit.stderr.trim().split("\n");
  expect(lines).toHaveLength(1);
  return lines[0]!;
}

describe("a mount by fuse-native", () => {
  let m: string;
  let brick: string;

  beforeAll(async () => {
    ({ mountpoint: m, brick } = await mount());
  });

  it("is a mount of type fuse.mortar that the kernel guards by modes", () => {
    const entry = mountAt(m);
    expect(entry?.type).toBe("fuse.mortar");
    expect(entry?.options).toContain("default_permissions");
    expect(entry?.options).not.toContain("allow_other");
  });

  it("keeps a large file byte for byte, on the brick too", async () => {
    const data = randomBytes(24 * MIB + 12345);
    await agent.writeFile(`${m}/large`, data);
    const sum = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
    expect(sum(await agent.readFile(`${m}/large`))).toBe(sum(data));
    expect(sum(readFileSync(join(brick, "large")))).toBe(sum(data));
    await agent.unlink(`${m}/large`);
  });

  it("makes, renames, links and removes names", async () => {
    await agent.mkdir(`${m}/dir`, "0750");
    await agent.writeFile(`${m}/dir/a`, "first");
    await agent.writeFile(`${m}/dir/b`, "second");
    await agent.rename(`${m}/dir/a`, `${m}/dir/b`);
    expect(await agent.list(`${m}/dir`)).toEqual(["b"]);
    await agent.link(`${m}/dir/b`, `${m}/hard`);
    await agent.symlink("dir/b", `${m}/soft`);
    await agent.rename(`${m}/dir`, `${m}/moved`);
    const [one, two] = [await agent.stat(`${m}/hard`), await agent.stat(`${m}/moved/b`)];
    expect(one).toMatchObject({ nlink: 2, size: 5, ino: two.ino });
    expect(await agent.stat(`${m}/soft`)).toMatchObject({ type: "symlink" });
    expect(await agent.stat(`${m}/moved`)).toMatchObject({ type: "directory", mode: "0750" });
    await expect(agent.rmdir(`${m}/moved`)).rejects.toMatchObject({ code: "ENOTEMPTY" });
    for (const name of ["hard", "soft", "moved/b"]) await agent.unlink(`${m}/${name}`);
    await agent.rmdir(`${m}/moved`);
    await expect(agent.stat(`${m}/moved`)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("keeps modes, owners, device nodes and fifos", async () => {
    await agent.writeFile(`${m}/f`, "x");
    await agent.chmod(`${m}/f`, "4711");
    await agent.chown(`${m}/f`, 12, 34);
    // chown takes set-uid away, as on any Linux file system.
    expect(await agent.stat(`${m}/f`)).toMatchObject({ mode: "0711", uid: 12, gid: 34 });
    const device = 0x11112070;
    await agent.mknod(`${m}/dev`, "060640", device);
    expect(await agent.stat(`${m}/dev`)).toMatchObject({ type: "block device", rdev: device });
    await agent.mknod(`${m}/fifo`, "010600", 0);
    expect(await agent.stat(`${m}/fifo`)).toMatchObject({ type: "fifo" });
    for (const name of ["f", "dev", "fifo"]) await agent.unlink(`${m}/${name}`);
  });

  it("keeps extended attributes and hides those of the volume", async () => {
    await agent.writeFile(`${m}/x`, "");
    await agent.setXattr(`${m}/x`, "user.one", "value");
    await agent.setXattr(`${m}/x`, "user.empty", "");
    await agent.setXattr(`${m}/x`, "user.large", Buffer.alloc(3000, "v"));
    expect((await agent.getXattr(`${m}/x`, "user.one")).toString()).toBe("value");
    expect(await agent.getXattr(`${m}/x`, "user.empty")).toHaveLength(0);
    expect(await agent.getXattr(`${m}/x`, "user.large")).toHaveLength(3000);
    expect((await agent.listXattrs(`${m}/x`)).toSorted()).toEqual(["user.empty", "user.large", "user.one"]);
    await agent.removeXattr(`${m}/x`, "user.one");
    await expect(agent.getXattr(`${m}/x`, "user.one")).rejects.toMatchObject({ code: "ENODATA" });
    await expect(agent.setXattr(`${m}/x`, "trusted.gfid", Buffer.alloc(16))).rejects.toMatchObject({
      code: "EPERM",
    });
    await agent.unlink(`${m}/x`);
  });

  it("lists a directory of a thousand names whole", async () => {
    await agent.mkdir(`${m}/many`);
    const script = 'cd "$1" && seq -f name-%05g 1000 | xargs touch';
    await lab.processes.run("sh", ["-c", script, "sh", `${m}/many`]);
    const names = await agent.list(`${m}/many`);
    expect(names).toHaveLength(1000);
    expect(names.at(-1)).toBe("name-01000");
    await agent.removeTree(`${m}/many`);
  });

  it("honours O_EXCL, O_APPEND, O_TRUNC and truncation", async () => {
    const fd = await agent.open(`${m}/f`, "O_RDWR|O_CREAT|O_EXCL");
    await expect(agent.open(`${m}/f`, "O_RDWR|O_CREAT|O_EXCL")).rejects.toMatchObject({ code: "EEXIST" });
    await agent.write(fd, "0123456789", 0);
    await agent.appendFile(`${m}/f`, "abc");
    expect((await agent.read(fd, 100, 8)).toString()).toBe("89abc");
    await agent.ftruncate(fd, 4);
    expect(await agent.fstat(fd)).toMatchObject({ size: 4 });
    await agent.truncate(`${m}/f`, 2 ** 41);
    expect(await agent.stat(`${m}/f`)).toMatchObject({ size: 2 ** 41 });
    await agent.writeFile(`${m}/f`, "short");
    expect((await agent.readFile(`${m}/f`)).toString()).toBe("short");
    await agent.close(fd);
    await agent.unlink(`${m}/f`);
  });

  it("syncs files and directories", async () => {
    const fd = await agent.open(`${m}/f`, "O_WRONLY|O_CREAT");
    await agent.write(fd, "data", 0);
    await agent.fsync(fd);
    await agent.fdatasync(fd);
    await agent.close(fd);
    const directory = await agent.open(m, "O_RDONLY|O_DIRECTORY");
    await agent.fsync(directory);
    await agent.close(directory);
    await agent.unlink(`${m}/f`);
  });

  it("passes fio's verification under random reads and writes", async () => {
    await lab.processes.run("fio", [
      ...["--name=verify", `--filename=${m}/fio`, "--size=16m", "--rw=randrw", "--bs=4k", "--direct=1"],
      ...["--ioengine=libaio", "--iodepth=16", "--fallocate=none", "--verify=crc32c", "--verify_fatal=1"],
      "--verify_state_save=0",
    ]);
    await agent.unlink(`${m}/fio`);
  });
});

describe("direct I/O", () => {
  it.each([["auto"], ["enable"]])("reaches the brick with direct-io-mode=%s", async (mode) => {
    const { mountpoint, brick, process } = await mount([`direct-io-mode=${mode}`]);
    const path = `${mountpoint}/f`;
    await agent.writeFile(path, randomBytes(501));
    const fd = await agent.open(path, "O_RDWR|O_DIRECT");
    expect(directFilesBelow(process.pid, brick)).toBe(1);
    expect(await agent.read(fd, 4096, 0)).toHaveLength(501);
    expect(await agent.write(fd, Buffer.alloc(8192, "z"), 4096)).toBe(8192);
    expect((await agent.read(fd, 512, 4096)).toString()).toBe("z".repeat(512));
    await agent.close(fd);
    const made = await agent.open(`${mountpoint}/made`, "O_RDWR|O_CREAT|O_DIRECT");
    expect(directFilesBelow(process.pid, brick)).toBe(1);
    await agent.close(made);
  });

  it("refuses requests that do not fit the brick's blocks", async () => {
    const { mountpoint } = await mount(["direct-io-mode=enable"]);
    await agent.writeFile(`${mountpoint}/f`, Buffer.alloc(8192, "x"));
    const fd = await agent.open(`${mountpoint}/f`, "O_RDWR|O_DIRECT");
    await expect(agent.read(fd, 1, 0)).rejects.toMatchObject({ code: "EINVAL" });
    await expect(agent.write(fd, Buffer.alloc(100), 512)).rejects.toMatchObject({ code: "EINVAL" });
    await agent.close(fd);
  });
});

describe("the limits of fuse-native", () => {
  let m: string;
  let brick: string;

  beforeAll(async () => {
    ({ mountpoint: m, brick } = await mount(["attribute-timeout=0", "entry-timeout=0"]));
  });

  it("fallocate is refused in each mode", async () => {
    const fd = await agent.open(`${m}/f`, "O_RDWR|O_CREAT");
    for (const mode of [0, 1, 3, 0x10])
      await expect(agent.fallocate(fd, mode, 0, 4096)).rejects.toMatchObject({ code: "EOPNOTSUPP" });
    await agent.close(fd);
  });

  it("a sparse file looks like one piece of data", async () => {
    const fd = await agent.open(`${m}/sparse`, "O_RDWR|O_CREAT");
    await agent.ftruncate(fd, MIB);
    expect(await agent.seek(fd, 0, "data")).toBe(0);
    expect(await agent.seek(fd, 0, "hole")).toBe(MIB);
    await agent.close(fd);
  });

  it("times are whole milliseconds from 1970 on, each its own", async () => {
    await agent.writeFile(`${m}/t`, "");
    await agent.utimes(`${m}/t`, "1000000000123456789", "2000000000987654321");
    expect(await agent.stat(`${m}/t`)).toMatchObject({
      atime: "1000000000123000000",
      mtime: "2000000000987000000",
    });
    await lab.processes.run("touch", ["-d", "1969-12-31 00:00:00 UTC", `${m}/t`]);
    expect(await agent.stat(`${m}/t`)).toMatchObject({ atime: "0", mtime: "0" });
    await lab.processes.run("touch", ["-d", "2020-01-01 00:00:00 UTC", `${m}/t`]);
    await lab.processes.run("touch", ["-a", "-d", "2021-01-01 00:00:00 UTC", `${m}/t`]);
    expect(await agent.stat(`${m}/t`)).toMatchObject({ atime: "1577836800000000000" });
  });

  it("inode numbers have 32 bits", async () => {
    await agent.writeFile(`${m}/i`, "");
    expect(Number((await agent.stat(`${m}/i`)).ino)).toBeLessThan(2 ** 32);
    expect(await agent.stat(m)).toMatchObject({ ino: "1" });
  });

  it("names that are not UTF-8 are refused; those on the brick cannot be reached", async () => {
    const name = Buffer.from([0x63, 0xe9]);
    const path = Buffer.concat([Buffer.from(`${m}/`), name]);
    await expect(agent.mkdir(path)).rejects.toMatchObject({ code: "EINVAL" });
    await expect(agent.open(path, "O_RDWR|O_CREAT")).rejects.toMatchObject({ code: "EINVAL" });
    expect(readdirSync(brick).filter((entry) => entry.startsWith("c"))).toEqual([]);
  });

  it("a removed file that is open stays as a hidden name until it is closed", async () => {
    await agent.writeFile(`${m}/gone`, "still here");
    const fd = await agent.open(`${m}/gone`, "O_RDWR");
    await agent.unlink(`${m}/gone`);
    expect((await agent.read(fd, 100, 0)).toString()).toBe("still here");
    expect(await agent.fstat(fd)).toMatchObject({ size: 10 });
    const hidden = () => readdirSync(brick).filter((name) => name.startsWith(".fuse_hidden"));
    expect(hidden()).toHaveLength(1);
    await agent.close(fd);
    await until("the hidden name goes", () => hidden().length === 0);
  });

  it("other users have no access, since the edge would not know them", async () => {
    const user = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
    const { code, stderr } = await lab.processes.tryRun("setpriv", [...user, "ls", m]);
    expect(code).not.toBe(0);
    expect(stderr).toContain("Permission denied");
  });

  it.each(["allow-other", "kernel-writeback-cache", "acl"])(
    "-o %s is refused in one line",
    async (option) => {
      const mountpoint = lab.makeDirectory("mnt");
      const volfile = lab.writeFile("embedded.vol", embeddedVolfile(lab.makeDirectory("brick")));
      const line = await refusal(MORTAR, mountArguments(volfile, mountpoint, [option]));
      expect(line).toMatch(new RegExp(`edge fuse-native: option ${option}: .*; use --edge dev-fuse$`));
      expect(mountAt(mountpoint)).toBeUndefined();
    },
  );

  it("locks are this host's own: another mount of the volume does not see them", async () => {
    const volume = lab.makeBrickDirectory("brick");
    const { address } = await lab.startBrick("glusterfs", volume);
    const source = lab.writeFile("client.vol", clientVolfile({ directory: volume, address }));
    const [one, two] = [await mount([], source), await mount([], source)];
    const lock = { kind: "posix", type: "write", start: 0, length: 10 } as const;
    const other = lab.agent();
    const fd = await agent.open(`${one.mountpoint}/f`, "O_RDWR|O_CREAT");
    const here = await other.open(`${one.mountpoint}/f`, "O_RDWR");
    const there = await other.open(`${two.mountpoint}/f`, "O_RDWR");
    expect(await agent.lock({ fd, ...lock })).toBe(true);
    expect(await other.lock({ fd: here, ...lock })).toBe(false);
    expect(await other.lock({ fd: there, ...lock })).toBe(true);
    await agent.close(fd);
    for (const opened of [here, there]) await other.close(opened);
  });
});

describe("the end of a mount by fuse-native", () => {
  it("from outside ends the process with 0", async () => {
    const { mountpoint, process } = await mount();
    await lab.processes.run("umount", [mountpoint]);
    expect(await process.exited).toMatchObject({ code: 0 });
  });

  it("by SIGTERM unmounts and ends with 0; the data is there when mounted again", async () => {
    const { mountpoint, process, volfile } = await mount();
    await agent.writeFile(`${mountpoint}/kept`, "kept");
    expect(await process.stop("SIGTERM")).toMatchObject({ code: 0 });
    expect(mountAt(mountpoint)).toBeUndefined();
    const again = await mount([], volfile);
    expect((await agent.readFile(`${again.mountpoint}/kept`)).toString()).toBe("kept");
  });

  it("by SIGKILL leaves no dead mount point behind, nor anybody who holds the connection", async () => {
    const { mountpoint, process } = await mount();
    const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, "utf8");
    for (const pid of children.trim().split(" "))
      expect(openPaths(Number(pid)), `of child ${pid}`).not.toContain("/dev/fuse");
    await process.kill();
    await until("the mount point is free", () => mountAt(mountpoint) === undefined);
  });
});

describe("options of a mount by fuse-native", () => {
  it("ro refuses every change", async () => {
    const { mountpoint } = await mount(["ro"]);
    await expect(agent.mkdir(`${mountpoint}/d`)).rejects.toMatchObject({ code: "EROFS" });
  });

  it("subdir-mount shows a directory of the volume as the root", async () => {
    const { mountpoint, process, volfile } = await mount();
    await agent.mkdir(`${mountpoint}/sub`);
    await agent.writeFile(`${mountpoint}/sub/f`, "below");
    await process.stop("SIGTERM");
    const sub = await mount(["subdir-mount=/sub"], volfile);
    expect(await agent.list(sub.mountpoint)).toEqual(["f"]);
    await sub.process.stop("SIGTERM");
    const line = await refusal(
      MORTAR,
      mountArguments(volfile, lab.makeDirectory("mnt"), ["subdir-mount=/none"]),
    );
    expect(line).toContain('"/none": ENOENT');
  });

  it("without libfuse 2 one line says what to install", async () => {
    const mountpoint = lab.makeDirectory("mnt");
    const volfile = lab.writeFile("embedded.vol", embeddedVolfile(lab.makeDirectory("brick")));
    const hide =
      'mount --bind /dev/null "$(ldconfig -p | sed -n "s/.*libfuse.so.2 .*=> //p" | head -1)" && exec "$@"';
    const args = inOwnMounts(hide, [MORTAR, ...mountArguments(volfile, mountpoint, [])]);
    expect(await refusal("unshare", args)).toMatch(
      /edge fuse-native: .*libfuse\.so\.2.*: install libfuse 2 \(Debian: apt-get install libfuse2\), or use --edge dev-fuse$/,
    );
  });
});
