/**
 * Loads of a guest's disk for as long as a test wants: each works on an image of its own with O_DIRECT, knows
 * what it was told is written, and fails with the first call that fails or byte that is not what it has to
 * be. A load never retries; what a guest would see as an I/O error fails the test.
 */

import { randomInt } from "node:crypto";
import type { FileAgent } from "./file-agent.ts";
import type { Lab } from "./peers.ts";
import { describeExit } from "./processes.ts";
import { expectSameBytes } from "./same-bytes.ts";

const KIB = 1024;
const BLOCK = 4 * KIB;
/** Longest that one call or one round may take; a brick that dies holds nobody up for longer. */
const ROUND_MS = 60_000;

export interface GuestLoad {
  readonly name: string;
  /** Bytes of the image, which is there and empty before the load starts. */
  readonly size: number;
  /** Grows while the load goes on. */
  readonly progress: number;
  /** Resolves after `stop`; rejects with the first thing that is wrong. */
  run(): Promise<void>;
  stop(): void;
  /** Reads everything back with eyes of another process. */
  check(): Promise<void>;
  /** For a person: how much was done. */
  summary(): string;
}

/** One block at random after the other, each numbered; every so many one is read back. */
export class BlockWriter implements GuestLoad {
  static readonly #BLOCKS = 512;
  static readonly #READ_EVERY = 8;
  readonly name: string;
  readonly size = BlockWriter.#BLOCKS * BLOCK;
  /** Writes that were acknowledged. */
  progress = 0;
  readonly #lab: Lab;
  readonly #path: string;
  readonly #generations = new Array<number>(BlockWriter.#BLOCKS).fill(0);
  #longestMs = 0;
  #stopping = false;

  constructor(lab: Lab, path: string, name: string) {
    this.#lab = lab;
    this.#path = path;
    this.name = name;
  }

