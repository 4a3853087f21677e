/**
 * What commands write to: in order, no faster than the reader. A reader that leaves (`| head`) ends a
 * command without a word, with the exit code that SIGPIPE would give; one that has to end in order (a mount,
 * with what it has not written yet) goes on without a reader.
 */

import { constants } from "node:os";

/** Commands with something to take down or to take away. */
const ENDING_IN_ORDER = new Set(["start", "mount", "mount-helper", "brick", "heal-daemon", "compare"]);

/** Call before the first write, with the command's name. */
export function guardOutput(command: string | undefined): void {
  const goesOn = command !== undefined && ENDING_IN_ORDER.has(command);
  process.stdout.on("error", goesOn ? ignore : endOnBrokenPipe);
  process.stderr.on("error", ignore);
}

function endOnBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(128 + constants.signals.SIGPIPE);
  process.stderr.write(`mortar: standard output: ${error.message}\n`);
  process.exit(1);
}

/** A terminal that was closed, a pipe whose reader was ended by the same Ctrl-C. */
function ignore(): void {}

/**
 * Resolves when the bytes are with the kernel: the buffer may be used again. Rejects with the signal's
 * reason, which a reader that does not read would keep waiting; the buffer is not free then.
 */
export function writeOut(data: Buffer | string, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => reject(signal?.reason);
    signal?.addEventListener("abort", giveUp, { once: true });
    process.stdout.write(data, () => {
      signal?.removeEventListener("abort", giveUp);
      resolve();
    });
  });
}

const COLUMNS = 80;

/** Width of a terminal; a pty that was not told its size says 0. */
export function columnsOf({ columns }: { readonly columns?: number }): number {
  return columns || COLUMNS;
}
