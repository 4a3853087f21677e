/**
 * Child processes of end-to-end tests: started with their output kept, stopped by pid, and killed with
 * certainty.
 *
 * Every child carries a mark in its environment, which what it starts inherits, also into the background and
 * other sessions. Whoever still has the mark at the end of a test file, or when the tests' process exits
 * early, is killed. Numbers of processes that have ended are never used: the kernel gives them to others.
 *
 * Calls that touch a mount belong into children: a mount that hangs then hangs a child that can be killed,
 * never the test runner.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { pause, until } from "./wait.ts";

const OUTPUT_MAX = 4 << 20;
/** Environment variable by which the children of one test file are known. */
const MARK = "MORTAR_TEST_MARK";
/** Rounds of looking for marked processes: one that is killed may have just started another. */
const KILL_ROUNDS = 500;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface StartOptions {
  readonly cwd?: string;
  /** Added to the environment of the tests. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to standard input, which is then closed; without it standard input is empty. */
  readonly input?: string | Buffer;
  /** Leaves standard input open as a pipe for the caller. */
  readonly interactive?: boolean;
  /** For a daemon that is to outlive the tests. */
  readonly unmarked?: boolean;
}

/** One child, from start to exit. */
export class Running {
  readonly command: string;
  readonly child: ChildProcess;
  /** Resolves at the end of the process and of its output; never rejects. */
  readonly exited: Promise<Exit>;
  /** Set once the child has ended. */
  exit: Exit | undefined;
  #stdout = "";
  #stderr = "";

  constructor(command: string, args: readonly string[], options: StartOptions) {
    this.command = [command, ...args].join(" ");
    this.child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      detached: true,
      stdio: [options.interactive || options.input !== undefined ? "pipe" : "ignore", "pipe", "pipe"],
    });
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      if (!options.interactive) this.#stdout = keepEnd(this.#stdout + text);
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = keepEnd(this.#stderr + text);
    });
    this.exited = new Promise((resolve) => {
      this.child.on("error", (error) => this.#ended(null, null, `${this.#stderr}${error.message}`, resolve));
      this.child.on("close", (code, signal) => this.#ended(code, signal, this.#stderr, resolve));
    });
    if (options.input !== undefined) {
      // A child that ends before it read everything is no failure of ours; its exit says what was wrong.
      this.child.stdin?.on("error", () => {});
      this.child.stdin?.end(options.input);
    }
  }

  #ended(
    code: number | null,
    signal: NodeJS.Signals | null,
    stderr: string,
    done: (exit: Exit) => void,
  ): void {
    this.exit ??= { code, signal, stdout: this.#stdout, stderr };
    done(this.exit);
  }

  get pid(): number {
    const { pid } = this.child;
    if (pid === undefined) throw new Error(`${this.command}: did not start: ${this.#stderr}`);
    return pid;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Both outputs, for messages. */
  get output(): string {
    return `${this.command}\nstdout: ${this.#stdout.trim()}\nstderr: ${this.#stderr.trim()}`;
  }

  /** Signals this one process; a process that is gone is left alone. */
  signal(signal: NodeJS.Signals): void {
    // Not by number: the child may have ended while something it started still holds its output.
    this.child.kill(signal);
  }

  /** SIGSTOP, and waits until all its threads have stopped: until then they may answer one more call. */
  async freeze(): Promise<void> {
    this.signal("SIGSTOP");
    await until("a stopped process", () => threadStates(this.pid).every((state) => state === "T"));
  }

  /** SIGKILL to this one process, and waits for its end. */
  async kill(): Promise<Exit> {
    this.signal("SIGKILL");
    return this.exited;
  }

  /** Asks to end by `signal`; kills what has not ended after `deadlineMs` and says so in a rejection. */
  async stop(signal: NodeJS.Signals = "SIGTERM", deadlineMs = 20_000): Promise<Exit> {
    this.signal(signal);
    const timer = new Deadline(deadlineMs);
    const exit = await Promise.race([this.exited, timer.passed]);
    timer.cancel();
    if (exit !== undefined) return exit;
    this.signal("SIGKILL");
    throw new Error(`did not end within ${deadlineMs} ms of ${signal}: ${this.output}`);
  }
}

/** The states of a process' threads, a letter each (proc(5)). */
function threadStates(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2)[0]!;
  });
}

