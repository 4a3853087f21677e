/**
 * Guests on the mount: QEMU without KVM boots Debian's kernel from images on a sharded replica 3 volume with
 * the virt profile's translators, laid out as Shaken Fist does under /srv/instances.
 *
 * Each cache mode and way of I/O has a drive of its own. A brick dies and comes back while the guest writes:
 * the guest sees no error, and what it was told is on the disk is there afterwards.
 */

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allocatedBytes, namesOf } from "../support/copies.ts";
import { type Drive, driveArgument, Guest, makeRootImage } from "../support/guest.ts";
import type { GuestSystem } from "../support/guest-system.ts";
import { Lab, type Mount } from "../support/peers.ts";
import { Replica } from "../support/replica.ts";
import { virtVolfile } from "../support/replica-volfiles.ts";
import { until } from "../support/wait.ts";

const TEST_MS = 400_000;
const STEP_MS = 90_000;
const MIB = 2 ** 20;
/** Of the drive with the guest's data, before and after it grows. */
const DATA_MIB = 192;
const GROWN_MIB = 320;
/** Lines that the guest's ledger must get while a brick is away, and again when it is back. */
const LINES = 10;
const SMALL_MIB = 16;
const INSTANCE = "6f1d9d3c-2c5b-4a69-9a0e-3a2f4f0a7c11";

const MODES: readonly Pick<Drive, "cache" | "aio">[] = [
  { cache: "none", aio: "threads" },
  { cache: "none", aio: "io_uring" },
  { cache: "writeback", aio: "threads" },
];

const lab = new Lab("guest");
let replica: Replica;
let mount: Mount;
let system: GuestSystem;

beforeAll(async () => {
  replica = await Replica.three(lab, "mortar");
  mount = await mountVirt();
  await command("mkdir", at("image_cache"), at(INSTANCE));
  system = await makeRootImage(lab, at("image_cache/base.raw"));
}, TEST_MS);
afterAll(() => lab.close());

function mountVirt(): Promise<Mount> {
  const { name, volumeId, bricks } = replica;
  return lab.mount("mortar", lab.writeFile("virt.vol", virtVolfile({ name, volumeId, copies: bricks })));
}

function at(path: string): string {
  return join(mount.mountpoint, path);
}

async function command(name: string, ...args: readonly string[]): Promise<string> {
  return lab.processes.run(name, args, { timeoutMs: STEP_MS });
}

/** Bytes that a brick's file system gave to the volume's files. */
function allocatedOn(index: number): number {
  const brick = replica.directory(index);
  return namesOf(brick).reduce((sum, path) => sum + allocatedBytes(brick, path), 0);
}

/** The last line of the ledger that the guest was told is on the disk. */
function ledger(guest: Guest): number {
  return Number([...guest.console.matchAll(/@@LEDGER (\d+)/g)].at(-1)?.[1] ?? 0);
}

async function ledgerGrows(guest: Guest, when: string): Promise<void> {
  const before = ledger(guest);
  await until(`the guest's ledger grows ${when}`, () => ledger(guest) >= before + LINES, {
    deadlineMs: STEP_MS,
    detail: () => guest.console.slice(-2000),
  });
}

const LEDGER =
  "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); " +
  'echo "line $i" | dd of=/mnt/ledger oflag=append conv=notrunc,fsync 2>/dev/null && echo "@@LEDGER $i" || ' +
  '{ echo "@@FAILED $i"; sleep 1; }; done; ' +
  "touch /tmp/stopped";

/** fio with checksums that it reads back; on a device or a file of the guest. */
function fioVerify(path: string, sizeMiB: number): string {
  return (
    `/usr/bin/fio --name=v --filename=${path} --size=${sizeMiB}m --rw=randwrite --bsrange=4k-128k ` +
    "--direct=1 --ioengine=psync --thread --verify=crc32c --do_verify=1 --verify_fatal=1 " +
    "--output-format=terse > /tmp/fio"
  );
}

