/**
 * kill -9 of a mount's process or of its brick under load: what was fsynced is there afterwards, no dead
 * mount point stays behind, and the volume can be mounted again in the same place. Files that the kernel
 * serves itself can be written meanwhile, and opened again when nobody can.
 */

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { codeOf, type FileAgent } from "../support/file-agent.ts";
import { mountAt } from "../support/mounts.ts";
import { type Brick, Lab, MAKES, type Make, MORTAR, type Mount } from "../support/peers.ts";
import { describeExit } from "../support/processes.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { embeddedVolfile } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";

const RECORD = 4096;
/** Records that must be acknowledged before the kill; the writers are in the middle of more. */
const RECORDS_BEFORE_KILL = 40;
const WRITERS = [
  { file: "direct", flags: "O_RDWR|O_CREAT|O_DIRECT", syncs: true },
  { file: "buffered", flags: "O_RDWR|O_CREAT", syncs: true },
  { file: "synchronous", flags: "O_RDWR|O_CREAT|O_DSYNC", syncs: false },
] as const;
const GONE_DEADLINE_MS = 10_000;

const lab = new Lab("crash");
afterAll(() => lab.close());

/** One mounted volume, which can be mounted again in its place after its process died. */
class Volume {
  mount: Mount;
  readonly brick: Brick | undefined;
  readonly #mountAt: (mountpoint?: string) => Promise<Mount>;

  private constructor(mount: Mount, mountAt: (mountpoint?: string) => Promise<Mount>, brick?: Brick) {
    this.mount = mount;
    this.#mountAt = mountAt;
    this.brick = brick;
  }

  static async embedded(): Promise<Volume> {
    const volfile = lab.writeFile("embedded.vol", embeddedVolfile(lab.makeDirectory("brick")));
    const mountAt = (mountpoint?: string) => lab.mount("mortar", volfile, mountpoint ? { mountpoint } : {});
    return new Volume(await mountAt(), mountAt);
  }

  static async overTcp(make: Make): Promise<Volume> {
    const brick = await lab.startBrick(make, lab.makeBrickDirectory("brick"));
    const mountAt = (mountpoint?: string) =>
      lab.mountBrick("mortar", brick, [], mountpoint ? { mountpoint } : {});
    return new Volume(await mountAt(), mountAt, brick);
  }

  async remount(): Promise<void> {
    this.mount = await this.#mountAt(this.mount.mountpoint);
  }
}

/**
 * A writer that adds a record and syncs it, again and again, until a call fails; it knows what it was
 * promised.
 */
class Ledger {
  readonly agent: FileAgent = lab.agent();
  readonly path: string;
  readonly flags: string;
  readonly #syncs: boolean;
  /** Records that an fsync (or a synchronous write) has acknowledged. */
  acknowledged = 0;

  constructor(mount: Mount, { file, flags, syncs }: (typeof WRITERS)[number]) {
    this.path = join(mount.mountpoint, file);
    this.flags = flags;
    this.#syncs = syncs;
  }

