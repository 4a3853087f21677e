/**
 * The dev-fuse edge on real mounts: what only the kernel, other users and other processes can show. What
 * every edge must do is in the other files here.
 */

import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Figures } from "../../src/control/figures.ts";
import { codeOf, type FileAgent } from "../support/file-agent.ts";
import { mountAt, unmountBelow } from "../support/mounts.ts";
import { inOwnMounts } from "../support/namespace.ts";
import { Lab, MORTAR, type Mount } from "../support/peers.ts";
import { describeExit, type Exit } from "../support/processes.ts";
import { embeddedVolfile, section } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";

const NOBODY = 65534;
const MANY = 10_000;

const lab = new Lab("dev-fuse");
beforeAll(() => chmodSync(lab.directory, 0o755));
afterAll(() => lab.close());

/** A brick in memory: what is tested is the edge, and user `nobody` may have one. */
function memoryVolfile(): string {
  return lab.writeFile("memory.vol", section("memory", "storage/memory", []));
}

async function embedded(...options: string[]): Promise<Mount & { brick: string }> {
  const brick = lab.makeDirectory("brick");
  const volfile = lab.writeFile("embedded.vol", embeddedVolfile(brick));
  return { ...(await lab.mount("mortar", volfile, { options })), brick };
}

/** The command line of a process; empty when it has ended. */
function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

/** Runs a shell command as an ordinary user in some groups. */
function asUser(uid: number, groups: readonly number[], command: string): Promise<Exit> {
  const list = groups.length > 0 ? [`--groups=${groups.join(",")}`] : ["--clear-groups"];
  return lab.processes.tryRun("setpriv", [`--reuid=${uid}`, `--regid=${uid}`, ...list, "sh", "-c", command]);
}

describe("other users", () => {
  let mount: Mount;
  let agent: FileAgent;
  beforeAll(async () => {
    mount = await embedded();
    agent = lab.agent();
    await agent.chmod(mount.mountpoint, "0777");
  });

  it("own what they make, and modes keep them out of the rest", async () => {
    const path = join(mount.mountpoint, "root-only");
    await agent.writeFile(path, "secret");
    await agent.chmod(path, "0600");
    expect(await asUser(NOBODY, [], `cat ${path}`)).toMatchObject({ code: 1 });
    const mine = join(mount.mountpoint, "mine");
    const made = await asUser(NOBODY, [], `umask 027; echo x > ${mine}; mkdir ${mine}-d; cat ${mine}`);
    expect(made, describeExit(made)).toMatchObject({ code: 0, stdout: "x\n" });
    expect(await agent.stat(mine)).toMatchObject({ uid: NOBODY, gid: NOBODY, mode: "0640" });
    expect(await agent.stat(`${mine}-d`)).toMatchObject({ uid: NOBODY, mode: "0750" });
  });

  it("may do what their auxiliary groups may", async () => {
    const path = join(mount.mountpoint, "for-group");
    await agent.writeFile(path, "shared");
    await agent.chown(path, 0, 4242);
    await agent.chmod(path, "0640");
    expect(await asUser(NOBODY, [77], `cat ${path}`)).toMatchObject({ code: 1 });
    expect(await asUser(NOBODY, [77, 4242], `cat ${path}`)).toMatchObject({ code: 0, stdout: "shared" });
  });

  it("take set-id bits from programs they write to or truncate, and root does not", async () => {
    const path = join(mount.mountpoint, "program");
    const modeAfter = async (change: () => Promise<unknown>) => {
      await agent.writeFile(path, "0123456789");
      await agent.chmod(path, "6777");
      await change();
      return (await agent.stat(path)).mode;
    };
    expect(await modeAfter(() => asUser(NOBODY, [], `printf x >> ${path}`))).toBe("0777");
    expect(await modeAfter(() => asUser(NOBODY, [], `truncate -s 3 ${path}`))).toBe("0777");
    expect(await modeAfter(() => agent.appendFile(path, "y"))).toBe("6777");
    expect(await modeAfter(() => agent.chown(path, 5, 6))).toBe("0777");
  });
});

