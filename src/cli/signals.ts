/** SIGINT and SIGTERM (and SIGHUP, where it means nothing else) as one orderly end. */

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * A signal soon after the first is the same wish: Ctrl-C reaches every process of a terminal, and npm hands
 * what it got on to its child again.
 */
const SAME_WISH_MS = 2000;

/**
 * Calls `stop` at the first signal. Another one, later, ends the process at once, with the exit code shells
 * expect, for an end that takes too long. With `onHangup` SIGHUP calls that instead.
 */
export function onStopSignal(stop: (signal: NodeJS.Signals) => void, onHangup?: () => void): void {
  let askedMs: number | undefined;
  if (onHangup !== undefined) process.on("SIGHUP", onHangup);
  for (const signal of onHangup === undefined ? [...SIGNALS, "SIGHUP" as const] : SIGNALS)
    process.on(signal, () => {
      if (askedMs === undefined) {
        askedMs = performance.now();
        stop(signal);
      } else if (performance.now() - askedMs > SAME_WISH_MS) process.exit(signal === "SIGINT" ? 130 : 143);
    });
}
