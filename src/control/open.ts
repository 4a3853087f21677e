/**
 * From a SOURCE to a running volume that can be asked and told: reads or fetches the volfile, makes the
 * settings, starts the graph with its meters, and follows what becomes of the volfile at its source.
 */

import { REGISTRY } from "../../xlators/registry.ts";
import { overrideOptions, type XlatorOption } from "../api/open.ts";
import { ServerVolfile } from "../api/servers.ts";
import type { ServerAddress, Source } from "../api/source.ts";
import { FileVolfile, readVolfile } from "../api/volfile-file.ts";
import type { Env } from "../core/env.ts";
import { keepAlive } from "../core/env-node.ts";
import type { Volfile } from "../graph/volfile.ts";
import { BrickMeters } from "./brick-meters.ts";
import { readProfile } from "./profiles.ts";
import { checkSetting } from "./settings.ts";
import { TunedVolume, type VolfileOrigin } from "./tuned-volume.ts";

export interface OpenTunedOptions {
  readonly env: Env;
  /** Section of the volfile to stand at the top; the last one by default. */
  readonly top?: string;
  readonly xlatorOptions?: readonly XlatorOption[];
  readonly backupServers?: readonly ServerAddress[];
  readonly fetchAttempts?: number;
  /** Name of a profile to set at the start. */
  readonly profile?: string;
}

/** A running volume with the meters of its bricks. */
export interface Tuned {
  readonly volume: TunedVolume;
  readonly meters: BrickMeters;
}

/** Starts a volume from a source. Rejects with UserError. */
export async function openTuned(source: Source, options: OpenTunedOptions): Promise<Tuned> {
  const { env, xlatorOptions = [], backupServers = [], fetchAttempts = 1 } = options;
  const adjust = (volfile: Volfile): Volfile => overrideOptions(volfile, xlatorOptions, env);
  const release = keepAlive();
  try {
    if (source.kind === "volfile") {
      const load = async () => adjust(await readVolfile(source.path));
      const tuned = await startTuned(await load(), { load }, options);
      const follow = new FileVolfile(source.path, env.log);
      tuned.volume.live.onStop(() => follow.close());
      follow.watch((fresh) => void tuned.volume.rebase(adjust(fresh)));
      return tuned;
    }
    const fetched = await ServerVolfile.fetch(source, { env, backupServers, attempts: fetchAttempts });
    const { follow } = fetched;
    try {
      const load = async () => adjust(await follow.reload());
      const tuned = await startTuned(adjust(fetched.volfile), { load }, options);
      tuned.volume.live.onStop(() => follow.close());
      follow.watch((fresh) => void tuned.volume.rebase(adjust(fresh)));
      return tuned;
    } catch (error) {
      follow.close();
      throw error;
    }
  } finally {
    release();
  }
}

async function startTuned(base: Volfile, origin: VolfileOrigin, options: OpenTunedOptions): Promise<Tuned> {
  const { env, top, profile } = options;
  const meters = new BrickMeters(REGISTRY);
  const settings = profile === undefined ? new Map() : profileSettings(profile, base);
  const volume = await TunedVolume.start(base, {
    registry: meters.registry,
    env,
    settings,
    origin,
    ...(top === undefined ? {} : { top }),
  });
  return { volume, meters };
}

/** What of a profile is for this volfile. Throws UserError. */
export function profileSettings(name: string, volfile: Volfile): Map<string, string> {
  const settings = new Map<string, string>();
  for (const [key, value] of readProfile(name)) {
    const target = checkSetting(key, value, volfile, REGISTRY, "lenient");
    if (target.kind !== "refused") settings.set(key, value);
  }
  return settings;
}
