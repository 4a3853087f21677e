/**
 * Bad input from people and machines: each is refused with exit code 1 and one clear line, at once and with
 * nothing harmed. What can only go wrong later (a full disk, an odd name, a huge offset) fails with the errno
 * that a local file system would give.
 */

import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { codeOf } from "../support/file-agent.ts";
import { listXattrs } from "../support/libc.ts";
import { mountAt } from "../support/mounts.ts";
import { inOwnMounts } from "../support/namespace.ts";
import { Lab, LOOPBACK, MAKES, MORTAR, type Mount } from "../support/peers.ts";
import { freePort } from "../support/ports.ts";
import { describeExit, type Exit } from "../support/processes.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { brickVolfile, clientVolfile, embeddedVolfile, section } from "../support/volfiles.ts";

const MIB = 1 << 20;
/** Starting Node and the loader is most of it. */
const REFUSE_WITHIN_MS = 15_000;

const lab = new Lab("bad-input");
afterAll(() => lab.close());

/** One line for a person: who, what, why. */
function expectOneLine(exit: Exit, line: string | RegExp): void {
  expect(exit, describeExit(exit)).toMatchObject({ code: 1, signal: null, stdout: "" });
  const lines = exit.stderr.trimEnd().split("\n");
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^mortar: /);
  if (typeof line === "string") expect(lines[0]).toContain(line);
  else expect(lines[0]).toMatch(line);
}

/** Mounts, in the background as people do, and expects the refusal. */
async function expectMountRefused(
  source: string,
  line: string | RegExp,
  {
    mountpoint = lab.makeDirectory("mnt"),
    before = [] as readonly string[],
    options = [] as readonly string[],
  } = {},
): Promise<void> {
  const log = lab.path("refused.log");
  const command = [...before, MORTAR, "mount", source, mountpoint, "--log-file", log, ...options];
  const [program = "", ...args] = command;
  expectOneLine(await lab.processes.tryRun(program, args, { timeoutMs: REFUSE_WITHIN_MS }), line);
  if (mountpoint.startsWith(lab.directory)) expect(mountAt(mountpoint)).toBeUndefined();
}

/** Runs a command in a mount namespace of its own, after a script. */
function namespace(script: string): string[] {
  return ["unshare", ...inOwnMounts(`${script}\nexec "$@"`)];
}

describe("a command line is refused that", () => {
  it.each([
    ["names no command", ["mouunt"], "mortar: unknown command 'mouunt' (Did you mean mount?); `mortar"],
    [
      "lacks an argument",
      ["stats"],
      "mortar: missing required argument 'mountpoint'; `mortar [COMMAND] --help`",
    ],
    ["has a word too many", ["stats", "a", "b"], "Expected 1 argument but got 2; `mortar"],
  ])("%s", async (_what, args, line) => {
    expectOneLine(await lab.processes.tryRun(MORTAR, args), line);
  });
});

