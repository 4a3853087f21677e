/** Failures and names as a command says them: one line, the errno in words, no control characters. */

import { getSystemErrorMap } from "node:util";
import { FopError } from "../../core/errors.ts";

/** What went wrong, in the words of strerror(3). */
export function reason(error: unknown): string {
  if (error instanceof FopError) {
    // A message that says more than the name of the errno is worth more than its words.
    if (error.message !== error.code) return error.message;
    return getSystemErrorMap().get(-error.errno)?.[1] ?? error.code;
  }
  return error instanceof Error ? error.message : String(error);
}

/** A name on a terminal: what would move the cursor, and bytes that are no text, are shown as "?". */
export function shownName(name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not reach a terminal.
  return name.replace(/[\u0000-\u001f\u007f-\u009f\udc80-\udcff]/g, "?");
}
