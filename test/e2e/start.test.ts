/**
 * `npm start` as a person runs it: what it prints, that it serves, that Ctrl-C ends it well, that the data is
 * found again.
 */

import { chmodSync, existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { mountAt } from "../support/mounts.ts";
import { inOwnMounts } from "../support/namespace.ts";
import { INSTALLED_MORTAR, Lab, ROOT } from "../support/peers.ts";
import type { Running } from "../support/processes.ts";
import { until } from "../support/wait.ts";

const lab = new Lab("start");
const agent = lab.agent();
afterAll(() => lab.close());

async function npmStart(data: string, mountpoint: string): Promise<Running> {
  const running = lab.processes.start("npm", ["start", "--", "--data", data, "--mount", mountpoint], {
    cwd: ROOT,
    env: { MORTAR_NO_APT: "1" },
  });
  await until(
    "npm start mounts",
    () => {
      if (running.exit !== undefined) throw new Error(running.output);
      return running.stdout.includes("Try:") && mountAt(mountpoint) !== undefined;
    },
    { deadlineMs: 60_000, detail: () => running.output },
  );
  return running;
}

/** Ctrl-C reaches the whole group of a terminal. */
async function interrupt(running: Running): Promise<number | null> {
  process.kill(-running.pid, "SIGINT");
  return (await running.exited).code;
}

describe("npm start", () => {
  const data = lab.path("data");
  const mountpoint = lab.path("mnt");

  it("prints the mount point, the graph and commands to try, serves, and ends with 0 on Ctrl-C", async () => {
    const running = await npmStart(data, mountpoint);
    for (const promise of [
      mountpoint,
      "instances",
      "storage/posix",
      "features/locks",
      `qemu-img create -f qcow2 ${mountpoint}/`,
      "qemu-system-x86_64",
      "Ctrl-C",
    ])
      expect(running.stdout).toContain(promise);
    // The command it tells people to try.
    const command = running.stdout.split("\n").find((line) => line.includes("qemu-img create"))!;
    await lab.processes.run("sh", ["-c", command]);
    await agent.writeFile(join(mountpoint, "kept"), "data of the first start");
    expect(await interrupt(running)).toBe(0);
    expect(mountAt(mountpoint)).toBeUndefined();
    expect(readdirSync(mountpoint)).toEqual([]);
  });

  it("finds the same data when it is started again, and ends well when nobody reads what it says", async () => {
    const running = await npmStart(data, mountpoint);
    expect((await agent.readFile(join(mountpoint, "kept"))).toString()).toBe("data of the first start");
    expect(await agent.list(mountpoint)).toEqual(["kept", "vm1.qcow2"]);
    // As `npm start | tee log` on a terminal, where Ctrl-C ends the reader first.
    for (const pipe of [running.child.stdout!, running.child.stderr!]) pipe.destroy();
    expect(await interrupt(running)).toBe(0);
    expect(mountAt(mountpoint)).toBeUndefined();
  });

  it("is refused while another one uses the data, and leaves that one alone", async () => {
    const running = await npmStart(data, mountpoint);
    const second = await lab.processes.tryRun(
      "npm",
      ["start", "--", "--data", data, "--mount", lab.path("elsewhere")],
      { cwd: ROOT, env: { MORTAR_NO_APT: "1" } },
    );
    expect(second.code).toBe(1);
    expect(second.stderr).toContain(`brick "${data}/brick-0": is served by process `);
    expect((await agent.readFile(join(mountpoint, "kept"))).toString()).toBe("data of the first start");
    expect(await interrupt(running)).toBe(0);
  });

  it("refuses an unknown profile before it makes a volume", async () => {
    const fresh = lab.path("fresh");
    const args = ["start", "--", "--data", fresh, "--mount", lab.path("nowhere"), "--profile", "vrit"];
    const refused = await lab.processes.tryRun("npm", args, { cwd: ROOT, env: { MORTAR_NO_APT: "1" } });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('mortar: profile "vrit": unknown; did you mean "virt"?');
    expect(existsSync(fresh)).toBe(false);
  });

  it("ends when somebody else unmounts", async () => {
    const running = await npmStart(data, mountpoint);
    await lab.processes.run("umount", [mountpoint]);
    expect((await running.exited).code).toBe(0);
    expect(existsSync(join(mountpoint, "kept"))).toBe(false);
  });
});

describe("without root", () => {
  const NOBODY = 65534;
  const user = `setpriv --reuid=${NOBODY} --regid=${NOBODY} --clear-groups`;
  // The capability lets the user read this checkout wherever it lies; it opens no trusted.* xattrs.
  const reader = `${user} --inh-caps=+dac_read_search --ambient-caps=+dac_read_search`;
  const data = lab.makeDirectory("nobody-data");
  const mountpoint = lab.makeDirectory("nobody-mnt");

  /** In a mount namespace of its own, so that /dev/fuse can be open to all as it is elsewhere. */
  async function startAsNobody(): Promise<{
    running: Running;
    inside: (command: string) => Promise<string>;
  }> {
    const device = lab.path("fuse-device");
    await lab.processes.run("mknod", ["-m", "666", device, "c", "10", "229"]);
    await lab.processes.run("chown", [`${NOBODY}:${NOBODY}`, data, mountpoint]);
    chmodSync(dirname(data), 0o755);
    const running = lab.processes.start(
      "unshare",
      inOwnMounts(
        `mount --bind ${device} /dev/fuse && exec ${reader} ${INSTALLED_MORTAR} start` +
          ` --data ${data} --mount ${mountpoint}`,
      ),
    );
    await until(
      "mortar start mounts",
      () => {
        if (running.exit !== undefined) throw new Error(running.output);
        return running.stdout.includes("Try:");
      },
      { deadlineMs: 60_000, detail: () => running.output },
    );
    const inside = async (command: string): Promise<string> => {
      const enter = ["-t", String(running.pid), "-m", "sh", "-c", `exec ${user} sh -c '${command}'`];
      return lab.processes.run("nsenter", enter);
    };
    return { running, inside };
  }

  it("serves a volume of the user's own: links, fifos, xattrs, also after a second start", async () => {
    const first = await startAsNobody();
    const make = "echo hi >a && ln -s a s && ln s t && mkfifo p && mkdir d && mv t d/t && rm p";
    await first.inside(`cd ${mountpoint} && ${make} && setfattr -n user.k -v v a`);
    expect(await first.running.stop("SIGINT")).toMatchObject({ code: 0 });
    const second = await startAsNobody();
    const seen = "cat s && readlink d/t && stat -c %h s && getfattr --only-values -n user.k a";
    expect(await second.inside(`cd ${mountpoint} && ${seen}`)).toBe("hi\na\n2\nv");
    expect(await second.running.stop("SIGINT")).toMatchObject({ code: 0 });
    // The fifo's companion went with this start; the symlink's is there.
    expect(readdirSync(join(data, "brick-0/.glusterfs/companions"))).toHaveLength(1);
  });
});
