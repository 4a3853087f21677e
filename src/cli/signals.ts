/** SIGINT, SIGTERM and SIGHUP as one orderly end. */

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Calls `stop` at the first signal. A second one ends the process at once, with the exit code shells expect,
 * for an end that takes too long.
 */
export function onStopSignal(stop: (signal: NodeJS.Signals) => void): void {
  let asked = false;
  for (const signal of SIGNALS)
    process.on(signal, () => {
      if (asked) process.exit(signal === "SIGINT" ? 130 : 143);
      asked = true;
      stop(signal);
    });
}
