/**
 * Passthrough on real mounts: the kernel reads and writes the brick's files itself, and nobody can tell but
 * by the clock. That it does is shown by I/O that goes on while the mount's process is stopped, or dead.
 */

import { chmodSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { codeOf } from "../support/file-agent.ts";
import { Lab, type Mount } from "../support/peers.ts";
import { describeExit } from "../support/processes.ts";
import { embeddedVolfile } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";

const lab = new Lab("passthrough");
beforeAll(() => chmodSync(lab.directory, 0o755));
afterAll(() => lab.close());

const SIZE = 1 << 20;
const AS_NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c"];

type Embedded = Mount & { readonly brick: string };

async function embedded(...options: string[]): Promise<Embedded> {
  return mountBrick(lab.makeDirectory("brick"), ...options);
}

async function mountBrick(brick: string, ...options: string[]): Promise<Embedded> {
  const volfile = lab.writeFile("embedded.vol", embeddedVolfile(brick));
  return { ...(await lab.mount("mortar", volfile, { options })), brick };
}

let one: Promise<Embedded> | undefined;

/** A mount for tests that leave it as they found it, each with a file of its own. */
function shared(): Promise<Embedded> {
  one ??= embedded();
  return one;
}

/**
 * Opens a file, stops the mount's process, and reads or writes the fifth byte. Before the first write to an
 * inode the kernel asks for file capabilities, so there is one before.
 */
const FROZEN = `
  const fs = require("node:fs");
  const [pid, path, flags] = process.argv.slice(1);
  const fd = fs.openSync(path, flags);
  const byte = Buffer.from("w");
  if (flags !== "r") fs.writeSync(fd, byte, 0, 1, 3);
  process.kill(Number(pid), "SIGSTOP");
  const moves = (thread) =>
    !/\\) T /.test(fs.readFileSync("/proc/" + pid + "/task/" + thread + "/stat", "latin1"));
  while (fs.readdirSync("/proc/" + pid + "/task").some(moves));
  if (flags === "r") fs.readSync(fd, byte, 0, 1, 4);
  else fs.writeSync(fd, byte, 0, 1, 4);
  fs.writeSync(1, "done " + byte);`;

/**
 * How I/O on an open file fares while the mount's process is stopped: what it printed, or "waits" when the
 * kernel waits for an answer to a request.
 */
async function whileStopped(mount: Mount, path: string, flags = "r"): Promise<string> {
  const { pid } = mount.process;
  const child = lab.processes.start(process.execPath, ["-e", FROZEN, String(pid), path, flags]);
  let fares = "";
  try {
    await until("the call was done, or a request waits", () => {
      const waits = isStopped(pid) && isWaiting(child.pid);
      fares = /^stdout: (done .)/m.exec(child.output)?.[1] ?? (waits ? "waits" : "");
      return fares !== "" || child.exit !== undefined;
    });
  } finally {
    mount.process.signal("SIGCONT");
  }
  const exit = await child.exited;
  expect(exit, describeExit(exit)).toMatchObject({ code: 0 });
  return fares;
}

function isStopped(pid: number): boolean {
  return /\) T /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
}

/** Whether a process sleeps until a FUSE request is answered. */
function isWaiting(pid: number): boolean {
  try {
    return /fuse|request_wait_answer/.test(readFileSync(`/proc/${pid}/wchan`, "utf8"));
  } catch {
    return false;
  }
}