describe("attributes", () => {
  it("carry nanoseconds, years before 1970 and after 2038, 64-bit inode numbers, birth times", async () => {
    const { mountpoint, brick } = await embedded();
    const agent = lab.agent();
    const path = join(mountpoint, "f");
    await agent.writeFile(path, "x");
    const [atime, mtime] = ["1", "4102444800123456789"];
    await agent.utimes(path, atime, mtime);
    expect(await agent.stat(path)).toMatchObject({ atime, mtime });
    await lab.processes.run("touch", ["-m", "-d", "1969-12-31 23:59:58.999999999 UTC", path]);
    expect(await agent.stat(path)).toMatchObject({ atime, mtime: "-1000000001" });
    // Node tells inode numbers with a sign.
    expect(BigInt.asUintN(64, BigInt((await agent.stat(path)).ino))).toBeGreaterThan(2n ** 32n);
    expect((await agent.stat(mountpoint)).ino).toBe("1");
    const birth = (of: string) => lab.processes.run("stat", ["-c", "%w", of]);
    expect(await birth(path)).toBe(await birth(join(brick, "f")));
  });
});

describe("a small write", () => {
  const WRITES = 256;
  /** Opening, closing, and what the kernel asks when a second has passed: none of it once a write. */
  const OTHERS_MAX = 16;

  /** Calls of a fop that the kernel's requests made, and all the others. */
  async function requests(mountpoint: string): Promise<{ writes: number; others: number }> {
    const text = await lab.processes.run(MORTAR, ["stats", mountpoint, "--json"]);
    const { writev, ...rest } = (JSON.parse(text) as Figures).edge;
    const others = Object.values(rest).reduce((sum, { calls }) => sum + calls, 0);
    return { writes: writev?.calls ?? 0, others };
  }

  it.each(["oflag=direct", "oflag=append", "conv=notrunc"])("is one request, with dd %s", async (how) => {
    const { mountpoint } = await embedded("passthrough=read");
    const path = join(mountpoint, "image");
    const dd = ["if=/dev/zero", `of=${path}`, "bs=4k", `count=${WRITES}`, how];
    await lab.processes.run("dd", dd);
    const before = await requests(mountpoint);
    await lab.processes.run("dd", dd);
    const after = await requests(mountpoint);
    expect(after.writes - before.writes).toBe(WRITES);
    expect(after.others - before.others).toBeLessThan(OTHERS_MAX);
  });
});

describe("directories", () => {
  it(`of ${MANY} names are listed whole while names come and go`, async () => {
    const options = ["attribute-timeout=1", "entry-timeout=1"];
    const { mountpoint } = await lab.mount("mortar", memoryVolfile(), { options });
    const names = Array.from({ length: MANY }, (_, index) => `name-${index}`);
    const made = await lab.processes.tryRun("sh", [
      "-c",
      `cd ${mountpoint} && seq 0 ${MANY - 1} | sed s/^/name-/ | xargs touch`,
    ]);
    expect(made, describeExit(made)).toMatchObject({ code: 0 });
    const churn = lab.processes.start("sh", [
      "-c",
      `trap 'over=1' TERM; cd ${mountpoint} && i=0; while [ -z "$over" ]; do
         : > churn-$i; mv churn-$i churn-x; rm churn-x; i=$((i+1)); done`,
    ]);
    const agent = lab.agent();
    for (let round = 0; round < 3; round++) {
      const listed = await agent.list(mountpoint);
      const stable = listed.filter((name) => name.startsWith("name-"));
      expect(stable).toHaveLength(MANY);
      expect(new Set(stable)).toEqual(new Set(names));
    }
    await churn.stop("SIGTERM");
    // What was removed stays away, though listings brought attributes: none of it came back to life in the
    // cache.
    const gone = await lab.processes.tryRun("sh", [
      "-c",
      `cd ${mountpoint} && rm -f churn-* && ls -l | grep -c churn`,
    ]);
    expect(gone.stdout.trim()).toBe("0");
    const removed = await lab.processes.tryRun("rm", ["-rf", join(mountpoint, "name-1"), mountpoint]);
    expect(removed.stderr).toMatch(/busy/);
    expect(await agent.list(mountpoint)).toEqual([]);
  });
});