  async run(): Promise<void> {
    const agent = this.#lab.agent({ timeoutMs: ROUND_MS });
    const fd = await agent.open(this.#path, "O_RDWR|O_DIRECT");
    while (!this.#stopping) {
      const index = randomInt(BlockWriter.#BLOCKS);
      const generation = this.progress + 1;
      const started = performance.now();
      await agent.write(fd, this.#block(index, generation), index * BLOCK);
      this.#longestMs = Math.max(this.#longestMs, performance.now() - started);
      this.#generations[index] = generation;
      this.progress++;
      if (this.progress % BlockWriter.#READ_EVERY === 0)
        await this.#check(agent, fd, randomInt(BlockWriter.#BLOCKS));
    }
    await agent.close(fd);
    await agent.process.kill();
  }

  stop(): void {
    this.#stopping = true;
  }

  async check(): Promise<void> {
    const agent = this.#lab.agent({ timeoutMs: ROUND_MS });
    const fd = await agent.open(this.#path, "O_RDONLY|O_DIRECT");
    for (let index = 0; index < BlockWriter.#BLOCKS; index++) await this.#check(agent, fd, index);
    await agent.process.kill();
  }

  summary(): string {
    return `${this.name}: ${this.progress} writes of 4 KiB, the longest ${this.#longestMs.toFixed(0)} ms`;
  }

  async #check(agent: FileAgent, fd: number, index: number): Promise<void> {
    const seen = await agent.read(fd, BLOCK, index * BLOCK);
    const wanted = this.#block(index, this.#generations[index]!);
    expectSameBytes(seen, wanted, `${this.name}, block ${index}`);
  }

  /** Zeroes before the first write. */
  #block(index: number, generation: number): Buffer {
    if (generation === 0) return Buffer.alloc(BLOCK);
    return Buffer.alloc(BLOCK, `${this.name} block ${index} generation ${generation} `);
  }
}

/** fio, many writes in flight, each block with a checksum that is verified soon and again at the end. */
export class FioVerify implements GuestLoad {
  readonly name = "fio";
  readonly size = 8 << 20;
  progress = 0;
  readonly #lab: Lab;
  readonly #path: string;
  #stopping = false;

  constructor(lab: Lab, path: string) {
    this.#lab = lab;
    this.#path = path;
  }

  async run(): Promise<void> {
    while (!this.#stopping) {
      await this.#fio(["--verify_backlog=256", `--randseed=${this.progress + 1}`]);
      this.progress++;
    }
  }

  stop(): void {
    this.#stopping = true;
  }

  async check(): Promise<void> {
    if (this.progress > 0) await this.#fio([`--randseed=${this.progress}`, "--verify_only"]);
  }

  summary(): string {
    const mib = (this.progress * this.size) / 2 ** 20;
    return `${this.name}: ${this.progress} rounds of random writes with verification, ${mib} MiB`;
  }

  async #fio(args: readonly string[]): Promise<void> {
    await this.#lab.processes.run(
      "fio",
      [
        ...["--name=guest", `--filename=${this.#path}`, `--size=${this.size}`, "--allow_file_create=0"],
        ...["--rw=randwrite", "--bs=4k", "--ioengine=libaio", "--iodepth=8", "--direct=1"],
        ...["--fallocate=none", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", ...args],
      ],
      { timeoutMs: ROUND_MS, cwd: this.#lab.directory },
    );
  }
}

/** qemu-io as QEMU opens a disk with cache=none: writes in flight together, read back for their pattern. */
export class QemuIo implements GuestLoad {
  static readonly #REGION = 48 * KIB;
  static readonly #REGIONS = 128;
  static readonly #AT_ONCE = 8;
  readonly name = "qemu-io";
  readonly size = QemuIo.#REGION * QemuIo.#REGIONS;
  progress = 0;
  readonly #lab: Lab;
  readonly #path: string;
  readonly #patterns = new Array<number>(QemuIo.#REGIONS).fill(0);
  #stopping = false;

  constructor(lab: Lab, path: string) {
    this.#lab = lab;
    this.#path = path;
  }

  async run(): Promise<void> {
    while (!this.#stopping) {
      const first = randomInt(QemuIo.#REGIONS - QemuIo.#AT_ONCE);
      const written = Array.from({ length: QemuIo.#AT_ONCE }, (_, index) => first + index);
      const pattern = 1 + (this.progress % 255);
      const writes = written.map((region) => `aio_write -P ${pattern} ${this.#range(region)}`);
      for (const region of written) this.#patterns[region] = pattern;
      const others = Array.from({ length: QemuIo.#AT_ONCE }, () => randomInt(QemuIo.#REGIONS));
      await this.#qemuIo([...writes, "aio_flush", "flush", ...this.#reads([...written, ...others])]);
      this.progress++;
    }
  }

  stop(): void {
    this.#stopping = true;
  }

  async check(): Promise<void> {
    await this.#qemuIo(this.#reads([...this.#patterns.keys()]));
  }

  summary(): string {
    return `${this.name}: ${this.progress} rounds of ${QemuIo.#AT_ONCE} writes of 48 KiB, each read back`;
  }

  #range(region: number): string {
    return `${region * QemuIo.#REGION} ${QemuIo.#REGION}`;
  }

  #reads(regions: readonly number[]): string[] {
    return regions.map((region) => `read -P ${this.#patterns[region]} ${this.#range(region)}`);
  }

  /** A failed call and a wrong pattern are told on the outputs, not by the exit code. */
  async #qemuIo(commands: readonly string[]): Promise<void> {
    const exit = await this.#lab.processes.tryRun(
      "qemu-io",
      [
        ...["-f", "raw", "-t", "none", "-i", "native"],
        ...commands.flatMap((command) => ["-c", command]),
        this.#path,
      ],
      { timeoutMs: ROUND_MS },
    );
    if (exit.code !== 0 || /failed|error/i.test(exit.stdout + exit.stderr))
      throw new Error(`${this.name}: ${describeExit(exit)}`);
  }
}
