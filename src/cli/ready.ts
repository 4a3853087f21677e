/**
 * How a process that was sent to the background tells the one that started it what became of it: one line on
 * an inherited pipe, whose number is in MORTAR_READY_FD: `ready`, or `error` and the message. In the
 * foreground people are told by stderr.
 */

import { closeSync, writeSync } from "node:fs";

export const READY_FD_VARIABLE = "MORTAR_READY_FD";

/** Taken once and removed, so that processes started from here do not inherit the claim. */
const readyFd = takeReadyFd();

function takeReadyFd(): number | undefined {
  const text = process.env[READY_FD_VARIABLE];
  delete process.env[READY_FD_VARIABLE];
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** True when somebody waits for our line, and there is no terminal to talk to. */
export const inBackground: boolean = readyFd !== undefined;

/** All is well; call once. */
export function reportReady(): void {
  tell("ready\n");
}

/** The end, with its reason in one line. */
export function reportFailure(message: string): void {
  const line = message.replaceAll("\n", " ");
  if (!tell(`error ${line}\n`)) process.stderr.write(`mortar: ${line}\n`);
}

function tell(line: string): boolean {
  if (readyFd === undefined) return false;
  try {
    writeSync(readyFd, line);
    closeSync(readyFd);
  } catch {
    // Whoever waited is gone; the log has it all.
  }
  return true;
}
