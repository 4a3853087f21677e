/**
 * What a guest is made of: the kernel of Debian's cloud image package with the few modules that it needs, an
 * initramfs that mounts /dev/vda and goes on there, and a root file system with busybox, fio and mke2fs of
 * this host. Nothing is installed: packages are downloaded and unpacked into a cache below the system's
 * directory for temporary files, once for all runs.
 */

import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { gzipSync } from "node:zlib";

const CACHE = join(tmpdir(), "mortar-guest-system");
const KERNEL_PACKAGE = "linux-image-cloud-amd64";
const SHELL_PACKAGE = "busybox-static";
/** In the order in which they are loaded. */
const MODULES = [
  ...["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"],
];
/** Programs of this host that guests use, with their libraries. By their paths: busybox prefers its own. */
const PROGRAMS = ["/usr/bin/fio", "/sbin/mke2fs", "/sbin/resize2fs", "/sbin/e2fsck"];
const MIB = 2 ** 20;
export const ROOT_BYTES = 128 * MIB;

export interface GuestSystem {
  readonly kernel: string;
  readonly initramfs: string;
  /** A directory that becomes the root file system of an image. */
  readonly root: string;
}

/** Everything that guests boot from; made when it is not there. Throws when the packages cannot be had. */
export function guestSystem(): GuestSystem {
  const system = {
    kernel: join(CACHE, "vmlinuz"),
    initramfs: join(CACHE, "initramfs.gz"),
    root: join(CACHE, "root"),
  };
  if (existsSync(CACHE)) return system;
  const fresh = mkdtempSync(join(tmpdir(), "mortar-guest-system-new-"));
  try {
    const packages = unpack(join(fresh, "packages"));
    const boot = join(packages, "boot");
    const kernel = readdirSync(boot).find((name) => name.startsWith("vmlinuz-"));
    if (kernel === undefined) throw new Error(`${KERNEL_PACKAGE}: no kernel in it`);
    copyFileSync(join(boot, kernel), join(fresh, "vmlinuz"));
    const busybox = join(packages, "bin/busybox");
    writeFileSync(join(fresh, "initramfs.gz"), gzipSync(initramfs(packages, readFileSync(busybox))));
    makeRoot(join(fresh, "root"), busybox);
    rmSync(packages, { recursive: true });
    renameSync(fresh, CACHE);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    // Another test file made it meanwhile.
    if (!existsSync(CACHE)) throw error;
  }
  return system;
}

function unpack(directory: string): string {
  mkdirSync(directory);
  let kernel = kernelPackage();
  if (kernel === undefined) {
    run("apt-get", ["update", "-q"]);
    kernel = kernelPackage();
  }
  if (kernel === undefined) throw new Error(`${KERNEL_PACKAGE}: apt-cache knows no kernel`);
  run("apt-get", ["download", "-q", kernel, SHELL_PACKAGE], directory);
  for (const file of readdirSync(directory).filter((name) => name.endsWith(".deb")))
    run("dpkg-deb", ["-x", file, "."], directory);
  return directory;
}

/** The package that the kernel's own name stands for today; undefined when apt has no lists. */
function kernelPackage(): string | undefined {
  const { stdout } = spawnSync("apt-cache", ["depends", KERNEL_PACKAGE], { encoding: "utf8" });
  return /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
}

const INIT = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in ${MODULES.join(" ")}; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox mount -t ext4 /dev/vda /root || exec /bin/busybox poweroff -f
exec /bin/busybox switch_root -c /dev/ttyS0 /root /sbin/agent
`;

/** Runs each line that comes in from the console and says how it ended; the host's half is guest.ts. */
const AGENT = `#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
stty -F /dev/ttyS0 -echo
echo @@READY
while IFS= read -r line; do eval "$line"; done < /dev/ttyS0
`;

function initramfs(packages: string, busybox: Buffer): Buffer {
  const files: CpioFile[] = [
    ...["bin", "dev", "modules", "root"].map((name) => ({ name, mode: 0o40755, data: Buffer.alloc(0) })),
    { name: "bin/busybox", mode: 0o100755, data: busybox },
    { name: "init", mode: 0o100755, data: Buffer.from(INIT) },
    ...MODULES.map((module) => ({
      name: `modules/${module}.ko`,
      mode: 0o100644,
      data: moduleOf(packages, module),
    })),
  ];
  return cpio(files);
}

function moduleOf(packages: string, module: string): Buffer {
  const lib = join(packages, "lib/modules");
  const found = readdirSync(lib, { recursive: true, encoding: "utf8" }).find(
    (name) => basename(name) === `${module}.ko`,
  );
  if (found === undefined) throw new Error(`${KERNEL_PACKAGE}: no module ${module}`);
  return readFileSync(join(lib, found));
}

interface CpioFile {
  readonly name: string;
  readonly mode: number;
  readonly data: Buffer;
}

/** An archive in the form "newc", which the kernel unpacks (Documentation/driver-api/early-userspace). */
function cpio(files: readonly CpioFile[]): Buffer {
  const parts: Buffer[] = [];
  const end: CpioFile = { name: "TRAILER!!!", mode: 0, data: Buffer.alloc(0) };
  for (const [index, { name, mode, data }] of [...files, end].entries()) {
    const fields = [index + 1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0];
    const head = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${name}\0`;
    parts.push(toFour(Buffer.from(head, "latin1")), toFour(data));
  }
  return Buffer.concat(parts);
}

function toFour(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}

function makeRoot(root: string, busybox: string): void {
  for (const name of ["bin", "sbin", "dev", "proc", "sys", "tmp", "mnt", "etc"])
    mkdirSync(join(root, name), { recursive: true });
  copyFileSync(busybox, join(root, "bin/busybox"));
  for (const applet of run(busybox, ["--list"]).trim().split("\n"))
    if (applet !== "busybox") symlinkSync("busybox", join(root, "bin", applet));
  writeFileSync(join(root, "sbin/agent"), AGENT);
  chmodSync(join(root, "sbin/agent"), 0o755);
  writeFileSync(join(root, "etc/mtab"), "");
  for (const program of PROGRAMS) {
    copyInto(root, program);
    for (const [, library] of run("ldd", [program]).matchAll(/(\/\S+) \(0x/g)) copyInto(root, library!);
  }
}

function copyInto(root: string, path: string): void {
  const to = join(root, path);
  mkdirSync(dirname(to), { recursive: true });
  if (!existsSync(to)) copyFileSync(path, to);
}

function run(command: string, args: readonly string[], cwd?: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    maxBuffer: 64 * MIB,
    ...(cwd === undefined ? {} : { cwd }),
  });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
  return stdout;
}