describe("a volfile is refused that", () => {
  const posix = (...options: string[]): string =>
    section("disk", "storage/posix", [`directory ${lab.makeDirectory("brick")}`, ...options]);
  const cases: Record<string, readonly [text: () => string, line: RegExp]> = {
    "has a cycle": [
      () => section("a", "features/locks", [], "b") + section("b", "features/locks", [], "a"),
      /:3: volume "a": .*cycle.*"a".*"b".*"a"/,
    ],
    "names itself as a subvolume": [
      () => section("a", "features/locks", [], "a"),
      /:3: volume "a": has itself as a subvolume/,
    ],
    "names a subvolume that is missing": [
      () => posix() + section("top", "features/locks", [], "dusk"),
      /volume "top": subvolume "dusk" is not defined/,
    ],
    "has a value that the option does not take": [
      () => posix("health-check-interval soon"),
      /volume "disk": .*health-check-interval.*"soon"/,
    ],
    "names a type that does not exist": [
      () => section("disk", "storage/posx", []),
      /:2: volume "disk": unknown type "storage\/posx".*storage\/posix/,
    ],
    "lacks a directory": [
      () => section("disk", "storage/posix", []),
      /volume "disk": .*option directory is missing/,
    ],
    "defines a volume twice": [() => posix() + posix(), /volume "disk".*(twice|again|already)/],
    "ends in the middle of a volume": [() => "volume a\n  type storage/posix\n", /volume "a".*end-volume/],
    "would run a command": [() => posix("comment `id`"), /backticks are refused/],
    "gives a leaf a subvolume": [
      () => posix() + section("other", "storage/posix", ["directory /tmp"], "disk"),
      /volume "other": .*subvolume/,
    ],
    "gives a filter none": [() => section("top", "features/locks", []), /volume "top": .*subvolume/],
    "is empty": [() => "# nothing\n", /there is no volume in it/],
    "is binary": [() => "\u0000\u0001volume\u0000", /bad.vol:1: /],
  };

  /** The rest fail in the same place, which `mortar graph` reaches with less work. */
  const ALSO_MOUNTED = new Set([
    "has a cycle",
    "names a subvolume that is missing",
    "has a value that the option does not take",
    "names a type that does not exist",
    "lacks a directory",
  ]);

  it.each(Object.keys(cases))("%s", async (name) => {
    const [text, line] = cases[name]!;
    const volfile = lab.writeFile("bad.vol", text());
    if (ALSO_MOUNTED.has(name)) await expectMountRefused(volfile, line);
    if (name !== "lacks a directory")
      expectOneLine(await lab.processes.tryRun(MORTAR, ["graph", volfile]), line);
  });

  it("does not exist, or is a directory", async () => {
    await expectMountRefused(lab.path("no.vol"), "there is no such file");
    await expectMountRefused(lab.makeDirectory("dir.vol"), /dir\.vol.*directory/);
  });
});

describe("a brick is refused whose directory", () => {
  async function refused(
    directory: string,
    line: string | RegExp,
    posix: string[] = [],
    before: string[] = [],
  ) {
    await expectMountRefused(lab.writeFile("embedded.vol", embeddedVolfile(directory, posix)), line, {
      before,
    });
    const volumeId = "2f6b3c5e-0a6d-4a53-a1d1-3f3c3a5c6b7d";
    const address = { host: LOOPBACK, port: await freePort() };
    const text = brickVolfile({ directory, volumeId, address, posix });
    const [program = "", ...args] = [...before, MORTAR, "brick", lab.writeFile("brick.vol", text)];
    const exit = await lab.processes.tryRun(program, args, { timeoutMs: REFUSE_WITHIN_MS });
    expect(exit, describeExit(exit)).toMatchObject({ code: 1, stdout: "" });
    expect(exit.stderr).toMatch(line);
  }

  it("is missing", async () => {
    const directory = lab.path("missing");
    await refused(directory, `brick "${directory}": does not exist`);
    expect(readdirSync(dirname(directory))).not.toContain(directory);
  });

  it("is a file", async () => {
    const file = lab.writeFile("file", "precious");
    await refused(file, `brick "${file}": is not a directory`);
    expect(readFileSync(file, "utf8")).toBe("precious");
  });

  it("belongs to another volume", async () => {
    const directory = lab.makeBrickDirectory("other");
    const id = "volume-id 00000000-1111-2222-3333-444444444444";
    await refused(directory, new RegExp(`brick "${directory}": .*volume`), [id]);
    expect(readdirSync(directory)).toEqual([]);
  });

  it("belongs to no volume, where the volfile says which", async () => {
    const directory = lab.makeDirectory("blank");
    const id = "volume-id 00000000-1111-2222-3333-444444444444";
    await refused(directory, `brick "${directory}": belongs to no volume`, [id]);
    expect(listXattrs(directory)).toEqual([]);
  });

  it("is on a read-only file system", async () => {
    const directory = lab.makeBrickDirectory("read-only", "2f6b3c5e-0a6d-4a53-a1d1-3f3c3a5c6b7d");
    const readOnly = `mount --bind '${directory}' '${directory}'; mount -o remount,bind,ro '${directory}'`;
    await refused(directory, /read-only/i, [], namespace(readOnly));
  });

  it("is on a file system without extended attributes", async () => {
    const directory = lab.makeDirectory("no-xattrs");
    await refused(
      directory,
      /without extended attributes/,
      [],
      namespace(`mount -t ramfs none '${directory}'`),
    );
  });

  it("is served by another process already", async () => {
    const directory = lab.makeDirectory("busy");
    const volfile = lab.writeFile("embedded.vol", embeddedVolfile(directory));
    const { mountpoint } = await lab.mount("mortar", volfile);
    await expectMountRefused(volfile, `brick "${directory}": is served by process `);
    expect(mountAt(mountpoint)).toBeDefined();
  });
});