describe("options", () => {
  it("ro refuses every change", async () => {
    const { mountpoint } = await embedded("ro");
    const agent = lab.agent();
    expect(await codeOf(agent.writeFile(join(mountpoint, "f"), "x"))).toBe("EROFS");
    expect(await codeOf(agent.mkdir(join(mountpoint, "d")))).toBe("EROFS");
  });

  it("subdir-mount shows a directory of the volume as the root, and nothing above it", async () => {
    const brick = lab.makeDirectory("brick");
    const volfile = lab.writeFile("embedded.vol", embeddedVolfile(brick));
    const whole = await lab.mount("mortar", volfile);
    const agent = lab.agent();
    await agent.mkdir(join(whole.mountpoint, "a"));
    await agent.mkdir(join(whole.mountpoint, "a/b"));
    await agent.writeFile(join(whole.mountpoint, "a/b/f"), "deep");
    await lab.unmount(whole);
    const part = await lab.mount("mortar", volfile, { options: ["subdir-mount=/a/b"] });
    expect(await agent.list(part.mountpoint)).toEqual(["f"]);
    expect((await agent.readFile(join(part.mountpoint, "f"))).toString()).toBe("deep");
    expect((await agent.stat(part.mountpoint)).ino).toBe("1");
    await lab.unmount(part);
    for (const [subdir, why] of [
      ["/a/nothing", /"\/a\/nothing": ENOENT/],
      ["/a/b/f", /"\/a\/b\/f": ENOTDIR/],
    ] as const) {
      const refused = await lab.processes.tryRun(MORTAR, [
        ...["mount", volfile, lab.makeDirectory("mnt"), "--foreground"],
        ...["-o", `subdir-mount=${subdir}`],
      ]);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toMatch(why);
    }
  });

  it("nonempty hides what is in the mount point, and gives it back", async () => {
    const mountpoint = lab.makeDirectory("full");
    writeFileSync(join(mountpoint, "below"), "x");
    const volfile = lab.writeFile("embedded.vol", embeddedVolfile(lab.makeDirectory("brick")));
    const mount = await lab.mount("mortar", volfile, { mountpoint, options: ["nonempty"] });
    const agent = lab.agent();
    expect(await agent.list(mountpoint)).toEqual([]);
    await lab.unmount(mount);
    expect(await agent.list(mountpoint)).toEqual(["below"]);
  });
});

describe("two mounts of one volume", () => {
  it("see each other's changes when the kernel's trust runs out, cached pages included", async () => {
    const brick = await lab.startBrick("mortar", lab.makeBrickDirectory("brick"));
    const options = { options: ["attribute-timeout=0.2", "entry-timeout=0.2"] };
    const [one, two] = [
      await lab.mountBrick("mortar", brick, [], options),
      await lab.mountBrick("mortar", brick, [], options),
    ];
    const agent = lab.agent();
    await agent.writeFile(join(one.mountpoint, "f"), "first");
    const read = async () => (await agent.readFile(join(two.mountpoint, "f"))).toString();
    await until("the second mount sees the file", async () => (await read()) === "first");
    await agent.writeFile(join(one.mountpoint, "f"), "other");
    await until("the second mount sees its new bytes", async () => (await read()) === "other");
    await agent.unlink(join(one.mountpoint, "f"));
    await until("the second mount sees it gone", async () => (await codeOf(read())) === "ENOENT");
  });
});

describe("the guard", () => {
  /** Pids of guards that watch over a mount point. */
  async function guards(mountpoint: string): Promise<string[]> {
    const found = await lab.processes.tryRun("pgrep", ["-f", `guard\\.sh .* ${mountpoint} `]);
    return found.stdout.split("\n").filter((line) => line !== "");
  }

  it("ends with a mount that ends well", async () => {
    const mount = await embedded();
    expect(await guards(mount.mountpoint)).toHaveLength(1);
    await lab.unmount(mount);
    await until("the guard ends", async () => (await guards(mount.mountpoint)).length === 0);
  });

  it("takes a dead mount away, and leaves alone what somebody else mounted over it", async () => {
    const mount = await embedded();
    await lab.processes.run("mount", ["-t", "tmpfs", "over", mount.mountpoint]);
    await mount.process.kill();
    await until("the guard ends", async () => (await guards(mount.mountpoint)).length === 0);
    expect(mountAt(mount.mountpoint)).toMatchObject({ type: "tmpfs" });
    await lab.processes.run("umount", [mount.mountpoint]);
    expect(mountAt(mount.mountpoint)?.type).toBe("fuse.mortar");
    unmountBelow(mount.mountpoint);
  });
});

