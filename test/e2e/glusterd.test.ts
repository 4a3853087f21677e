/**
 * Volumes of a GlusterFS server: Mortar asks its management daemon for the volfile and the port, mounts what
 * glusterd wrote, follows a brick that comes back elsewhere, and serves glusterd's own brick volfile.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { codeOf } from "../support/file-agent.ts";
import { GlusterVolume } from "../support/glusterd.ts";
import { mountAt } from "../support/mounts.ts";
import { inOwnMounts } from "../support/namespace.ts";
import { canConnect, Lab, LOOPBACK, MAKES, MORTAR } from "../support/peers.ts";
import { freePort } from "../support/ports.ts";
import { describeExit, type Running } from "../support/processes.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern, writeSampleTree } from "../support/sample-tree.ts";
import { clientVolfile } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";

const SOCKET = "/var/run/glusterd.socket";

const lab = new Lab("glusterd");
const agent = lab.agent();
let volume: GlusterVolume;

beforeAll(async () => {
  volume = await GlusterVolume.create(lab);
});
afterAll(async () => {
  await volume.remove();
  await lab.close();
});

describe("a volume of glusterd", () => {
  it("is mounted by host and name, and GlusterFS sees the same", async () => {
    const ours = await lab.mount("mortar", `${volume.host}:/${volume.name}`);
    expect(mountAt(ours.mountpoint)?.source).toBe(`${volume.host}:/${volume.name}`);
    await writeSampleTree(agent, ours.mountpoint);
    const theirs = lab.makeDirectory("theirs");
    await lab.processes.run("mount", ["-t", "glusterfs", `${volume.host}:/${volume.name}`, theirs]);
    expect(await agent.snapshot(theirs)).toEqual(await agent.snapshot(ours.mountpoint));
    await lab.processes.run("umount", [theirs]);
    await lab.unmount(ours);
  });

  it.each([
    ["by URL", () => `gluster://${volume.host}/${volume.name}`],
    ["by URL with port", () => `gluster+tcp://127.0.0.1:24007/${volume.name}`],
    ["by glusterd's unix socket", () => `gluster+unix:///${volume.name}?socket=${SOCKET}`],
    ["by a backup server when the first is away", () => `[::1]:/${volume.name}`],
  ])("is mounted %s", async (how, source) => {
    const options = how.includes("backup") ? [`backup-volfile-servers=${volume.host}`] : [];
    const mount = await lab.mount("mortar", source(), { options });
    expect(await agent.list(mount.mountpoint)).toContain("text");
    await lab.unmount(mount);
  });

  it("is mounted from one of its directories", async () => {
    const mount = await lab.mount("mortar", `${volume.host}:/${volume.name}/directory`);
    expect(await agent.list(mount.mountpoint)).toContain("hard link");
    expect((await agent.readFile(join(mount.mountpoint, "hard link"))).toString()).toContain("another");
    await lab.unmount(mount);
  });

  it("is refused with one line when it does not exist", async () => {
    const exit = await lab.processes.tryRun(MORTAR, [
      ...["mount", `${volume.host}:/no-such-volume`, lab.makeDirectory("mnt"), "--log-file", lab.path("log")],
    ]);
    expect(exit, describeExit(exit)).toMatchObject({ code: 1, stdout: "" });
    expect(exit.stderr).toMatch(/^mortar: .*"?no-such-volume"?.*\n$/);
  });

  it("goes on with open files when its brick stops and starts again", async () => {
    const mount = await lab.mount("mortar", `${volume.host}:/${volume.name}`);
    const fd = await agent.open(join(mount.mountpoint, "through"), "O_RDWR|O_CREAT|O_DIRECT");
    await agent.write(fd, pattern(4096), 0);
    await volume.gluster("volume", "stop", volume.name, "force");
    // glusterd's write-behind answers early; an fsync cannot.
    await agent.write(fd, pattern(4096), 4096);
    expect(await codeOf(agent.fdatasync(fd))).toBe("ENOTCONN");
    await volume.gluster("volume", "start", volume.name);
    await until("the mount serves again", async () => (await codeOf(agent.fdatasync(fd))) === "ok", {
      deadlineMs: 20_000,
    });
    expectSameBytes(await agent.read(fd, 8192, 0), Buffer.concat([pattern(4096), pattern(4096)]));
    await agent.close(fd);
    await lab.unmount(mount);
  });

  it("works from glusterd's volfiles alone, with Mortar in both places", async () => {
    await volume.gluster("volume", "stop", volume.name, "force");
    const { brick, port } = await startBrickOf(volume);
    const client = withPort(readFileSync(volume.clientVolfile, "utf8"), port);
    const mount = await lab.mount("mortar", lab.writeFile("client.vol", client));
    expect(await agent.list(mount.mountpoint)).toContain("text");
    await agent.writeFile(join(mount.mountpoint, "by Mortar"), "bytes");
    await lab.unmount(mount);
    expect((await brick.stop("SIGTERM")).code, brick.output).toBe(0);
    await volume.gluster("volume", "start", volume.name);
  });
});

/** Serves glusterd's brick volfile with Mortar. */
async function startBrickOf(volume: GlusterVolume): Promise<{ brick: Running; port: number }> {
  const port = await freePort();
  const brick = lab.processes.start(MORTAR, ["brick", volume.brickVolfile, "--listen", `127.0.0.1:${port}`]);
  await until(
    "the brick listens",
    () => {
      if (brick.exit !== undefined) throw new Error(brick.output);
      return canConnect({ host: LOOPBACK, port });
    },
    { deadlineMs: 30_000, detail: () => brick.output },
  );
  return { brick, port };
}

