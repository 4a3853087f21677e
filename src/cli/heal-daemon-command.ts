/**
 * `mortar heal-daemon`: heals a replicated volume until SIGINT or SIGTERM, here or in the background. SIGUSR2
 * makes it look for work at once.
 */

import { resolve } from "node:path";
import { parseSource, sourceText } from "../api/source.ts";
import { keepAlive, nodeEnv } from "../core/env-node.ts";
import { startHealDaemon } from "../process/heal-daemon.ts";
import { openLog, parseLogLevel } from "../process/logging.ts";
import { defaultLogFile, runInBackground } from "./daemon.ts";
import { reportFailure, reportReady } from "./ready.ts";
import { onStopSignal } from "./signals.ts";

export interface HealDaemonFlags {
  readonly foreground?: boolean;
  readonly logFile?: string;
  readonly logLevel?: string;
  readonly logFormat: "text" | "json";
}

export async function healDaemonCommand(sourceArg: string, flags: HealDaemonFlags): Promise<void> {
  const source = parseSource(sourceArg);
  const given = source.kind === "volfile" ? resolve(source.path) : sourceArg;
  const level = parseLogLevel(flags.logLevel ?? "info");
  if (flags.foreground) return healHere(given, level, flags);
  const logFile = resolve(flags.logFile ?? defaultLogFile(`heal-${sourceText(source)}`));
  const args = ["heal-daemon", given, "--foreground", "--log-file", logFile];
  args.push("--log-format", flags.logFormat, "--log-level", level);
  return runInBackground(args, logFile);
}

async function healHere(
  source: string,
  level: ReturnType<typeof parseLogLevel>,
  flags: HealDaemonFlags,
): Promise<void> {
  const log = openLog({
    level,
    format: flags.logFormat,
    ...(flags.logFile === undefined ? {} : { file: resolve(flags.logFile) }),
  });
  keepAlive();
  process.title = `mortar heal-daemon ${source}`;
  const daemon = await startHealDaemon(source, nodeEnv(log), (error) => {
    log.error("cannot heal", { error });
    reportFailure(error.message);
    process.exit(1);
  });
  process.on("SIGUSR2", () => {
    log.info("asked to look for work");
    daemon.wake();
  });
  onStopSignal(async (signal) => {
    log.info("stopping", { signal });
    await daemon.stop();
    process.exit(0);
  });
  log.info("healing", { source, sets: daemon.healers.map(({ set }) => set.name) });
  reportReady();
}