/** The children of one test file. */
export class Processes {
  readonly #mark: string = randomUUID();
  readonly #running = new Set<Running>();
  readonly #onExit = (): void => {
    killMarked(this.mark);
  };

  constructor() {
    process.on("exit", this.#onExit);
  }

  /** The variable by which the children are known, as it stands in their environment. */
  get mark(): string {
    return `${MARK}=${this.#mark}`;
  }

  /** Starts a child that runs until stopped or killed. */
  start(command: string, args: readonly string[], options: StartOptions = {}): Running {
    const env = { ...options.env, ...(options.unmarked ? {} : { [MARK]: this.#mark }) };
    const running = new Running(command, args, { ...options, env });
    this.#running.add(running);
    return running;
  }

  /** Runs a command to its end, whatever its exit code. Rejects when it takes longer than `timeoutMs`. */
  async tryRun(
    command: string,
    args: readonly string[],
    { timeoutMs = 60_000, ...options }: StartOptions & { timeoutMs?: number } = {},
  ): Promise<Exit> {
    const running = this.start(command, args, options);
    const timer = new Deadline(timeoutMs);
    const exit = await Promise.race([running.exited, timer.passed]);
    timer.cancel();
    if (exit === undefined) {
      running.signal("SIGKILL");
      throw new Error(`still running after ${timeoutMs} ms: ${running.output}`);
    }
    this.#running.delete(running);
    return exit;
  }

  /** Runs a command that has to succeed; resolves with its standard output. */
  async run(
    command: string,
    args: readonly string[],
    options: StartOptions & { timeoutMs?: number } = {},
  ): Promise<string> {
    const exit = await this.tryRun(command, args, options);
    if (exit.code !== 0) throw new Error(`${[command, ...args].join(" ")}: ${describeExit(exit)}`);
    return exit.stdout;
  }

  /** Kills everything that still runs, with all that it started, and waits for it. */
  async killAll(): Promise<void> {
    for (let round = 0; killMarked(this.mark) > 0; round++) {
      if (round === KILL_ROUNDS)
        throw new Error(`processes that SIGKILL does not end: ${markedPids(this.mark)}`);
      await pause();
    }
    await Promise.all([...this.#running].map((running) => running.exited));
    this.#running.clear();
    process.off("exit", this.#onExit);
  }
}

/** Kills all processes with a mark; returns how many there were. */
export function killMarked(mark: string): number {
  const pids = markedPids(mark);
  for (const pid of pids) signalPid(pid, "SIGKILL");
  return pids.length;
}

/** Processes with a mark (Processes.mark), by /proc; those that have ended show no environment. */
export function markedPids(mark: string): number[] {
  return allPids()
    .filter((pid) => environment(pid).includes(mark))
    .map(Number);
}

/** Of this machine, as directories of /proc are called. */
export function allPids(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
}

/** Variables that a process was started with. */
function environment(pid: string): string[] {
  return procText(pid, "environ").split("\0");
}

/** A file of a process' /proc entry; empty when it has ended meanwhile or is not ours to read. */
function procText(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1");
  } catch {
    return "";
  }
}

/** What all processes of this machine were started as, each with blanks between its words. */
export function commandLines(): string[] {
  return allPids().map((pid) => procText(pid, "cmdline").replaceAll("\0", " "));
}

/** How a command ended, for messages. */
export function describeExit(exit: Exit): string {
  return `exit ${exit.code ?? exit.signal}\nstdout: ${exit.stdout.trim()}\nstderr: ${exit.stderr.trim()}`;
}

class Deadline {
  readonly passed: Promise<undefined>;
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.passed = new Promise((resolve) => {
      this.#timer = setTimeout(resolve, ms, undefined);
    });
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }
}

function signalPid(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function keepEnd(text: string): string {
  return text.length > OUTPUT_MAX ? text.slice(-OUTPUT_MAX) : text;
}