/** A client volfile that asks no port map. */
function withPort(volfile: string, port: number): string {
  return volfile.replace(
    /option remote-host .*/,
    `option remote-host 127.0.0.1\n    option remote-port ${port}`,
  );
}

// Each end of libgfapi takes GlusterFS ten seconds: one process does all, and what can waits together.
describe.each(MAKES)("libgfapi of GlusterFS on a %s brick", (make) => {
  beforeAll(async () => {
    if (make === "glusterfs") return;
    // glusterd hands out the file as it is on disk, so a port in it leads its clients to our brick.
    process.kill(volume.brickPid(), "SIGKILL");
    const { port } = await startBrickOf(volume);
    writeFileSync(volume.clientVolfile, withPort(readFileSync(volume.clientVolfile, "utf8"), port));
  });

  it.concurrent("serves QEMU by gluster://, and the mount sees the same bytes", async () => {
    const mount = await lab.mount("mortar", `${volume.host}:/${volume.name}`);
    const name = `${make}.raw`;
    const image = join(mount.mountpoint, name);
    await lab.processes.run("qemu-img", ["create", "-q", "-f", "raw", image, "16M"]);
    const written = ["write -P 1 0 4M", "write -z 1M 64k", "discard 2M 1M", "flush"];
    const seen = ["read -P 0 1M 64k", "read -P 0 2M 1M", "read -P 1 3M 1M", "read -P 1 0 1M"];
    const commands = [...written, ...seen].flatMap((command) => ["-c", command]);
    const url = `gluster://${volume.host}/${volume.name}/${name}`;
    for (const [place, args] of [
      [url, commands],
      [image, seen.flatMap((command) => ["-c", command])],
    ] as const) {
      const output = await lab.processes.run("qemu-io", ["-f", "raw", "-d", "unmap", ...args, place]);
      expect(output).not.toMatch(/failed/i);
    }
    await lab.unmount(mount);
  });

  if (make === "glusterfs") return;
  it.concurrent("serves fio, which finds what it wrote", async () => {
    await lab.processes.run("fio", [
      ...[
        `--name=${make}`,
        "--ioengine=gfapi",
        `--volume=${volume.name}`,
        `--brick=${volume.host}`,
        "--size=8m",
      ],
      ...[
        "--bs=4k",
        "--rw=randrw",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--randseed=5",
        "--thread",
      ],
    ]);
  });
});

it("mount -t mortar and umount work through the helper, with options as in fstab", async () => {
  const brick = await lab.startBrick("mortar", lab.makeBrickDirectory("helped"));
  const volfile = lab.writeFile("client.vol", clientVolfile(brick));
  const mountpoint = lab.makeDirectory("mnt");
  // The helper goes over /sbin in a namespace of its own: the machine's stays as it is.
  const overlay = `lowerdir=/usr/sbin,upperdir=${mountpoint}/upper,workdir=${mountpoint}/work`;
  const options = `rw,noatime,_netdev,attribute-timeout=0,log-file=${lab.path("log")}`;
  const fstab = lab.writeFile("fstab", `${volfile} ${mountpoint} mortar ${options},profile=virt-2013 0 0\n`);
  const script = `
    mount -t tmpfs none ${mountpoint}
    mkdir ${mountpoint}/upper ${mountpoint}/work
    mount -t overlay none -o ${overlay} /usr/sbin
    umount -l ${mountpoint}
    ${MORTAR} install-helper
    mount -t mortar ${volfile} ${mountpoint} -o ${options}
    echo content > ${mountpoint}/file
    findmnt -n -o FSTYPE,OPTIONS ${mountpoint}
    ${MORTAR} get ${mountpoint} network.remote-dio
    umount ${mountpoint}
    ls ${mountpoint}
    mount --fstab ${fstab} ${mountpoint}
    ${MORTAR} get ${mountpoint} network.remote-dio
    umount ${mountpoint}
    mount -t mortar ${volfile} ${mountpoint} -o profile=vrit 2>&1 || echo refused`;
  const output = await lab.processes.run("unshare", inOwnMounts(script));
  expect(output).toMatch(/fuse\.mortar .*noatime/);
  expect(output).not.toContain("file\n");
  expect(output.match(/network\.remote-dio.*/g)).toEqual([
    expect.stringMatching(/(off|disable)/),
    expect.stringMatching(/(on|enable)/),
  ]);
  expect(output).toMatch(/profile "vrit": unknown; did you mean "virt"\?\s+refused/);
});
