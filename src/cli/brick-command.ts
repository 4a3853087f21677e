/**
 * `mortar brick`: serves one brick or several until SIGINT or SIGTERM, then stops their graphs and exits 0.
 *
 * Several bricks in one process share its event loop (GlusterFS: cluster.brick-multiplex): a host with fewer
 * cores than bricks answers a replicated write with fewer wake-ups. They also share its end.
 */

import { resolve } from "node:path";
import { parseXlatorOption } from "../api/open.ts";
import { keepAlive, nodeEnv } from "../core/env-node.ts";
import { UserError } from "../core/errors.ts";
import { parseListen, startBricks } from "../process/brick.ts";
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

export async function brickCommand(volfiles: readonly string[], flags: BrickFlags): Promise<void> {
  if (volfiles.length > 1) refuseForSeveral(volfiles, flags);
  const listen = flags.listen === undefined ? undefined : parseListen(flags.listen);
  const log = openLog({
    level: parseLogLevel(flags.logLevel ?? "info"),
    format: flags.logFormat,
    ...(flags.logFile === undefined ? {} : { file: resolve(flags.logFile) }),
  });
  // A graph that only waits for clients may have nothing else that keeps the process alive.
  keepAlive();
  process.title = `mortar brick ${volfiles.join(" ")}`;
  const graphs = await startBricks(
    volfiles.map((volfile) => ({
      path: resolve(volfile),
      env: nodeEnv(volfiles.length > 1 ? log.child({ volfile }) : log),
    })),
    {
      xlatorOptions: flags.xlatorOption.map(parseXlatorOption),
      ...(listen ? { listen } : {}),
      ...(flags.volumeName === undefined ? {} : { top: flags.volumeName }),
    },
  );
  onStopSignal(async (signal) => {
    log.info("stopping", { signal });
    await Promise.all(graphs.map((graph) => graph.stop()));
    process.exit(0);
  });
  process.stdout.write(`ready ${graphs.map((graph) => graph.top.name).join(" ")}\n`);
  reportReady();
}

/** What names one address or one section cannot mean all of them. */
function refuseForSeveral(volfiles: readonly string[], flags: BrickFlags): void {
  const count = volfiles.length;
  if (flags.listen !== undefined)
    throw new UserError(
      `brick: --listen ${flags.listen}: one address cannot be that of ${count} volfiles; ` +
        "write transport.socket.listen-port into each",
    );
  if (flags.volumeName !== undefined)
    throw new UserError(
      `brick: --volume-name ${flags.volumeName}: one name cannot be the top of ${count} volfiles; ` +
        "the last volume of each is its top",
    );
  const twice = volfiles.find(
    (path, at) => volfiles.findIndex((other) => resolve(other) === resolve(path)) < at,
  );
  if (twice !== undefined) throw new UserError(`brick: ${twice}: is named twice; name each volfile once`);
}
