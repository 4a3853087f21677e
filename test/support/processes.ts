/**
 * Child processes of end-to-end tests: started with their output kept, stopped by pid, and killed with
 * certainty.
 *
 * Each child leads its own process group, so that what it starts goes with it at the end of a test file. A
 * child that outlives the tests' process by a crash of it is killed from the exit hook. Calls that touch a
 * mount belong into children: a mount that hangs then hangs a child that can be killed, never the test
 * runner.
 */

import { type ChildProcess, spawn } from "node:child_process";

const OUTPUT_MAX = 4 << 20;

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
    signalPid(this.pid, signal);
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
    this.killGroup();
    throw new Error(`did not end within ${deadlineMs} ms of ${signal}: ${this.output}`);
  }

  /** SIGKILL to the child and everything it started; does not wait. */
  killGroup(): void {
    if (this.child.pid !== undefined) signalPid(-this.child.pid, "SIGKILL");
  }
}

/** The children of one test file. */
export class Processes {
  readonly #running = new Set<Running>();
  readonly #onExit = (): void => {
    for (const running of this.#running) running.killGroup();
  };

  constructor() {
    process.on("exit", this.#onExit);
  }

  /** Starts a child that runs until stopped or killed. */
  start(command: string, args: readonly string[], options: StartOptions = {}): Running {
    const running = new Running(command, args, options);
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
      running.killGroup();
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

  /** Kills everything that still runs, groups and all, and waits for it. */
  async killAll(): Promise<void> {
    for (const running of this.#running) running.killGroup();
    await Promise.all([...this.#running].map((running) => running.exited));
    this.#running.clear();
    process.off("exit", this.#onExit);
  }
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