describe("without root", () => {
  const DEVICE_MODE = 0o666;

  /**
   * A mount namespace of its own, so that /dev/fuse can be open to all as it is on a desktop. The capability
   * lets the user read this checkout wherever it lies; it means nothing to mount(2). With `acl` the kernel
   * leaves permissions to the brick, and one in memory lets everybody write to its root.
   */
  async function mountAsNobody(): Promise<{
    mountpoint: string;
    inside: (command: string) => Promise<Exit>;
    mount: ReturnType<typeof lab.processes.start>;
  }> {
    const device = lab.path("fuse");
    await lab.processes.run("mknod", ["-m", DEVICE_MODE.toString(8), device, "c", "10", "229"]);
    const mountpoint = lab.makeDirectory("mnt");
    await lab.processes.run("chown", [`${NOBODY}:${NOBODY}`, mountpoint]);
    const volfile = memoryVolfile();
    const user = `setpriv --reuid=${NOBODY} --regid=${NOBODY} --clear-groups`;
    const reader = `${user} --inh-caps=+dac_read_search --ambient-caps=+dac_read_search`;
    const mount = lab.processes.start(
      "unshare",
      inOwnMounts(
        `mount --bind ${device} /dev/fuse && exec ${reader} ${MORTAR} mount ${volfile} ${mountpoint}` +
          " --foreground -o acl",
      ),
    );
    const inside = (command: string): Promise<Exit> =>
      lab.processes.tryRun("nsenter", [
        "-t",
        String(mount.pid),
        "-m",
        "sh",
        "-c",
        `exec ${user} sh -c '${command}'`,
      ]);
    await until(
      "fusermount3 mounts",
      () => {
        if (mount.exit !== undefined) throw new Error(mount.output);
        return readFileSync(`/proc/${mount.pid}/mountinfo`, "utf8").includes(` ${mountpoint} `);
      },
      { deadlineMs: 30_000, detail: () => mount.output },
    );
    return { mountpoint, inside, mount };
  }

  it("mounts through fusermount3, works, and unmounts on SIGTERM", async () => {
    const { mountpoint, inside, mount } = await mountAsNobody();
    const worked = await inside(
      `cd ${mountpoint} && echo hello > f && mv f g && cat g && stat -c %u g && cd /`,
    );
    expect(worked, describeExit(worked)).toMatchObject({ code: 0, stdout: `hello\n${NOBODY}\n` });
    const exit = await mount.stop();
    expect(exit, describeExit(exit)).toMatchObject({ code: 0 });
  });

  it("leaves no dead mount behind kill -9", async () => {
    const { mountpoint, mount } = await mountAsNobody();
    const holder = lab.processes.start("nsenter", ["-t", String(mount.pid), "-m", "sleep", "1000"]);
    await until("somebody else is in the namespace", () => {
      const path = `/proc/${holder.pid}/mountinfo`;
      return readFileSync(path, "utf8").includes(` ${mountpoint} `);
    });
    await until("the guard watches", () => {
      const children = readFileSync(`/proc/${mount.pid}/task/${mount.pid}/children`, "utf8").split(" ");
      return children.some((pid) => pid !== "" && commandOf(pid).includes("guard.sh"));
    });
    await mount.kill();
    await until(
      "the mount is gone",
      () => !readFileSync(`/proc/${holder.pid}/mountinfo`, "utf8").includes(` ${mountpoint} `),
    );
    await holder.kill();
  });

  it("says in one line what fusermount3 refuses", async () => {
    const mountpoint = lab.makeDirectory("not-mine");
    const device = lab.path("fuse");
    await lab.processes.run("mknod", ["-m", "600", device, "c", "10", "229"]);
    const volfile = memoryVolfile();
    const reader = "--inh-caps=+dac_read_search --ambient-caps=+dac_read_search";
    const refused = await lab.processes.tryRun("setpriv", [
      ...[`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", ...reader.split(" ")],
      ...[MORTAR, "mount", volfile, mountpoint, "--foreground"],
    ]);
    expect(refused.code).toBe(1);
    expect(refused.stderr.trim().split("\n").at(-1)).toMatch(
      /^mortar: mount: mount point ".*": .*(permission|access)/i,
    );
  });
});
