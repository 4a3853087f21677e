/**
 * The replica sets of a volume, opened for healing: of its graph only what stands at and below each
 * cluster/replicate, a graph of its own for each of them.
 *
 * A GlusterFS server is asked for the volfile of its own heal daemon first, as the client's lacks the
 * daemon's options; older servers have only the latter. Heals on access stay off the way GlusterFS' daemon
 * has it (spec translators.md 4.2): this process heals what it means to heal.
 */

import type { ReplicaSet } from "../../xlators/cluster/replicate/replica-set.ts";
import { Replicate } from "../../xlators/cluster/replicate/replicate.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { isRefusal, ServerVolfile } from "../api/servers.ts";
import { parseSource, type ServerSource, type Source, sourceText } from "../api/source.ts";
import { FileVolfile, readVolfile } from "../api/volfile-file.ts";
import type { Env } from "../core/env.ts";
import { UserError } from "../core/errors.ts";
import type { ChildEvent, EventSink, XlatorBase } from "../core/xlator.ts";
import { buildGraph, type Graph } from "../graph/graph.ts";
import { linkVolfile } from "../graph/link.ts";
import { type Volfile, type VolfileSection, withOptions } from "../graph/volfile.ts";

const TYPE = "cluster/replicate";

/** Tells of what becomes of a volfile at its source. */
type Follow = ServerVolfile | FileVolfile;

/** What a healing process sets, whatever the volfile says. */
const HEALER_OPTIONS = {
  "iam-self-heal-daemon": "on",
  "background-self-heal-count": "0",
  "data-self-heal": "on",
  "metadata-self-heal": "on",
  "entry-self-heal": "on",
} as const;

/** One replica set of a volume. */
export interface OpenSet {
  readonly graph: Graph;
  readonly set: ReplicaSet;
  /** By child: `HOST:DIRECTORY`, as people and `gluster` name a brick. */
  readonly bricks: readonly string[];
}

export class Replicas {
  /** The source, for messages. */
  readonly source: string;
  readonly sets: readonly OpenSet[];
  readonly #env: Env;
  readonly #follow: Follow;

  private constructor(source: string, sets: readonly OpenSet[], env: Env, follow: Follow) {
    this.source = source;
    this.sets = sets;
    this.#env = env;
    this.#follow = follow;
    follow.watch((fresh) => this.#changed(fresh));
  }

  /** Reads or fetches the volfile and builds the graphs; nothing connects yet. Rejects with UserError. */
  static async open(text: string, env: Env): Promise<Replicas> {
    const source = parseSource(text);
    const { volfile, follow } = await load(source, env);
    try {
      return new Replicas(sourceText(source), buildSets(volfile, sourceText(source), env), env, follow);
    } catch (error) {
      follow.close();
      throw error;
    }
  }

  /**
   * Connects. `onFailure` hears of a set that can never serve: all of its bricks refuse this client. What
   * cannot be reached yet is tried for ever.
   */
  start(onFailure: (error: Error) => void): void {
    for (const { graph } of this.sets) graph.start().catch(onFailure);
  }

  /**
   * Connects and waits until all bricks have said whether they are there. Rejects with UserError when a set
   * has none of its bricks, at the latest after `timeoutMs`.
   */
  async connect(timeoutMs: number): Promise<void> {
    await Promise.all(this.sets.map((set) => connectSet(set, this.source, timeoutMs)));
  }

  async stop(): Promise<void> {
    this.#follow.close();
    await Promise.all(this.sets.map(({ graph }) => graph.stop()));
  }

  /** Options that may change on a running graph are taken over; anything else needs a new start. */
  #changed(fresh: Volfile): void {
    // One that is refused for one set is refused for all: a UserError, before any of them has changed.
    for (const { graph, set } of this.sets) graph.wouldReconfigure(cut(fresh, set.name));
    for (const { graph, set } of this.sets) {
      const result = graph.reconfigure(cut(fresh, set.name));
      if (result.kind === "other-tree")
        this.#env.log.warn("the volume changed in a way that needs a new start", { why: result.why });
      else if (result.kind === "reconfigured")
        this.#env.log.info("options changed", { changed: result.changed });
    }
  }
}