describe("passthrough", () => {
  it("reads and writes without the mount's process", async () => {
    const mount = await embedded();
    const path = join(mount.mountpoint, "f");
    await lab.agent().writeFile(path, "begin");
    expect(await whileStopped(mount, path)).toBe("done n");
    expect(await whileStopped(mount, path, "r+")).toBe("done w");
    expect(readFileSync(join(mount.brick, "f"), "utf8")).toBe("begww");
  });

  it("only reads without it when it is told so, and writes with it alone", async () => {
    const mount = await embedded("passthrough=read");
    const path = join(mount.mountpoint, "f");
    await lab.agent().writeFile(path, "begin");
    expect(await whileStopped(mount, path)).toBe("done n");
    expect(await whileStopped(mount, path, "r+")).toBe("waits");
    expect(readFileSync(join(mount.brick, "f"), "utf8")).toBe("begww");
  });

  it("shows readers at once what is written beside them, and writers what they wrote", async () => {
    const { mountpoint } = await shared();
    const path = join(mountpoint, "grows");
    const script = `
      : > "$1"
      exec 3<"$1" 4>>"$1" 5<>"$1"
      i=0
      while [ $i -lt 50 ]; do
        printf 0123456789 >&4
        i=$((i+1))
        read -r -n 10 line <&3
        [ "$line" = 0123456789 ] || { echo "read '$line' after $i writes" >&2; exit 1; }
        size=$(stat -c %s "$1")
        [ "$size" = $((i*10)) ] || { echo "size $size after $i writes" >&2; exit 1; }
      done
      cat <&5 | wc -c`;
    const done = await lab.processes.tryRun("bash", ["-c", script, "bash", path]);
    expect(done, describeExit(done)).toMatchObject({ code: 0, stdout: "500\n" });
  });

  it("serves O_DIRECT, mmap and unlinked files", async () => {
    const { mountpoint } = await shared();
    const path = join(mountpoint, "disk");
    const verified = await lab.processes.tryRun("fio", [
      ...["--name=v", `--filename=${path}`, "--size=8m", "--rw=randwrite", "--bs=4k", "--verify=crc32c"],
      ...["--direct=1", "--ioengine=libaio", "--iodepth=16", "--verify_state_save=0"],
    ]);
    expect(verified, describeExit(verified)).toMatchObject({ code: 0 });
    const mapped = await lab.processes.tryRun("fio", [
      ...["--name=m", `--filename=${path}`, "--size=8m", "--rw=randrw", "--bs=4k", "--ioengine=mmap"],
      ...["--io_size=8m"],
    ]);
    expect(mapped, describeExit(mapped)).toMatchObject({ code: 0 });
    const gone = await lab.processes.tryRun("sh", [
      ...["-c", 'exec 3<>"$1"; rm "$1"; head -c 9 <&3 | wc -c; printf x >&3', "sh", path],
    ]);
    expect(gone, describeExit(gone)).toMatchObject({ code: 0, stdout: "9\n" });
  });

  it("syncs and discards by requests that meet what was written", async () => {
    const { mountpoint, brick } = await shared();
    const path = join(mountpoint, "image");
    await lab.processes.run("qemu-img", ["create", "-q", "-f", "raw", path, `${SIZE}`]);
    const written = await lab.processes.tryRun("qemu-io", [
      ...["-t", "none", "-f", "raw", "-c", `write -P 0xaa 0 ${SIZE}`, "-c", "discard 64k 64k"],
      ...["-c", "flush", "-c", "read -P 0 64k 64k", "-c", "read -P 0xaa 128k 64k", path],
    ]);
    expect(written, describeExit(written)).toMatchObject({ code: 0 });
    const bytes = readFileSync(join(brick, "image"));
    expect(bytes.subarray(64 << 10, 128 << 10).equals(Buffer.alloc(64 << 10))).toBe(true);
    expect(bytes.subarray(128 << 10).equals(Buffer.alloc(SIZE - (128 << 10), 0xaa))).toBe(true);
  });

  it("takes set-id bits from a program that somebody writes to beside a reader", async () => {
    const { mountpoint } = await shared();
    const path = join(mountpoint, "program");
    await lab.agent().writeFile(path, "x");
    await lab.agent().chmod(path, "6777");
    const write = [...AS_NOBODY, 'exec 3<"$1"; printf x >>"$1"', "sh", path];
    const wrote = await lab.processes.tryRun("setpriv", write);
    expect(wrote, describeExit(wrote)).toMatchObject({ code: 0 });
    expect((await lab.agent().stat(path)).mode).toBe("0777");
  });

  it("takes them also when they come while somebody has the file open for writing", async () => {
    const { mountpoint, brick } = await shared();
    const path = join(mountpoint, "program-to-be");
    const script = 'exec 3>>"$1"; chmod 6777 "$1"; shift; exec "$@"';
    const write = [...AS_NOBODY, "printf x >&3"];
    const wrote = await lab.processes.tryRun("sh", ["-c", script, "sh", path, "setpriv", ...write]);
    expect(wrote, describeExit(wrote)).toMatchObject({ code: 0 });
    expect(statSync(join(brick, "program-to-be")).mode & 0o7777).toBe(0o777);
  });

  it("knows after each write, cut and allocation how large a file is and when it changed", async () => {
    const { mountpoint, brick } = await shared();
    const path = join(mountpoint, "sizes");
    const agent = lab.agent();
    const fd = await agent.open(path, "O_RDWR|O_CREAT");
    const append = await agent.open(path, "O_WRONLY|O_APPEND");
    const inside = join(brick, "sizes");
    const steps: [string, number, () => Promise<unknown>][] = [
      ["write", 3, () => agent.write(fd, Buffer.from("abc"), 0)],
      ["write behind the end", 8193, () => agent.write(fd, Buffer.from("d"), 8192)],
      ["append", 8195, () => agent.write(append, Buffer.from("ef"), 0)],
      ["cut", 4, () => agent.truncate(path, 4)],
      ["append after it", 6, () => agent.write(append, Buffer.from("gh"), 0)],
      ["allocate", 65536, () => agent.fallocate(fd, 0, 0, 65536)],
      ["punch", 65536, () => agent.fallocate(fd, 3, 4096, 8192)],
    ];
    for (const [what, size, step] of steps) {
      await step();
      const seen = await agent.stat(path);
      expect(seen.size, what).toBe(size);
      expect(seen.mtime, what).toBe(String(statSync(inside, { bigint: true }).mtimeNs));
    }
    expect(await agent.read(fd, 16, 0)).toEqual(Buffer.concat([Buffer.from("abc\0gh"), Buffer.alloc(10)]));
  });

  it("fences what a dead mount's programs still write from the next mount, until they close it", async () => {
    const first = await embedded();
    const { brick } = first;
    const path = join(first.mountpoint, "image");
    const guest = lab.agent();
    const fd = await guest.open(path, "O_RDWR|O_CREAT");
    await guest.write(fd, Buffer.from("begin"), 0);
    first.process.signal("SIGKILL");
    await lab.dropMount(first);
    await guest.write(fd, Buffer.from("after"), 0);
    expect(readFileSync(join(brick, "image"), "utf8")).toBe("after");
    expect(await codeOf(guest.fsync(fd))).toBe("ENOTCONN");

    const second = await mountBrick(brick);
    const again = join(second.mountpoint, "image");
    const qemu = await lab.processes.tryRun("qemu-io", ["-f", "raw", "-c", "read 0 1", again]);
    expect(qemu.stderr).toMatch(/Could not open .*: Device or resource busy/);
    expect(await codeOf(lab.agent().readFile(again))).toBe("EBUSY");
    expect(readFileSync(second.logFile, "utf8")).toMatch(/through a mount that died can still write it/);
    guest.process.signal("SIGKILL");
    await guest.process.exited;
    expect(await lab.agent().readFile(again)).toEqual(Buffer.from("after"));
  });

  it("is off when it is told to be", async () => {
    const mount = await embedded("passthrough=off");
    const path = join(mount.mountpoint, "f");
    await lab.agent().writeFile(path, "begin");
    expect(await whileStopped(mount, path)).toBe("waits");
    expect(await lab.agent().readFile(path)).toEqual(Buffer.from("begin"));
  });
});