describe("a mount point is refused that", () => {
  let volfile: string;
  beforeAll(() => {
    volfile = lab.writeFile("embedded.vol", embeddedVolfile(lab.makeDirectory("brick")));
  });

  it("is missing", async () => {
    const mountpoint = lab.path("missing");
    await expectMountRefused(volfile, `mount point "${mountpoint}": there is no such directory`, {
      mountpoint,
    });
  });

  it("is a file", async () => {
    const mountpoint = lab.writeFile("file", "");
    await expectMountRefused(volfile, `mount point "${mountpoint}": is not a directory`, { mountpoint });
  });

  it("is not empty, unless one insists", async () => {
    const mountpoint = lab.makeDirectory("full");
    writeFileSync(join(mountpoint, "mine"), "precious");
    await expectMountRefused(volfile, `mount point "${mountpoint}": is not empty`, { mountpoint });
    expect(readFileSync(join(mountpoint, "mine"), "utf8")).toBe("precious");
    const mount = await lab.mount("mortar", volfile, { mountpoint, options: ["nonempty"] });
    await lab.unmount(mount);
    expect(readFileSync(join(mountpoint, "mine"), "utf8")).toBe("precious");
  });

  it("is mounted already, also by way of a symbolic link", async () => {
    const mount = await lab.mount("mortar", volfile);
    const link = lab.path("link");
    symlinkSync(mount.mountpoint, link);
    const other = lab.writeFile("embedded.vol", embeddedVolfile(lab.makeDirectory("brick")));
    for (const mountpoint of [mount.mountpoint, link]) {
      const exit = await lab.processes.tryRun(MORTAR, [
        "mount",
        other,
        mountpoint,
        "--log-file",
        lab.path("log"),
      ]);
      expectOneLine(exit, `mount point "${mount.mountpoint}": is mounted already`);
    }
    expect((await lab.processes.tryRun("ls", [mount.mountpoint])).code).toBe(0);
    await lab.unmount(mount);
  });
});

describe("a mount is refused where", () => {
  let volfile: string;
  beforeAll(() => {
    volfile = lab.writeFile("embedded.vol", embeddedVolfile(lab.makeDirectory("brick")));
  });

  it("there is no /dev/fuse", async () => {
    const bare = [
      ...["mount -t tmpfs none /dev", "mkdir /dev/shm"],
      ...["null c 1 3", "zero c 1 5", "random c 1 8", "urandom c 1 9"].map(
        (node) => `mknod -m 666 /dev/${node}`,
      ),
    ].join("; ");
    await expectMountRefused(volfile, /\/dev\/fuse.*(modprobe|module|kernel)/, { before: namespace(bare) });
  });

  it("one may not use the brick", async () => {
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const mountpoint = lab.makeDirectory("mnt");
    chmodSync(lab.directory, 0o777);
    await expectMountRefused(volfile, /permission|root/i, {
      mountpoint,
      before: [...nobody, "env", `HOME=${lab.directory}`],
    });
  });

  it("an option is unknown to nobody but us, or has a bad value", async () => {
    await expectMountRefused(volfile, /attribute-timeout.*"soon"/, {
      options: ["-o", "attribute-timeout=soon"],
    });
    await expectMountRefused(volfile, /log level "loud"/, { options: ["--log-level", "loud"] });
    await expectMountRefused("gluster+rdma://host/volume", /rdma/);
    await expectMountRefused("gluster://[::1/volume", /gluster:/);
  });
});