/** A tool does not wait for bricks that are all away, as a mount or a daemon would. */
async function connectSet({ graph, set }: OpenSet, source: string, timeoutMs: number): Promise<void> {
  const reports = new Reports(set.children.length, (why) => {
    reports.nobody = why;
    void graph.stop();
  });
  for (const child of set.children) child.addParent(reports);
  try {
    await graph.start({ timeoutMs });
  } catch (error) {
    if (reports.nobody === undefined) throw error;
    throw new UserError(
      `"${source}": no brick is connected: ${reports.nobody}; start the volume or its bricks`,
    );
  } finally {
    for (const child of set.children) child.removeParent(reports);
  }
}

/** Hears of children until one is up; tells when each of them has said that it is not. */
class Reports implements EventSink {
  /** Why none is there, once that is known. */
  nobody: string | undefined;
  readonly #away = new Set<XlatorBase>();
  readonly #count: number;
  readonly #onNobody: (why: string) => void;

  constructor(count: number, onNobody: (why: string) => void) {
    this.#count = count;
    this.#onNobody = onNobody;
  }

  onChildEvent(event: ChildEvent, from: XlatorBase): void {
    if (event.type === "child-up") this.#away.clear();
    if (event.type !== "child-connecting") return;
    this.#away.add(from);
    if (this.#away.size === this.#count && this.nobody === undefined) this.#onNobody(event.why);
  }
}

async function load(source: Source, env: Env): Promise<{ volfile: Volfile; follow: Follow }> {
  if (source.kind === "volfile")
    return { volfile: await readVolfile(source.path), follow: new FileVolfile(source.path, env.log) };
  if (source.directory !== "/")
    throw new UserError(
      `source "${sourceText(source)}": heals work on whole volumes; leave the directory out`,
    );
  const ofDaemon: ServerSource = { ...source, volume: `shd/${source.volume}` };
  try {
    const found = await ServerVolfile.fetch(ofDaemon, { env });
    if (replicateSections(found.volfile).length > 0) return found;
    found.follow.close();
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
  return ServerVolfile.fetch(source, { env });
}

function replicateSections(volfile: Volfile): readonly VolfileSection[] {
  return volfile.sections.filter(({ type, subvolumes }) => type === TYPE && subvolumes.length > 1);
}

function buildSets(volfile: Volfile, source: string, env: Env): OpenSet[] {
  const sections = replicateSections(volfile);
  if (sections.length === 0)
    throw new UserError(`"${source}": is not replicated: there is nothing that could be healed`);
  return sections.map(({ name }) => {
    const graph = buildGraph(cut(volfile, name), { registry: REGISTRY, env });
    const { set } = graph.top as Replicate;
    return { graph, set, bricks: set.children.map((child) => brickName(graph, child.name)) };
  });
}

/** A replicate section and what it needs, with a healer's options. */
function cut(volfile: Volfile, name: string): Volfile {
  const { needed } = linkVolfile(volfile, name);
  return withOptions({ fileName: volfile.fileName, sections: needed }, name, HEALER_OPTIONS);
}

/** The replica sets inside a graph that serves something else too. */
export function setsIn(graph: Graph): OpenSet[] {
  return graph.xlators
    .filter((xlator) => xlator instanceof Replicate)
    .map(({ set }) => ({
      graph,
      set,
      bricks: set.children.map((child) => brickName(graph, child.name)),
    }));
}

/** How people know the brick below this volume of a graph. */
function brickName(graph: Graph, name: string): string {
  const byName = new Map(graph.volfile.sections.map((section) => [section.name, section]));
  for (let at = byName.get(name); at !== undefined; at = byName.get(at.subvolumes[0]?.name ?? "")) {
    const option = (key: string): string | undefined =>
      at?.options.findLast((given) => given.key === key)?.value;
    const directory = option("remote-subvolume");
    if (directory !== undefined) return `${option("remote-host") ?? "localhost"}:${directory}`;
    if (at.type.startsWith("storage/")) return option("directory") ?? name;
  }
  return name;
}
