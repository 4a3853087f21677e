/**
 * `mortar start` (`npm start`): the embedded volume, mounted, in the foreground until Ctrl-C.
 *
 * Prints the mount point, the graph and commands to try; on a terminal a status line follows. SIGINT
 * and SIGTERM flush, unmount and end with exit code 0.
 */

import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { EdgeKind } from "../../mount/edge.ts";
import { type RunningMount, startMount } from "../../mount/main.ts";
import type { RunningHeal } from "../../xlators/cluster/replicate/crawl/heal-queue.ts";
import { openEmbeddedTuned } from "../control/embedded.ts";
import type { Tuned } from "../control/open.ts";
import { readProfile } from "../control/profiles.ts";
import { nodeEnv } from "../core/env-node.ts";
import { UserError } from "../core/errors.ts";
import type { Graph } from "../graph/graph.ts";
import { type EmbeddedOptions, type EmbeddedVolume, openEmbedded } from "../process/embedded.ts";
import { type Layout, parseLayout } from "../process/embedded-state.ts";
import { type HealDaemon, healInside } from "../process/heal-daemon.ts";
import { openLog, parseLogLevel } from "../process/logging.ts";
import { describeGraph, renderOutline } from "./graph-view.ts";
import { serveMountControl } from "./mount-control.ts";
import { parseOptionLists } from "./mount-options.ts";
import { onStopSignal } from "./signals.ts";
import { StatusLine } from "./status-line.ts";

export interface StartFlags {
  readonly data?: string;
  readonly mount?: string;
  readonly options: string[];
  readonly edge: EdgeKind;
  readonly replica?: string;
  readonly shard?: string;
  readonly newBrick?: string;
  readonly profile?: string;
  readonly logFile?: string;
  readonly logLevel?: string;
  readonly logFormat: "text" | "json";
}

const NAME = "instances";
const PROFILE = "virt";

export async function startCommand(flags: StartFlags): Promise<void> {
  // npm changes into the package; relative paths are meant from where the user stands.
  const here = process.env["INIT_CWD"] ?? process.cwd();
  const dataDir = flags.data === undefined ? join("var", NAME) : resolve(here, flags.data);
  const mountpoint = flags.mount === undefined ? defaultMountpoint() : resolve(here, flags.mount);
  const options = parseOptionLists(flags.options);
  for (const line of options.warnings) process.stderr.write(`mortar: ${line}\n`);
  const profile = flags.profile ?? options.profile;
  // One that is unknown must not leave a new volume behind, whose layout is for good.
  if (profile !== undefined) readProfile(profile);
  const log = openLog({
    level: parseLogLevel(flags.logLevel ?? "warn"),
    format: flags.logFormat,
    ...(flags.logFile === undefined ? {} : { file: resolve(here, flags.logFile) }),
  });
  const env = nodeEnv(log);
  process.title = "mortar start";
  await makeMountpoint(mountpoint);
  const volume = await openEmbedded(dataDir, NAME, embeddedOptions(flags));
  let daemon: HealDaemon | undefined;
  let tuned: Tuned | undefined;
  const mount = await startMount({
    openGraph: async () => {
      const { xlatorOptions } = options;
      tuned = await openEmbeddedTuned(volume, { env, xlatorOptions, ...profileOf(profile, volume) });
      const { live } = tuned.volume;
      daemon = healInside(live.graph);
      live.onGraph((graph) => {
        daemon = healInside(graph);
      });
      return live;
    },
    mountpoint,
    edge: flags.edge,
    options: options.edge,
    source: volume.name,
    kernelFlags: options.kernelFlags,
    env,
  });
  await serveMountControl(mount, tuned!, volume.name, env);
  await serve(mount, volume, () => daemon?.healers.flatMap((healer) => healer.running) ?? []);
}

/** The profile to set, for good. New volumes with several copies are for images. */
function profileOf(profile: string | undefined, { isNew }: EmbeddedVolume): { profile?: string } {
  if (profile !== undefined) return { profile };
  return isNew ? { profile: PROFILE } : {};
}

function embeddedOptions({ replica, shard, newBrick }: StartFlags): EmbeddedOptions {
  if (newBrick !== undefined && !/^\d$/.test(newBrick))
    throw new UserError(`--new-brick "${newBrick}": is no index of a brick`);
  return {
    ...(replica === undefined ? {} : { layout: parseLayout(replica) }),
    ...(shard === undefined ? {} : { shard }),
    ...(newBrick === undefined ? {} : { newBrick: Number(newBrick) }),
  };
}

async function serve(
  mount: RunningMount,
  volume: EmbeddedVolume,
  heals: () => readonly RunningHeal[],
): Promise<never> {
  process.stdout.write(welcome(mount, volume));
  const status = new StatusLine(process.stdout, mount, heals);
  let asked = false;
  onStopSignal(() => {
    asked = true;
    status.end();
    process.stdout.write("\nflushing and unmounting ...\n");
    void mount.stop();
  });
  await mount.closed;
  status.end();
  process.stdout.write(asked ? "unmounted\n" : `${mount.edge.mountpoint} was unmounted; ending\n`);
  process.exit(0);
}

function welcome(mount: RunningMount, volume: EmbeddedVolume): string {
  const { mountpoint, kind } = mount.edge;
  return [
    `Volume "${volume.name}" (${LAYOUT_TEXT[volume.layout]}) is mounted on ${mountpoint} (edge ${kind}); ` +
      `its data is in ${volume.dataDir}`,
    ...volume.notes,
    "",
    graphText(mount.graph.graph).trimEnd(),
    "",
    "Try:",
    `  qemu-img create -f qcow2 ${mountpoint}/vm1.qcow2 20G`,
    "  qemu-system-x86_64 -m 1024 -nographic -drive " +
      `file=${mountpoint}/vm1.qcow2,format=qcow2,if=virtio,cache=none,aio=native`,
    ...(volume.beside.length > 0
      ? [`  npx mortar heal ${volume.dataDir} info     # what waits for healing`]
      : []),
    `  npx mortar stats ${mountpoint} --watch     # what calls cost; \`get\` and \`set\` for options`,
    `  kill ${process.pid}     # or Ctrl-C here: flushes, unmounts and ends; the data stays`,
    "",
    "",
  ].join("\n");
}

const LAYOUT_TEXT: Readonly<Record<Layout, string>> = {
  "1": "one copy",
  "3": "three copies",
  "2+1": "two copies and an arbiter",
};

function graphText(graph: Graph): string {
  return renderOutline(describeGraph(graph));
}

function defaultMountpoint(): string {
  return process.getuid?.() === 0 ? join("/srv", NAME) : resolve("mnt");
}

async function makeMountpoint(mountpoint: string): Promise<void> {
  try {
    await mkdir(mountpoint, { recursive: true });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOTCONN")
      throw new UserError(
        `mount point "${mountpoint}": a dead mount is there; remove it: umount -l ${mountpoint}`,
      );
    if (code !== "EEXIST") throw new UserError(`mount point "${mountpoint}": ${message}`);
  }
}