describe.each(MAKES)("a %s brick refuses, and the mount says why,", (make) => {
  async function refusedBy(
    server: (directory: string) => string[],
    client: string[],
    line: RegExp,
  ): Promise<void> {
    const directory = lab.makeBrickDirectory("guarded");
    const brick = await lab.startBrick(make, directory, { server: server(directory) });
    const text = clientVolfile({ directory, address: brick.address, client });
    await expectMountRefused(lab.writeFile("client.vol", text), line);
    await brick.process.kill();
  }

  it("a wrong password", async () => {
    await refusedBy(
      (directory) => [`auth.login.${directory}.allow owner`, "auth.login.owner.password right"],
      ["username owner", "password wrong"],
      /(authentication|password|refused)/i,
    );
  });

  it("an address that is not allowed", async () => {
    await refusedBy(
      (directory) => [`auth.addr.${directory}.allow 192.0.2.*`],
      [],
      /(authentication|refused)/i,
    );
  });

  it("an address that is rejected", async () => {
    await refusedBy(
      (directory) => [`auth.addr.${directory}.allow *`, `auth.addr.${directory}.reject 127.0.0.*`],
      [],
      /(authentication|refused)/i,
    );
  });

  it("nobody with the right password", async () => {
    const directory = lab.makeBrickDirectory("guarded");
    const server = [`auth.login.${directory}.allow owner`, "auth.login.owner.password right"];
    const brick = await lab.startBrick(make, directory, { server });
    const mount = await lab.mountBrick("mortar", brick, ["username owner", "password right"]);
    await lab.unmount(mount);
  });
});

// Each waits some seconds for a brick that might still be starting; they wait together.
describe.concurrent("a mount is refused in seconds", () => {
  it("where nobody listens", async () => {
    const address = { host: LOOPBACK, port: await freePort() };
    const text = clientVolfile({ directory: "/bricks/b", address });
    await expectMountRefused(lab.writeFile("client.vol", text), `127.0.0.1:${address.port}`);
  });

  it.each(MAKES)("where a %s brick does not have the volume", async (make) => {
    const { address } = await lab.startBrick(make, lab.makeBrickDirectory("one"));
    const text = clientVolfile({ directory: "/bricks/another", address });
    await expectMountRefused(lab.writeFile("client.vol", text), "/bricks/another");
  });
});

it("a second brick on a port in use is refused, and the first goes on", async () => {
  const address = { host: LOOPBACK, port: await freePort() };
  const brick = await lab.startBrick("mortar", lab.makeBrickDirectory("first"), { address });
  const volumeId = "2f6b3c5e-0a6d-4a53-a1d1-3f3c3a5c6b7d";
  const directory = lab.makeBrickDirectory("second", volumeId);
  const volfile = lab.writeFile("brick.vol", brickVolfile({ directory, volumeId, address }));
  const exit = await lab.processes.tryRun(MORTAR, ["brick", volfile, "--log-level", "error"]);
  expectOneLine(exit, new RegExp(`127\\.0\\.0\\.1:${address.port}.*in use`));
  await lab.unmount(await lab.mountBrick("mortar", brick));
});

describe("on a full disk", () => {
  it("writes fail with ENOSPC, what was there is whole, and after a removal it goes on", async () => {
    const disk = lab.makeDirectory("disk");
    const image = lab.path("disk.img");
    await lab.processes.run("truncate", ["-s", "48M", image]);
    await lab.processes.run("mkfs.ext4", ["-q", "-m", "0", image]);
    await lab.processes.run("mount", ["-o", "loop", image, disk]);
    const brick = join(disk, "brick");
    mkdirSync(brick);
    const { mountpoint } = await lab.mount("mortar", lab.writeFile("embedded.vol", embeddedVolfile(brick)));
    const agent = lab.agent();
    await agent.writeFile(join(mountpoint, "kept"), pattern(MIB));
    const fd = await agent.open(join(mountpoint, "filler"), "O_RDWR|O_CREAT");
    const block = pattern(MIB);
    let offset = 0;
    let end = "ok";
    while (end === "ok" && offset < 64 * MIB) {
      end = await codeOf(agent.write(fd, block, offset));
      offset += MIB;
    }
    expect(end).toBe("ENOSPC");
    expect(await codeOf(agent.fallocate(fd, 0, 0, 128 * MIB))).toBe("ENOSPC");
    expect(await codeOf(agent.writeFile(join(mountpoint, "late"), block))).toBe("ENOSPC");
    expectSameBytes(await agent.readFile(join(mountpoint, "kept")), pattern(MIB));
    await agent.close(fd);
    await agent.unlink(join(mountpoint, "filler"));
    await agent.writeFile(join(mountpoint, "again"), block);
    expectSameBytes(await agent.readFile(join(mountpoint, "again")), block);
  });
});

