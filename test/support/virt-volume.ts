/** Volumes of glusterd with the options of `group virt` and small blocks, and what tests do on them. */

import type { FileAgent } from "./file-agent.ts";
import { GlusterVolume, type VolumeKind } from "./glusterd.ts";
import type { Lab } from "./peers.ts";

const MIB = 2 ** 20;
/** What glusterd takes of `group virt` where there are no copies: it refuses the group as a whole. */
const VIRT_WITHOUT_COPIES = [
  "performance.quick-read off",
  "performance.read-ahead off",
  "performance.io-cache off",
  "network.remote-dio disable",
  "performance.strict-o-direct on",
  "features.shard on",
  "network.ping-timeout 20",
  "cluster.lookup-optimize off",
];

/** Runs `use` on a new volume, which is taken away again whatever happens. */
export async function withVirtVolume(
  lab: Lab,
  kind: VolumeKind,
  use: (volume: GlusterVolume) => Promise<void>,
): Promise<void> {
  const volume = await GlusterVolume.create(lab, kind);
  try {
    await volume.setAll(kind === "distribute 2" ? VIRT_WITHOUT_COPIES : ["group virt"]);
    await volume.setAll(["features.shard-block-size 4MB"]);
    await use(volume);
  } finally {
    await volume.remove();
  }
}

export async function mountTheirs(lab: Lab, volume: GlusterVolume): Promise<string> {
  const place = lab.makeDirectory("theirs");
  await lab.processes.run("mount", ["-t", "glusterfs", volume.source, place]);
  return place;
}

/** Past the kernel's pages. */
export async function readWhole(agent: FileAgent, path: string): Promise<Buffer> {
  const fd = await agent.open(path, "O_RDONLY|O_DIRECT");
  const parts: Buffer[] = [];
  for (;;) {
    const part = await agent.read(fd, MIB, parts.length * MIB);
    parts.push(part);
    if (part.length < MIB) break;
  }
  await agent.close(fd);
  return Buffer.concat(parts);
}