  /** Resolves with the errno that ended it. */
  async run(): Promise<string> {
    const fd = await this.agent.open(this.path, this.flags);
    try {
      for (;;) {
        await this.agent.write(fd, record(this.acknowledged), this.acknowledged * RECORD);
        if (this.#syncs) await this.agent.fdatasync(fd);
        this.acknowledged++;
      }
    } catch (error) {
      return String((error as NodeJS.ErrnoException).code);
    } finally {
      await this.agent.process.kill();
    }
  }

  /** Reads everything back with eyes of another process. */
  async check(): Promise<void> {
    const reader = lab.agent();
    const fd = await reader.open(this.path, "O_RDONLY");
    for (let index = 0; index < this.acknowledged; index++)
      expectSameBytes(await reader.read(fd, RECORD, index * RECORD), record(index), `record ${index}`);
    await reader.process.kill();
  }
}

function record(index: number): Buffer {
  return Buffer.alloc(RECORD, `record ${index} `);
}

/** Starts the writers, waits until all are well under way, then kills. */
async function killUnderWriters(volume: Volume, kill: () => Promise<unknown>): Promise<Ledger[]> {
  const ledgers = WRITERS.map((writer) => new Ledger(volume.mount, writer));
  const runs = ledgers.map((ledger) => ledger.run());
  await until(
    "the writers are under way",
    () => ledgers.every((one) => one.acknowledged >= RECORDS_BEFORE_KILL),
    {
      deadlineMs: 30_000,
    },
  );
  await kill();
  for (const [index, { syncs }] of WRITERS.entries()) {
    // The kernel goes on with the files of an embedded brick; who asks nobody to sync does not notice.
    const goesOn = volume.brick === undefined && !syncs;
    if (goesOn) await goesOnAndIsKilled(ledgers[index]!);
    const end = goesOn ? /^KILLED$/ : /^(ENOTCONN|ECONNABORTED|EIO|ENODEV)$/;
    expect(await runs[index]).toMatch(end);
  }
  return ledgers;
}

async function goesOnAndIsKilled(ledger: Ledger): Promise<void> {
  const before = ledger.acknowledged;
  await until("the writer goes on", () => ledger.acknowledged > before + 1);
  await ledger.agent.process.kill();
}

async function expectNoMount(mountpoint: string): Promise<void> {
  await until("the mount point is an empty directory again", () => mountAt(mountpoint) === undefined, {
    deadlineMs: GONE_DEADLINE_MS,
  });
  expect(statSync(mountpoint).isDirectory()).toBe(true);
  expect(readdirSync(mountpoint)).toEqual([]);
}

describe.each([
  ["an embedded volume", () => Volume.embedded()],
  ["a volume over TCP", () => Volume.overTcp("mortar")],
  ["a volume on a GlusterFS brick", () => Volume.overTcp("glusterfs")],
] as const)("kill -9 of the mount of %s", (_, open) => {
  it("keeps every record that was fsynced, leaves no dead mount point, and mounts again", async () => {
    const volume = await open();
    const ledgers = await killUnderWriters(volume, () => volume.mount.process.kill());
    await expectNoMount(volume.mount.mountpoint);
    await volume.remount();
    for (const ledger of ledgers) await ledger.check();
  });

  it("leaves no dead mount point when nothing is open", async () => {
    const volume = await open();
    await volume.mount.process.kill();
    await expectNoMount(volume.mount.mountpoint);
  });

  it("loses nothing that fio was told is written", async () => {
    const volume = await open();
    const directory = lab.makeDirectory("fio-state");
    const job = [
      ...["--name=ledger", `--filename=${join(volume.mount.mountpoint, "fio")}`, "--size=128m", "--bs=4k"],
      ...[
        "--rw=randwrite",
        "--ioengine=libaio",
        "--iodepth=16",
        "--direct=1",
        "--fsync=64",
        "--randseed=11",
        "--rate_iops=6000",
      ],
      ...["--verify=crc32c", "--fallocate=none", "--verify_fatal=1"],
    ];
    await lab.processes.run("fio", [...job, "--create_only=1"], { cwd: directory });
    // fio saves which writes were acknowledged, then pulls the plug itself.
    const killed = await lab.processes.tryRun(
      "fio",
      [...job, "--do_verify=0", "--trigger-timeout=2", `--trigger=kill -9 ${volume.mount.process.pid}`],
      { cwd: directory },
    );
    await volume.mount.process.exited;
    expect(readdirSync(directory), describeExit(killed)).toContain("local-ledger-0-verify.state");
    await expectNoMount(volume.mount.mountpoint);
    await volume.remount();
    // With more reads in flight fio looks past the last acknowledged write before it notices.
    const reread = [...job, "--iodepth=1", "--verify_state_load=1", "--verify_only"];
    const verified = await lab.processes.tryRun("fio", reread, { cwd: directory });
    expect(verified, describeExit(verified)).toMatchObject({ code: 0 });
    expect(Number(/issued rwts: total=(\d+)/.exec(verified.stdout)?.[1])).toBeGreaterThan(100);
  });
});

describe.each(MAKES)("kill -9 of a %s brick", (make) => {
  it("keeps every record that was fsynced, and the mount finds them when the brick is back", async () => {
    const volume = await Volume.overTcp(make);
    const brick = volume.brick!;
    const ledgers = await killUnderWriters(volume, () => brick.process.kill());
    await lab.restartBrick(brick);
    const probe = lab.agent();
    await until("the mount serves again", () =>
      probe.stat(volume.mount.mountpoint).then(
        () => true,
        () => false,
      ),
    );
    for (const ledger of ledgers) await ledger.check();
  });
});

it("SIGTERM of a mount unmounts, and open files of others do not hold it back", async () => {
  const volume = await Volume.embedded();
  const { mount } = volume;
  const agent = lab.agent();
  const fd = await agent.open(join(mount.mountpoint, "open"), "O_RDWR|O_CREAT");
  await agent.write(fd, record(1), 0);
  const exit = await mount.process.stop("SIGTERM");
  expect(exit.code, mount.process.output).toBe(0);
  await expectNoMount(mount.mountpoint);
  await volume.remount();
  // The kernel would still let the other write.
  const path = join(mount.mountpoint, "open");
  expect(await codeOf(agent.readFile(path))).toBe("EBUSY");
  expect(await codeOf(agent.close(fd))).toBe("ENOTCONN");
  expectSameBytes(await agent.readFile(path), record(1));
});

it("a mount in the background outlives the command and ends by `mortar umount`", async () => {
  const volfile = lab.writeFile("embedded.vol", embeddedVolfile(lab.makeDirectory("brick")));
  const mountpoint = lab.makeDirectory("background");
  const log = lab.path("background.log");
  expect(await lab.processes.run(MORTAR, ["mount", volfile, mountpoint, "--log-file", log])).toBe("");
  expect(mountAt(mountpoint)).toBeDefined();
  const agent = lab.agent();
  await agent.writeFile(join(mountpoint, "file"), "content");
  await lab.processes.run(MORTAR, ["umount", mountpoint]);
  await expectNoMount(mountpoint);
});
