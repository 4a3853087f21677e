/**
 * Trial of the caching translators: what each is good for, on one brick over TCP. The kernel is told to keep
 * nothing (timeouts of 0, direct I/O), so that the translators are measured and not its own caches.
 */

import { join } from "node:path";
import type { Brick, Lab, Make, Mount } from "../test/support/peers.ts";
import { clientVolfile, section } from "../test/support/volfiles.ts";
import type { Figure } from "./figures.ts";
import type { TrialRun, TrialScale } from "./trials.ts";

const FILE_BYTES = 4096;
const DEADLINE_MS = 600_000;
/** After the first one. */
const PASSES = 3;

/** A load, and the layers (bottom up, "type option value ...") that it is tried with. */
interface Load {
  readonly text: (files: number) => string;
  readonly stacks: readonly (readonly string[])[];
  readonly command: (mountpoint: string) => readonly [command: string, ...args: string[]];
}

const LOADS: readonly Load[] = [
  {
    text: (files) => `ls -l of ${files} files`,
    stacks: [[], ["md-cache"], ["readdir-ahead", "md-cache"]],
    command: (mountpoint) => ["ls", "-l", join(mountpoint, "files")],
  },
  {
    text: (files) => `cat of ${files} files of 4 KiB`,
    stacks: [[], ["md-cache"], ["open-behind", "quick-read cache-timeout 60", "md-cache"]],
    command: (mountpoint) => ["sh", "-c", 'cat "$0"/* > /dev/null', join(mountpoint, "files")],
  },
  {
    text: () => "dd bs=128k, one request at a time",
    stacks: [[], ["read-ahead"], ["io-cache cache-size 1GB"]],
    command: (mountpoint) => ["dd", `if=${join(mountpoint, "large")}`, "of=/dev/null", "bs=128k"],
  },
];

/** Of each load the first pass after the mount, and the median of those that follow. */
export async function runCaches({ lab, scale, makes, progress }: TrialRun): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const make of makes) {
    const brick = await lab.startBrick(make, lab.makeBrickDirectory("cached"));
    await fill(lab, make, brick, scale);
    for (const load of LOADS) {
      const name = load.text(scale.files);
      for (const layers of load.stacks) {
        const which =
          layers.length === 0 ? "no cache" : layers.map((layer) => layer.split(" ")[0]).join(" and ");
        progress(`caches: ${make}: ${name}: ${which}`);
        const mount = await mountWith(lab, make, brick, layers);
        const times: number[] = [];
        for (let pass = 0; pass <= PASSES; pass++) times.push(await timeOf(lab, load, mount));
        await lab.unmount(mount);
        const [first, ...again] = times;
        const text = `${name}, ${make}, ${which}`;
        figures.push({ text: `${text}, first pass`, value: first!, unit: "ms" });
        figures.push({ text: `${text}, again`, value: again.sort((a, b) => a - b)[1]!, unit: "ms" });
      }
    }
  }
  return figures;
}

async function fill(
  lab: Lab,
  make: Make,
  brick: Brick,
  { files: count, imageMiB }: TrialScale,
): Promise<void> {
  const mount = await mountWith(lab, make, brick, []);
  const files = join(mount.mountpoint, "files");
  const script = 'mkdir "$0"; head -c "$1" /dev/urandom | split -a 4 -b "$2" - "$0/file-"';
  await lab.processes.run("sh", ["-c", script, files, String(count * FILE_BYTES), String(FILE_BYTES)]);
  const large = `of=${join(mount.mountpoint, "large")}`;
  await lab.processes.run("dd", ["if=/dev/urandom", large, "bs=1M", `count=${imageMiB / 4}`]);
  await lab.unmount(mount);
}

async function mountWith(lab: Lab, make: Make, brick: Brick, layers: readonly string[]): Promise<Mount> {
  const { directory, address } = brick;
  let [text, below] = [clientVolfile({ directory, address }), "vol"];
  for (const layer of layers) {
    const [type, ...option] = layer.split(" ");
    text += section(`vol-${type}`, `performance/${type}`, option.length > 0 ? [option.join(" ")] : [], below);
    below = `vol-${type}`;
  }
  return lab.mount(make, lab.writeFile("cached.vol", text), { options: ["direct-io-mode=enable"] });
}

async function timeOf(lab: Lab, { command }: Load, { mountpoint }: Mount): Promise<number> {
  const [program, ...args] = command(mountpoint);
  const started = performance.now();
  await lab.processes.run(program, args, { timeoutMs: DEADLINE_MS });
  return performance.now() - started;
}
