/**
 * Standard output as a command of a pipeline uses it: in order, no faster than the reader, and a reader that
 * leaves (`| head`) ends the command without a word, with the exit code that SIGPIPE would give.
 */

import { constants } from "node:os";

/** Call before the first write. */
export function endOnBrokenPipe(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(128 + constants.signals.SIGPIPE);
    process.stderr.write(`mortar: standard output: ${error.message}\n`);
    process.exit(1);
  });
}

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
