/**
 * The embedded volume as one that can be asked and told. What is set on it is kept in its `volume.json`, with
 * what a profile sets at a start.
 */

import { REGISTRY } from "../../xlators/registry.ts";
import { overrideOptions } from "../api/open.ts";
import type { Graph } from "../graph/graph.ts";
import type { Volfile } from "../graph/volfile.ts";
import { BrickMeters } from "./brick-meters.ts";
import { type OpenTunedOptions, profileSettings, type Tuned } from "./open.ts";
import type { Settings } from "./settings.ts";
import { TunedVolume } from "./tuned-volume.ts";

/** What is needed of an embedded volume (process/embedded.ts). */
export interface Embedded {
  readonly volfile: Volfile;
  readonly beside: readonly string[];
  readonly settings: Settings;
  keep(settings: Settings): Promise<void>;
  ready(graph: Graph): Promise<void>;
}

/** Starts an embedded volume. Rejects with UserError. */
export async function openEmbeddedTuned(
  embedded: Embedded,
  { env, xlatorOptions = [], profile }: Pick<OpenTunedOptions, "env" | "xlatorOptions" | "profile">,
): Promise<Tuned> {
  const base = overrideOptions(embedded.volfile, xlatorOptions, env);
  const meters = new BrickMeters(REGISTRY);
  const added = profile === undefined ? [] : profileSettings(profile, base);
  const settings = new Map([...embedded.settings, ...added]);
  const volume = await TunedVolume.start(base, {
    registry: meters.registry,
    env,
    beside: embedded.beside,
    settings,
    keep: (kept) => embedded.keep(kept),
  });
  try {
    await embedded.ready(volume.graph);
    if (profile !== undefined) await embedded.keep(settings);
  } catch (error) {
    await volume.live.stop();
    throw error;
  }
  return { volume, meters };
}
