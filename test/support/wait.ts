/**
 * Waiting in tests: poll a condition until it holds or its deadline passes. Nothing here waits for time
 * alone.
 */

/** How often a condition is looked at. */
const POLL_MS = 20;

/** A pause between two looks at a condition; for waits that need more than a boolean. */
export function pause(ms = POLL_MS): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Resolves with the first value of `look` that is neither undefined nor false; rejects when `deadlineMs`
 * passed without one. `what` names the condition in the failure, `detail` adds what was seen last (a log, an
 * output).
 */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  { deadlineMs = 10_000, detail }: { deadlineMs?: number; detail?: () => string } = {},
): Promise<T> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const value = await look();
    if (value !== undefined && value !== false) return value;
    if (performance.now() >= end) {
      const seen = detail === undefined ? "" : `\n${detail()}`;
      throw new Error(`${what}: not within ${deadlineMs} ms${seen}`);
    }
    await pause();
  }
}