describe("a guest with its disks on the mount", () => {
  it(
    "boots from an overlay on a cached image, lives through a brick's death, trims and grows its disk",
    async () => {
      const root = at(`${INSTANCE}/vda.qcow2`);
      const data = at(`${INSTANCE}/vdb.raw`);
      const base = ["-b", "../image_cache/base.raw", "-F", "raw"];
      await command("qemu-img", "create", "-q", "-f", "qcow2", ...base, root);
      await command("qemu-img", "create", "-q", "-f", "raw", data, `${DATA_MIB}M`);
      const small = MODES.map((mode, index): Drive => {
        return { file: at(`${INSTANCE}/small-${index}.raw`), format: "raw", ...mode };
      });
      for (const { file } of small)
        await command("qemu-img", "create", "-q", "-f", "raw", file, `${SMALL_MIB}M`);
      const daemon = replica.healDaemon("mortar");

      const guest = await Guest.boot(lab, system, [
        { file: root, format: "qcow2", cache: "none", aio: "native" },
        { file: data, format: "raw", cache: "none", aio: "native" },
        ...small,
      ]);
      await guest.run("/sbin/mke2fs -q -t ext4 /dev/vdb && mount /dev/vdb /mnt");
      guest.start(LEDGER);
      await ledgerGrows(guest, "at first");
      await replica.kill(1);
      await guest.run(fioVerify("/mnt/verified", 24));
      await ledgerGrows(guest, "while a brick is away");
      await replica.revive(1);
      for (const [index] of MODES.entries()) await guest.run(fioVerify(`/dev/vd${"cde"[index]}`, SMALL_MIB));
      await ledgerGrows(guest, "when the brick is back");
      await guest.run("touch /tmp/stop; while [ ! -e /tmp/stopped ]; do usleep 100000; done");
      expect(guest.console).not.toMatch(/@@FAILED|I\/O error|EXT4-fs error/);

      // The bricks that were never away: nothing else changes what they hold.
      const lasting = [0, 2];
      const before = lasting.map(allocatedOn);
      await guest.run("dd if=/dev/urandom of=/mnt/ballast bs=1M count=48 2>/dev/null && sync");
      const full = lasting.map(allocatedOn);
      for (const [at, bytes] of full.entries()) expect(bytes - before[at]!).toBeGreaterThan(40 * MIB);
      await guest.run("rm /mnt/ballast && sync && fstrim /mnt");
      for (const [at, index] of lasting.entries())
        expect(full[at]! - allocatedOn(index)).toBeGreaterThan(40 * MIB);

      const device = (await guest.monitor("query-block", {})) as readonly { device: string; qdev?: string }[];
      await guest.monitor("block_resize", { device: device[1]!.device, size: GROWN_MIB * MIB });
      await guest.run("/sbin/resize2fs /dev/vdb");
      const blocks = Number((await guest.run("df -k /mnt | awk 'END{print $2}'")).trim());
      expect(blocks).toBeGreaterThan(DATA_MIB * 1024);
      const lines = ledger(guest);
      await guest.run("umount /mnt");
      await guest.powerOff();

      await replica.untilHealed(() => daemon.output);
      await daemon.stop("SIGTERM");
      await command("e2fsck", "-fn", data);
      const written = await command("debugfs", "-R", "cat ledger", data);
      expect(written.trim().split("\n").at(-1)).toBe(`line ${lines}`);
      expect(await command("qemu-img", "check", root)).toContain("No errors");
    },
    TEST_MS,
  );

  it(
    "has a raw image for itself, on this mount and on others, until it is killed",
    async () => {
      const file = at(`${INSTANCE}/raw.img`);
      await command("cp", "--sparse=always", at("image_cache/base.raw"), file);
      const drive: Drive = { file, format: "raw", cache: "none", aio: "native" };
      const guest = await Guest.boot(lab, system, [drive]);
      await guest.run("echo here > /etc/who && sync");

      const other = await mountVirt();
      const elsewhere = { ...drive, file: join(other.mountpoint, INSTANCE, "raw.img") };
      for (const one of [drive, elsewhere]) {
        const args = ["-accel", "tcg", "-nodefaults", "-display", "none", "-drive", driveArgument(one)];
        const second = await lab.processes.tryRun("qemu-system-x86_64", args, { timeoutMs: STEP_MS });
        expect(second.code).toBe(1);
        expect(second.stderr).toMatch(/Failed to get .*write.* lock/);
      }
      await guest.process.kill();
      const heir = await Guest.boot(lab, system, [elsewhere]);
      expect(await heir.run("cat /etc/who")).toContain("here");
      await heir.powerOff();
      await lab.unmount(other);
    },
    TEST_MS,
  );
});
