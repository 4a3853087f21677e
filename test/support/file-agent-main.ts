/** The process of a file agent: reads one request a line, answers one line each, in order (file-agent.ts). */

import { createInterface } from "node:readline";
import { decode, encode } from "./file-agent.ts";
import { fileOperations } from "./file-operations.ts";
import { errnoName } from "./libc.ts";

const operations = fileOperations as unknown as Record<string, (...args: unknown[]) => unknown>;

process.umask(0o022);
for await (const line of createInterface({ input: process.stdin })) {
  const { operation, args } = decode(line) as { operation: string; args: unknown[] };
  process.stdout.write(`${encode(answer(operation, args))}\n`);
}

function answer(operation: string, args: unknown[]): unknown {
  try {
    return { value: operations[operation]?.(...args) };
  } catch (error) {
    const { errno, message, stack } = error as NodeJS.ErrnoException;
    if (errno === undefined) return { error: { message: stack } };
    return { error: { code: errnoName(errno), message } };
  }
}
