/** The control socket of a mount in this process, from its first question to the unmount. */

import type { RunningMount } from "../../mount/main.ts";
import { answer, type Subject } from "../control/answers.ts";
import type { Tuned } from "../control/open.ts";
import { serveControl } from "../control/socket.ts";
import type { Env } from "../core/env.ts";

/** Serves until the mount is gone. A socket that cannot be made is a warning: the mount works without it. */
export async function serveMountControl(
  mount: RunningMount,
  { volume, meters }: Tuned,
  source: string,
  env: Env,
): Promise<void> {
  const { mountpoint } = mount.edge;
  const subject: Subject = {
    volume,
    meters,
    mountpoint,
    source,
    mountedMs: env.clock.nowMs(),
    nowMs: () => env.clock.nowMs(),
    edgeFigures: () => mount.meter.snapshot(),
    edgeDump: () => mount.edge.dump(),
  };
  try {
    const socket = await serveControl(mountpoint, (question) => answer(subject, question), env.log);
    void mount.closed.then(() => socket.close());
  } catch (error) {
    env.log.warn("this mount cannot be asked or told", { error });
  }
}
