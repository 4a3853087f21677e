/**
 * A file agent: a process of its own that works on files for a test, so that a mount that hangs or dies takes
 * the agent with it and not the test runner, and so that two agents are two processes to the kernel (locks,
 * kill -9 of a holder).
 *
 * Every operation of file-operations.ts is a method here that returns a promise. Requests are answered in
 * order. When the agent is killed, what it had not answered rejects with code "KILLED".
 */

import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { FileOperations } from "./file-operations.ts";
import type { Processes, Running } from "./processes.ts";

type Remote<T> = {
  readonly [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<R> : never;
};

/** The operations, from afar, and the agent's process. */
export type FileAgent = Remote<FileOperations> & {
  readonly process: Running;
  /** Whether the agent sits in fcntl, that is, waits for a lock. */
  isBlocked(): boolean;
};

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Number of the fcntl system call: x86-64, or the table of the newer machines. */
const SYS_FCNTL = process.arch === "x64" ? "72" : "25";
const SOURCE = fileURLToPath(new URL("./file-agent-main.ts", import.meta.url));

/** Starts an agent. `timeoutMs` bounds each answer: a hang becomes a failure with code "HANGS". */
export function startFileAgent(processes: Processes, { timeoutMs = 30_000 } = {}): FileAgent {
  const running = processes.start(process.execPath, command(), { interactive: true });
  const waiting: Waiting[] = [];
  const { stdin, stdout } = running.child;
  if (stdin === null || stdout === null) throw new Error("a file agent needs its pipes");
  stdin.on("error", () => {});
  createInterface({ input: stdout }).on("line", (line) => {
    const { value, error } = decode(line) as { value?: unknown; error?: { code: string; message: string } };
    const next = waiting.shift();
    if (error === undefined) next?.resolve(value);
    else next?.reject(Object.assign(new Error(error.message), { code: error.code }));
  });
  running.exited.then(({ stderr, signal }) => {
    for (const { reject } of waiting.splice(0)) reject(coded("KILLED", `agent ended (${signal}): ${stderr}`));
  });

  function request(operation: string, args: unknown[]): Promise<unknown> {
    if (running.exit !== undefined)
      return Promise.reject(coded("KILLED", `${operation}: the agent has ended`));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(coded("HANGS", `${operation}: no answer within ${timeoutMs} ms`)),
        timeoutMs,
      );
      waiting.push({
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      stdin?.write(`${encode({ operation, args })}\n`);
    });
  }

  const own = { process: running, isBlocked: () => inFcntl(running.pid) };
  return new Proxy(own as unknown as FileAgent, {
    get(target, name) {
      if (name in target) return target[name as keyof FileAgent];
      // A promise's `then` is asked for when an agent is returned from an async function.
      if (typeof name === "symbol" || name === "then") return undefined;
      return (...args: unknown[]) => request(name, args);
    },
  });
}

/** The agent as build.ts has made it, else its source. */
function command(): string[] {
  const launcher = process.env["MORTAR_TEST_LAUNCHER"];
  const built = join(dirname(launcher ?? ""), basename(SOURCE, ".ts")).concat(".js");
  return launcher !== undefined && existsSync(built) ? [built] : ["--import", "tsx", SOURCE];
}

/** Whether the main thread of a process is inside fcntl. */
function inFcntl(pid: number): boolean {
  return readFileSync(`/proc/${pid}/syscall`, "utf8").startsWith(`${SYS_FCNTL} `);
}

/** The errno name that an operation failed with, or "ok". */
export async function codeOf(result: Promise<unknown>): Promise<string> {
  try {
    await result;
    return "ok";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    return code;
  }
}

/** One line of JSON; Buffers travel in base64, bigints in decimal. */
export function encode(value: unknown): string {
  return JSON.stringify(packed(value));
}

/** Not by a replacer: JSON.stringify makes an array of numbers of each Buffer before it asks one. */
function packed(value: unknown): unknown {
  if (typeof value === "bigint") return { $bigint: String(value) };
  if (Buffer.isBuffer(value)) return { $bytes: value.toString("base64") };
  if (Array.isArray(value)) return value.map(packed);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, packed(item)]));
}

export function decode(line: string): unknown {
  return JSON.parse(line, (_, item: unknown) => {
    const { $bytes, $bigint } = (item ?? {}) as { $bytes?: string; $bigint?: string };
    if ($bigint !== undefined) return BigInt($bigint);
    return $bytes === undefined ? item : Buffer.from($bytes, "base64");
  });
}

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
