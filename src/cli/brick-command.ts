/** `mortar brick`: serves until SIGINT or SIGTERM, then stops its graph and exits 0. */

import { resolve } from "node:path";
import { parseXlatorOption } from "../api/open.ts";
import { keepAlive, nodeEnv } from "../core/env-node.ts";
import { parseListen, startBrick } from "../process/brick.ts";
import { openLog, parseLogLevel } from "../process/logging.ts";
import { reportReady } from "./ready.ts";
import { onStopSignal } from "./signals.ts";

export interface BrickFlags {
  readonly listen?: string;
  readonly volumeName?: string;
  readonly xlatorOption: string[];
  readonly logFile?: string;
  readonly logLevel?: string;
  readonly logFormat: "text" | "json";
}

export async function brickCommand(volfile: string, flags: BrickFlags): Promise<void> {
  const listen = flags.listen === undefined ? undefined : parseListen(flags.listen);
  const log = openLog({
    level: parseLogLevel(flags.logLevel ?? "info"),
    format: flags.logFormat,
    ...(flags.logFile === undefined ? {} : { file: resolve(flags.logFile) }),
  });
  // A graph that only waits for clients may have nothing else that keeps the process alive.
  keepAlive();
  process.title = `mortar brick ${volfile}`;
  const graph = await startBrick(resolve(volfile), {
    env: nodeEnv(log),
    xlatorOptions: flags.xlatorOption.map(parseXlatorOption),
    ...(listen ? { listen } : {}),
    ...(flags.volumeName === undefined ? {} : { top: flags.volumeName }),
  });
  onStopSignal(async (signal) => {
    log.info("stopping", { signal });
    await graph.stop();
    process.exit(0);
  });
  process.stdout.write(`ready ${graph.top.name}\n`);
  reportReady();
}
