/**
 * A virtual machine of QEMU without KVM, with a shell on its serial console: the host sends a line and gets
 * what it printed and how it ended. Monitor commands go by QMP.
 */

import { connect, type Socket } from "node:net";
import { type GuestSystem, guestSystem, ROOT_BYTES } from "./guest-system.ts";
import type { Lab } from "./peers.ts";
import type { Running } from "./processes.ts";
import { until } from "./wait.ts";

/** Without KVM a guest is slow, and tests run beside it. */
const BOOT_MS = 150_000;
const COMMAND_MS = 120_000;

export interface Drive {
  readonly file: string;
  readonly format: "raw" | "qcow2";
  /** QEMU's cache mode and way of doing I/O. */
  readonly cache: "none" | "writeback";
  readonly aio: "native" | "threads" | "io_uring";
}

export function driveArgument({ file, format, cache, aio }: Drive): string {
  const image = `file=${file},format=${format},cache=${cache},aio=${aio}`;
  return `${image},if=virtio,discard=unmap,werror=report,rerror=report`;
}

/** A raw image with the guests' root file system. */
export async function makeRootImage(lab: Lab, path: string): Promise<GuestSystem> {
  const system = guestSystem();
  const blocks = String(ROOT_BYTES / 1024);
  const options = "^has_journal,^metadata_csum";
  const args = ["-q", "-t", "ext4", "-b", "4096", "-O", options, "-d", system.root, path, `${blocks}k`];
  await lab.processes.run("mke2fs", args, { timeoutMs: COMMAND_MS });
  return system;
}

export class Guest {
  readonly process: Running;
  #console = "";
  #commands = 0;
  readonly #qmpPath: string;
  #qmp: Qmp | undefined;

  private constructor(process: Running, qmpPath: string) {
    this.process = process;
    this.#qmpPath = qmpPath;
    process.child.stdout!.on("data", (text: string) => {
      this.#console += text;
    });
  }

  /** Boots from the first drive, and waits for the shell. */
  static async boot(lab: Lab, system: GuestSystem, drives: readonly Drive[]): Promise<Guest> {
    const qmp = lab.path("qmp.sock");
    const args = [
      ...["-accel", "tcg", "-cpu", "max", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot"],
      ...["-serial", "stdio", "-qmp", `unix:${qmp},server=on,wait=off`],
      ...["-kernel", system.kernel, "-initrd", system.initramfs],
      ...["-append", "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off"],
      ...drives.flatMap((drive) => ["-drive", driveArgument(drive)]),
    ];
    const process = lab.processes.start("qemu-system-x86_64", args, { interactive: true });
    const guest = new Guest(process, qmp);
    await guest.#sees("@@READY", BOOT_MS);
    return guest;
  }

  /** What the console has shown so far. */
  get console(): string {
    return this.#console;
  }

  /** Runs a line of shell; rejects unless it ends with 0. Gives what it printed. */
  async run(line: string, timeoutMs = COMMAND_MS): Promise<string> {
    const mark = `@@${++this.#commands}`;
    const from = this.#console.length;
    this.process.child.stdin!.write(`${line}; echo ${mark}:$?\n`);
    const end = new RegExp(`${mark}:(\\d+)`);
    await this.#sees(end, timeoutMs, from);
    const text = this.#console.slice(from);
    const match = end.exec(text)!;
    const output = text.slice(0, match.index).trim();
    if (match[1] !== "0") throw new Error(`guest: ${line}: exit ${match[1]}: ${output}`);
    return output;
  }

  /** Starts a line of shell and does not wait for it. */
  start(line: string): void {
    this.process.child.stdin!.write(`( ${line} ) &\n`);
  }

  /** A command of QEMU's monitor. */
  async monitor(execute: string, args: object): Promise<unknown> {
    this.#qmp ??= await Qmp.open(this.#qmpPath);
    return this.#qmp.execute(execute, args);
  }

  /** Syncs, and switches the machine off. */
  async powerOff(): Promise<void> {
    this.process.child.stdin!.write("sync; poweroff -f\n");
    await until("the guest is off", () => this.process.exit !== undefined, {
      deadlineMs: COMMAND_MS,
      detail: () => this.#console.slice(-2000),
    });
  }

  async #sees(what: string | RegExp, deadlineMs: number, from = 0): Promise<void> {
    const seen = (): boolean => {
      if (this.process.exit) throw new Error(`the guest ended: ${this.process.output}\n${this.#console}`);
      const text = this.#console.slice(from);
      return typeof what === "string" ? text.includes(what) : what.test(text);
    };
    const detail = (): string => this.#console.slice(-2000);
    await until(`the guest's console shows ${what}`, seen, { deadlineMs, detail });
  }
}

/** QEMU's machine protocol: one command at a time, events are left aside. */
class Qmp {
  readonly #socket: Socket;
  #text = "";

  private constructor(socket: Socket) {
    this.#socket = socket.setEncoding("utf8").on("data", (text: string) => {
      this.#text += text;
    });
  }

  static async open(path: string): Promise<Qmp> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    const qmp = new Qmp(socket.unref());
    await qmp.execute("qmp_capabilities", {});
    return qmp;
  }

  async execute(execute: string, args: object): Promise<unknown> {
    this.#text = "";
    this.#socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    let answer: { return?: unknown; error?: { desc: string } } | undefined;
    await until(`QEMU answers ${execute}`, () => {
      const lines = this.#text.split("\n").slice(0, -1);
      answer = lines.map((line) => JSON.parse(line)).find((one) => "return" in one || "error" in one);
      return answer !== undefined;
    });
    if (answer!.error) throw new Error(`QEMU: ${execute}: ${answer!.error.desc}`);
    return answer!.return;
  }
}