describe("odd names and offsets", () => {
  let mounts: Record<"mortar" | "glusterfs", Mount>;
  const agent = lab.agent();

  beforeAll(async () => {
    const brick = await lab.startBrick("mortar", lab.makeBrickDirectory("brick"));
    mounts = {
      mortar: await lab.mountBrick("mortar", brick),
      glusterfs: await lab.mountBrick("glusterfs", brick),
    };
  });
  const at = (name: string): string => join(mounts.mortar.mountpoint, name);

  it("names of 255 bytes are taken, of 256 refused with ENAMETOOLONG", async () => {
    await agent.writeFile(at("n".repeat(255)), "long");
    expect(await codeOf(agent.writeFile(at("n".repeat(256)), "too long"))).toBe("ENAMETOOLONG");
    expect(await codeOf(agent.mkdir(at("n".repeat(256))))).toBe("ENAMETOOLONG");
    expect(await codeOf(agent.rename(at("n".repeat(255)), at("m".repeat(256))))).toBe("ENAMETOOLONG");
    await agent.unlink(at("n".repeat(255)));
  });

  it("names that are not UTF-8 keep their bytes, on the brick and through GlusterFS", async () => {
    const name = Buffer.from([0xff, 0x66, 0xc3, 0x28, 0x80, 0x20, 0xf0]);
    const path = (mount: Mount): Buffer => Buffer.concat([Buffer.from(`${mount.mountpoint}/`), name]);
    await agent.close(await agent.open(path(mounts.mortar), "O_RDWR|O_CREAT|O_EXCL"));
    const made = await agent.stat(path(mounts.mortar));
    expect(await agent.stat(path(mounts.glusterfs))).toEqual(made);
    for (const mount of Object.values(mounts)) {
      const listed = await agent.listBytes(mount.mountpoint);
      expect(listed.filter((entry) => entry.equals(name))).toHaveLength(1);
    }
    await agent.unlink(path(mounts.glusterfs));
    expect(await codeOf(agent.stat(path(mounts.mortar)))).toBe("ENOENT");
  });

  it("the root's parent is its own business, and .glusterfs is nobody's", async () => {
    for (const mount of Object.values(mounts))
      expect(await codeOf(agent.stat(join(mount.mountpoint, ".glusterfs")))).toBe("EPERM");
    expect(await codeOf(agent.mkdir(at(".glusterfs")))).not.toBe("ok");
    expect(await codeOf(agent.rename(at("."), at("x")))).not.toBe("ok");
    expect(await agent.list(at("."))).not.toContain(".glusterfs");
  });

  it.each([2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 4096n, 2n ** 62n, 2n ** 63n - 4096n])(
    "offset %s fails as on any file system that ends before it, and nothing else does",
    async (offset) => {
      const fd = await agent.open(at("huge"), "O_RDWR|O_CREAT");
      await agent.write(fd, "small", 0);
      expect(await codeOf(agent.write(fd, "x", offset))).toMatch(/^(EFBIG|EOVERFLOW|EINVAL)$/);
      expect(await codeOf(agent.ftruncate(fd, offset))).toMatch(/^(EFBIG|EOVERFLOW|EINVAL)$/);
      expect(await codeOf(agent.fallocate(fd, 0, offset, 4096))).toMatch(/^(EFBIG|EOVERFLOW|EINVAL)$/);
      expect(await codeOf(agent.seek(fd, offset, "data"))).toMatch(/^(ENXIO|EOVERFLOW|EINVAL)$/);
      expect((await agent.fstat(fd)).size).toBe(5);
      expect((await agent.read(fd, 10, 0)).toString()).toBe("small");
      await agent.close(fd);
    },
  );

  it("locks beyond 2^53 exclude each other, also between the makes", async () => {
    const mine = await agent.open(at("locked"), "O_RDWR|O_CREAT");
    const theirs = await agent.open(join(mounts.glusterfs.mountpoint, "locked"), "O_RDWR");
    const range = { kind: "ofd", start: 2n ** 60n, length: 10 } as const;
    expect(await agent.lock({ fd: mine, type: "write", ...range })).toBe(true);
    expect(await agent.lock({ fd: theirs, type: "write", ...range })).toBe(false);
    expect(await agent.lock({ fd: theirs, type: "write", ...range, start: 2n ** 60n + 10n })).toBe(true);
    await agent.close(mine);
    await agent.close(theirs);
  });
});
