/** `mortar mount`: checks what can be checked at once, then mounts here or in the background. */

import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type { EdgeKind } from "../../mount/edge.ts";
import { parseXlatorOption } from "../api/open.ts";
import { parseSource, type Source, sourceText } from "../api/source.ts";
import { openTuned, type Tuned } from "../control/open.ts";
import type { TunedVolume } from "../control/tuned-volume.ts";
import { nodeEnv } from "../core/env-node.ts";
import { UserError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { openLog, parseLogLevel } from "../process/logging.ts";
import { defaultLogFile, runInBackground } from "./daemon.ts";
import { serveMountControl } from "./mount-control.ts";
import { adjustSource, backupServers, type ParsedMountOptions, parseOptionLists } from "./mount-options.ts";
import { inBackground, reportReady } from "./ready.ts";
import { onStopSignal } from "./signals.ts";

export interface MountFlags {
  readonly options: string[];
  readonly edge: EdgeKind;
  readonly foreground?: boolean;
  readonly volumeName?: string;
  readonly volfileId?: string;
  readonly xlatorOption: string[];
  readonly logFile?: string;
  readonly logLevel?: string;
  readonly logFormat: "text" | "json";
}

export async function mountCommand(sourceArg: string, where: string, flags: MountFlags): Promise<void> {
  const options = parseOptionLists(flags.options);
  flags.xlatorOption.forEach(parseXlatorOption);
  if (flags.logLevel !== undefined) parseLogLevel(flags.logLevel);
  const source = sourceOf(sourceArg, options, flags);
  const mountpoint = resolve(where);
  if (!inBackground) for (const line of options.warnings) process.stderr.write(`mortar: ${line}\n`);
  if (flags.foreground) return mountHere(source, mountpoint, options, flags);
  const logFile = resolve(flags.logFile ?? options.logFile ?? defaultLogFile(mountpoint));
  return runInBackground(backgroundArguments(source, sourceArg, mountpoint, logFile, flags), logFile);
}

function sourceOf(text: string, options: ParsedMountOptions, flags: MountFlags): Source {
  const source = adjustSource(parseSource(text), options);
  if (source.kind === "volfile") {
    if (flags.volfileId !== undefined)
      throw new UserError("mount: --volfile-id goes with a server's volume, and the source is a file");
    return { ...source, path: resolve(source.path) };
  }
  return flags.volfileId === undefined ? source : { ...source, volume: flags.volfileId };
}

/** The same command for the process in the background, whose directory is another one. */
function backgroundArguments(
  source: Source,
  sourceArg: string,
  mountpoint: string,
  logFile: string,
  flags: MountFlags,
): string[] {
  const args = ["mount", source.kind === "volfile" ? source.path : sourceArg, mountpoint, "--foreground"];
  args.push("--edge", flags.edge, "--log-file", logFile, "--log-format", flags.logFormat);
  for (const list of flags.options) args.push("-o", list);
  for (const option of flags.xlatorOption) args.push("--xlator-option", option);
  if (flags.volumeName !== undefined) args.push("--volume-name", flags.volumeName);
  if (flags.volfileId !== undefined) args.push("--volfile-id", flags.volfileId);
  if (flags.logLevel !== undefined) args.push("--log-level", flags.logLevel);
  return args;
}

async function mountHere(
  source: Source,
  mountpoint: string,
  options: ParsedMountOptions,
  flags: MountFlags,
): Promise<void> {
  const logFile = flags.logFile ?? (inBackground ? undefined : options.logFile);
  const level = flags.logLevel === undefined ? (options.logLevel ?? "info") : parseLogLevel(flags.logLevel);
  const log = openLog({
    level,
    format: flags.logFormat,
    ...(logFile === undefined ? {} : { file: logFile }),
  });
  const env = nodeEnv(log);
  for (const line of options.warnings) log.warn(line);
  setProcess(options, sourceText(source));
  const top = flags.volumeName ?? options.volumeName;
  const { startMount } = await import("../../mount/main.ts");
  let tuned: Tuned | undefined;
  const mount = await startMount({
    openGraph: async () => {
      tuned = await openTuned(source, {
        env,
        xlatorOptions: [...options.xlatorOptions, ...flags.xlatorOption.map(parseXlatorOption)],
        fetchAttempts: options.fetchAttempts,
        ...(source.kind === "server" ? { backupServers: backupServers(source, options) } : {}),
        ...(top === undefined ? {} : { top }),
        ...(options.profile === undefined ? {} : { profile: options.profile }),
      });
      return tuned.volume.live;
    },
    mountpoint,
    edge: flags.edge,
    options: edgeOptions(source, options),
    source: sourceText(source),
    kernelFlags: options.kernelFlags,
    env,
  });
  onStopSignal(
    (signal) => {
      log.info("unmounting", { signal });
      void mount.stop();
    },
    () => void reload(tuned!.volume, log),
  );
  await serveMountControl(mount, tuned!, sourceText(source), env);
  log.info("mounted", {
    source: sourceText(source),
    mountpoint: mount.edge.mountpoint,
    edge: mount.edge.kind,
  });
  reportReady();
  await mount.closed;
  log.info("unmounted", { mountpoint });
  process.exit(0);
}

/** SIGHUP: the volfile is read again, from its file or its server. */
async function reload(volume: TunedVolume, log: Logger): Promise<void> {
  try {
    const change = await volume.reload();
    log.info("SIGHUP: the volfile was read again", { change: change.kind });
  } catch (error) {
    log.error("SIGHUP: the volfile is not taken over", { error });
  }
}

/** A directory in the source is the root of the mount; an option of that name adds to it. */
function edgeOptions(source: Source, options: ParsedMountOptions): ParsedMountOptions["edge"] {
  const directory = source.kind === "server" ? source.directory : "/";
  if (directory === "/") return options.edge;
  const below = options.edge["subdir-mount"];
  return { ...options.edge, "subdir-mount": below === "/" ? directory : `${directory}${below}` };
}

function setProcess(options: ParsedMountOptions, source: string): void {
  process.title = options.processName ?? `mortar mount ${source}`;
  if (options.oomScoreAdj === undefined) return;
  try {
    writeFileSync("/proc/self/oom_score_adj", String(options.oomScoreAdj));
  } catch (error) {
    throw new UserError(`mount: option oom-score-adj: ${(error as Error).message}`);
  }
}
