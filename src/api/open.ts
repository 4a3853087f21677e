/**
 * From a SOURCE to a running graph: read or fetch the volfile, apply options from outside, build, start. The
 * one way in for the library, the mount and the tests.
 */

import picomatch from "picomatch";
import { REGISTRY } from "../../xlators/registry.ts";
import type { Env } from "../core/env.ts";
import { keepAlive, nodeEnv } from "../core/env-node.ts";
import { UserError } from "../core/errors.ts";
import { SILENT } from "../core/log.ts";
import { buildGraph, type Graph } from "../graph/graph.ts";
import { type Volfile, withOptions } from "../graph/volfile.ts";
import { type FetchOptions, ServerVolfile } from "./servers.ts";
import { parseSource, type ServerAddress, type ServerSource, type Source } from "./source.ts";
import { FileVolfile, readVolfile } from "./volfile-file.ts";
import { type Identity, Volume } from "./volume.ts";

/** Sets an option of every volume whose name matches, as GlusterFS' `--xlator-option PATTERN.KEY=VALUE`. */
export interface XlatorOption {
  readonly pattern: string;
  readonly key: string;
  readonly value: string;
}

export interface OpenOptions {
  /** Clock, randomness and log; the real ones and no log by default. */
  readonly env?: Env;
  /** Section of the volfile to stand at the top; the last one by default. */
  readonly top?: string;
  /** Sections to run beside the top, e.g. a server over its bricks. */
  readonly beside?: readonly string[];
  readonly xlatorOptions?: readonly XlatorOption[];
  /** How long the graph may take to come up; 10 s by default, three tries of a client to connect. */
  readonly timeoutMs?: number;
  /** Servers to ask for the volfile after the one in the source. */
  readonly backupServers?: readonly ServerAddress[];
  /** Rounds through all servers; 1 by default. */
  readonly fetchAttempts?: number;
  /** Gives up waiting for servers and bricks; the rejection is the signal's reason. */
  readonly signal?: AbortSignal;
}

const START_TIMEOUT_MS = 10_000;

/**
 * Opens a volume for use in-process; a directory in the source is its root. Rejects with UserError when the
 * source, the volfile or a brick does not let us, with FopError when there is no such directory; nothing
 * stays behind then.
 */
export async function openVolume(
  source: string | Source,
  options: OpenOptions & { readonly identity?: Identity } = {},
): Promise<Volume> {
  const parsed = typeof source === "string" ? parseSource(source) : source;
  const volume = new Volume(await openGraph(parsed, options), options.identity);
  const directory = parsed.kind === "server" ? parsed.directory : "/";
  if (directory === "/") return volume;
  try {
    return await volume.at(directory);
  } catch (error) {
    await volume.close();
    throw error;
  }
}

/** A started graph; the caller stops it. One from a server follows changes of its volume's options. */
export async function openGraph(source: string | Source, options: OpenOptions = {}): Promise<Graph> {
  const parsed = typeof source === "string" ? parseSource(source) : source;
  const env = options.env ?? nodeEnv(SILENT);
  const release = keepAlive();
  try {
    if (parsed.kind === "volfile") return await openVolfileGraph(parsed.path, { ...options, env });
    return await openServerGraph(parsed, { ...options, env });
  } finally {
    release();
  }
}

async function openServerGraph(source: ServerSource, options: OpenOptions & { env: Env }): Promise<Graph> {
  const { env } = options;
  const { volfile, follow } = await ServerVolfile.fetch(source, fetchOptions(options, env));
  try {
    const graph = await startVolfile(volfile, options);
    graph.onStop(() => follow.close());
    follow.watch((fresh) => takeOptions(graph, fresh, options));
    return graph;
  } catch (error) {
    follow.close();
    throw error;
  }
}

async function openVolfileGraph(path: string, options: OpenOptions & { env: Env }): Promise<Graph> {
  const graph = await startVolfile(await readVolfile(path), options);
  const follow = new FileVolfile(path, options.env.log);
  graph.onStop(() => follow.close());
  follow.watch((fresh) => takeOptions(graph, fresh, options));
  return graph;
}

function takeOptions(graph: Graph, fresh: Volfile, { env, xlatorOptions }: OpenOptions & { env: Env }): void {
  const result = graph.reconfigure(overrideOptions(fresh, xlatorOptions ?? [], env));
  if (result.kind === "other-tree")
    env.log.warn("the volume changed in a way that needs a new mount", { why: result.why });
  else if (result.kind === "reconfigured") env.log.info("options changed", { changed: result.changed });
}

function fetchOptions(options: OpenOptions, env: Env): FetchOptions {
  const { backupServers = [], fetchAttempts = 1 } = options;
  return { env, backupServers, attempts: fetchAttempts };
}

/** Builds and starts a graph from a volfile in hand. */
export async function startVolfile(volfile: Volfile, options: OpenOptions = {}): Promise<Graph> {
  const { env = nodeEnv(SILENT), top, timeoutMs = START_TIMEOUT_MS, signal } = options;
  signal?.throwIfAborted();
  const graph = buildGraph(overrideOptions(volfile, options.xlatorOptions ?? [], env), {
    registry: REGISTRY,
    env,
    ...(top === undefined ? {} : { top }),
    ...(options.beside === undefined ? {} : { beside: options.beside }),
  });
  const giveUp = (): void => void graph.stop();
  signal?.addEventListener("abort", giveUp, { once: true });
  try {
    await graph.start({ timeoutMs });
    signal?.throwIfAborted();
    return graph;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", giveUp);
  }
}

/** The volfile of a source, as it is. */
export async function loadVolfile(source: Source, options: OpenOptions = {}): Promise<Volfile> {
  if (source.kind === "volfile") return readVolfile(source.path);
  const release = keepAlive();
  try {
    const { env = nodeEnv(SILENT) } = options;
    const { volfile, follow } = await ServerVolfile.fetch(source, fetchOptions(options, env));
    follow.close();
    return volfile;
  } finally {
    release();
  }
}

/** `PATTERN.KEY=VALUE`; the first dot and the first equals sign after it separate. Throws UserError. */
export function parseXlatorOption(text: string): XlatorOption {
  const match = /^([^.=]+)\.([^=]+)=(.*)$/.exec(text);
  if (!match) throw new UserError(`xlator-option "${text}": is not PATTERN.KEY=VALUE`);
  return { pattern: match[1]!, key: match[2]!, value: match[3]! };
}

/**
 * The volfile with options set from outside; a pattern that matches nothing is a warning, as it may serve
 * other volumes.
 */
export function overrideOptions(volfile: Volfile, overrides: readonly XlatorOption[], env: Env): Volfile {
  let result = volfile;
  for (const { pattern, key, value } of overrides) {
    // fnmatch(3) without FNM_PATHNAME: a star matches slashes too, as brick names are paths.
    const matches = picomatch(pattern, { bash: true, dot: true, nobrace: true, noextglob: true });
    const names = volfile.sections.map((section) => section.name).filter((name) => matches(name));
    if (names.length === 0) env.log.warn("xlator-option: no volume of this graph matches", { pattern, key });
    for (const name of names) result = withOptions(result, name, { [key]: value });
  }
  return result;
}
