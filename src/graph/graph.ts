/**
 * The graph: translators made from a volfile, started, reconfigured and stopped (spec translators.md 1.2,
 * 1.4).
 *
 * Life: `buildGraph` (no I/O) -> `start` (init bottom-up, then parent-up, until the top says child-up) ->
 * serving -> `stop` (parent-down, fini top-down). A start that fails stops what it had begun before it
 * rejects. Whoever calls `stop` has no fop in flight any more; the graph does not count them.
 *
 * Only what the top needs is made. Several parents may share a child; it is made, started and stopped once.
 *
 * A graph may be built from a running one (`from`): subtrees that are the same in both are not made again but
 * taken along, with their connections, open files and locks. Until `takeOver` they belong to the old graph.
 */

import { distance } from "fastest-levenshtein";
import type { Env, Timer } from "../core/env.ts";
import { FopError, UserError } from "../core/errors.ts";
import { type OptionTable, type OptionValues, parseOptions } from "../core/options.ts";
import { type ChildEvent, type EventSink, XlatorBase, type XlatorDefinition } from "../core/xlator.ts";
import { type LinkedVolfile, linkVolfile, sectionOrigin } from "./link.ts";
import type { Volfile, VolfileSection } from "./volfile.ts";

/** Translator types by name. */
export type Registry = ReadonlyMap<string, XlatorDefinition>;

export interface GraphInit {
  readonly registry: Registry;
  readonly env: Env;
  /** Name of the section to stand at the top; the last one when absent. */
  readonly top?: string;
  /**
   * Sections that are made, started and stopped too, e.g. a server over bricks that the top uses. They hear
   * what their children say, and are not told of parents.
   */
  readonly beside?: readonly string[];
  /** A serving graph, which this one is to replace: what is the same in both is taken along. */
  readonly from?: Graph;
}

/** What became of a new volfile for a running graph. */
export type ReconfigureResult =
  | { readonly kind: "unchanged" }
  /** `changed`: `volume.option` of every option that has a new value now. */
  | { readonly kind: "reconfigured"; readonly changed: readonly string[] }
  /** Nothing was changed: only a new graph can have this volfile. */
  | { readonly kind: "other-tree"; readonly why: string };

/** One translator of the graph with where it came from. */
export interface GraphNode {
  readonly section: VolfileSection;
  readonly definition: XlatorDefinition;
  readonly xlator: XlatorBase;
  /** It was not made for this graph but comes from the one before. */
  readonly taken: boolean;
}

/** Builds without starting. Throws UserError on the first thing wrong, with file and line. */
export function buildGraph(volfile: Volfile, init: GraphInit): Graph {
  const linked = linkVolfile(volfile, init.top, init.beside);
  const nodes = new Map<string, GraphNode>();
  const heard = new Map(
    (init.from?.xlators ?? []).map((xlator) => [xlator, new Set(xlator.parents)] as const),
  );
  for (const section of linked.needed)
    nodes.set(section.name, makeNode(volfile, linked, section, init, nodes));
  if (linked.unused.length > 0)
    init.env.log.warn("volumes of the volfile that the top does not use are not started", {
      top: linked.top.name,
      unused: linked.unused.map((section) => section.name),
    });
  return new Graph(volfile, linked, nodes, init, heard);
}

/** A translator and the child that it shares with another graph. */
interface Seam {
  readonly parent: XlatorBase;
  readonly child: XlatorBase;
}

type State = "built" | "starting" | "serving" | "stopped";

/** A translator together with the values that its options shall have. */
interface Change {
  readonly node: GraphNode;
  readonly values: OptionValues<OptionTable>;
}

export class Graph implements EventSink {
  readonly top: XlatorBase;
  /** Children before parents. */
  readonly nodes: readonly GraphNode[];
  readonly #init: Omit<GraphInit, "from">;
  readonly #listeners = new Set<(event: ChildEvent) => void>();
  readonly #onStop: (() => void | Promise<void>)[] = [];
  #volfile: Volfile;
  #state: State = "built";
  /** The graph that still owns what was taken along. */
  #from: Graph | undefined;
  /** Where what was made for this graph stands on what was taken along, until that is owned here. */
  #seams: readonly Seam[];
  /** Translators whose init succeeded, in that order: exactly these are told to stop. */
  readonly #initialised: XlatorBase[] = [];
  #stopping: Promise<void> | undefined;
  /** Ends a wait for child-up; set while there is one. */
  #abandonStart: (() => void) | undefined;

  /** Use `buildGraph`. */
  constructor(
    volfile: Volfile,
    linked: LinkedVolfile,
    nodes: ReadonlyMap<string, GraphNode>,
    init: GraphInit,
    heard: ReadonlyMap<XlatorBase, ReadonlySet<EventSink>>,
  ) {
    this.#volfile = volfile;
    // Without `from`: each graph would keep the one before it, and all the ones before that.
    const { from, ...own } = init;
    this.#init = own;
    this.nodes = [...nodes.values()];
    this.top = nodes.get(linked.top.name)!.xlator;
    this.top.addParent(this);
    this.#from = from;
    this.#seams = this.nodes.flatMap(({ xlator: child }) =>
      [...child.parents].flatMap((parent) =>
        heard.has(child) && parent instanceof XlatorBase && !heard.get(child)!.has(parent)
          ? [{ parent, child }]
          : [],
      ),
    );
    for (const { parent, child } of this.#seams) parent.borrowChild(child);
  }

  /** Sections that run beside the top. */
  get beside(): readonly string[] {
    return this.#init.beside ?? [];
  }

  get volfile(): Volfile {
    return this.#volfile;
  }

  /** Children before parents. */
  get xlators(): readonly XlatorBase[] {
    return this.nodes.map((node) => node.xlator);
  }

  /** Hears what the top says upwards; returns the way to stop hearing. */
  onEvent(listener: (event: ChildEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Runs `task` when the graph stops, before anything else of it does, and waits for it to end. */
  onStop(task: () => void | Promise<void>): void {
    this.#onStop.push(task);
  }

  onChildEvent(event: ChildEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  /**
   * Inits bottom-up, sends parent-up and resolves when the top can serve. Rejects with UserError when a
   * translator cannot work, when the brick refuses us, when `timeoutMs` (if any) is over, or when `stop` is
   * called meanwhile.
   */
  async start(options: { timeoutMs?: number } = {}): Promise<void> {
    if (this.#state !== "built") throw new Error(`graph "${this.top.name}" was started before`);
    this.#state = "starting";
    try {
      for (const node of this.nodes) if (!node.taken) await this.#initNode(node);
      await this.#serve(options.timeoutMs);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Ends everything; idempotent, never rejects. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /**
   * Takes a new volfile over when its tree is the same one (types, names, children) and only live options
   * differ. Throws UserError when the new volfile is wrong. Nothing changes in either other case.
   */
  reconfigure(volfile: Volfile): ReconfigureResult {
    const { result, steps } = this.#plan(volfile);
    if (result.kind === "other-tree") return result;
    for (const { node, values } of steps) node.xlator.reconfigure(values);
    this.#volfile = volfile;
    return result;
  }

  /** What `reconfigure` would say, or throw: nothing is changed. */
  wouldReconfigure(volfile: Volfile): ReconfigureResult {
    return this.#plan(volfile).result;
  }

  /** All translators are checked here, before the first one is told of anything. */
  #plan(volfile: Volfile): { result: ReconfigureResult; steps: readonly Change[] } {
    const linked = linkVolfile(volfile, this.#init.top, this.#init.beside);
    const why = treeDifference(this.nodes, linked);
    if (why !== undefined) return { result: { kind: "other-tree", why }, steps: [] };
    const steps: Change[] = [];
    const changed: string[] = [];
    for (const [index, node] of this.nodes.entries()) {
      const section = linked.needed[index]!;
      const before = optionsOf(this.#volfile, this.sectionOf(node), node.definition).values;
      const { values } = optionsOf(volfile, section, node.definition);
      const keys = Object.keys(values).filter((key) => !sameValue(before[key], values[key]));
      const fixed = keys.find((key) => !node.definition.options[key]!.live);
      if (fixed !== undefined) {
        const why = `option ${fixed} of volume "${section.name}" cannot change while the graph runs`;
        return { result: { kind: "other-tree", why }, steps: [] };
      }
      checkTogether(volfile, linked, section, node.definition, values);
      if (keys.length > 0) steps.push({ node, values });
      changed.push(...keys.map((key) => `${section.name}.${key}`));
    }
    return {
      result: changed.length === 0 ? { kind: "unchanged" } : { kind: "reconfigured", changed },
      steps,
    };
  }

  /**
   * Ends the graph that this one was built from, without what was taken along: that belongs here from now on,
   * with the options of this graph's volfile. Both graphs serve; nothing is in flight in the old one. Never
   * rejects.
   */
  async takeOver(): Promise<void> {
    const before = this.#from;
    if (before === undefined) return;
    const taken = this.nodes.filter((node) => node.taken);
    for (const { node, values } of this.#newValues(before, taken)) node.xlator.reconfigure(values);
    this.#from = undefined;
    const fresh = new Set(this.#seams.map(({ parent }) => parent));
    await before.#retire(new Set(taken.map(({ xlator }) => xlator)), fresh);
    this.#initialised.unshift(...taken.map(({ xlator }) => xlator));
    for (const { parent, child } of this.#seams) parent.ownChild(child);
    this.#seams = [];
  }

  /** Live options of what was taken along that are not the same in both volfiles. */
  #newValues(before: Graph, taken: readonly GraphNode[]): Change[] {
    return taken.flatMap((node) => {
      const was = optionsOf(before.#volfile, before.sectionOf(node), node.definition).values;
      const { values } = optionsOf(this.#volfile, node.section, node.definition);
      const differs = Object.keys(values).some((key) => !sameValue(was[key], values[key]));
      return differs ? [{ node, values }] : [];
    });
  }

  /** Stops all but `kept`, which forget their parents of here; `fresh` are those of the new graph. */
  async #retire(kept: ReadonlySet<XlatorBase>, fresh: ReadonlySet<XlatorBase>): Promise<void> {
    const seams = this.#seamsOver(kept, fresh);
    for (const { parent, child } of seams) parent.borrowChild(child);
    const own = this.#initialised.filter((xlator) => !kept.has(xlator));
    this.#initialised.splice(0, this.#initialised.length, ...own);
    await this.stop();
    for (const { parent, child } of seams) child.removeParent(parent);
  }

  /**
   * Where something else of this graph stands on what is kept. A translator may be made of several, so that
   * the one which stands on a child is not the node itself: who hears the child says it.
   */
  #seamsOver(kept: ReadonlySet<XlatorBase>, fresh: ReadonlySet<XlatorBase>): Seam[] {
    const byName = new Map(this.nodes.map((node) => [node.section.name, node.xlator]));
    const below = new Set(
      this.nodes
        .filter(({ xlator }) => !kept.has(xlator))
        .flatMap(({ section }) => section.subvolumes.map(({ name }) => byName.get(name)!)),
    );
    return [...below]
      .filter((child) => kept.has(child))
      .flatMap((child) =>
        [...child.parents].flatMap((parent) =>
          parent instanceof XlatorBase && !kept.has(parent) && !fresh.has(parent) ? [{ parent, child }] : [],
        ),
      );
  }

  /** The section of a node in the volfile as it is now. */
  sectionOf(node: GraphNode): VolfileSection {
    return this.#volfile.sections.find((section) => section.name === node.section.name) ?? node.section;
  }

  async #initNode({ section, xlator }: GraphNode): Promise<void> {
    try {
      await xlator.init();
    } catch (error) {
      const who = sectionOrigin(this.#volfile, section);
      if (error instanceof UserError) throw new UserError(`${who}: ${error.message}`, { cause: error });
      if (error instanceof FopError)
        throw new UserError(`${who}: cannot start: ${error.message}`, { cause: error });
      throw error;
    }
    this.#initialised.push(xlator);
  }

  /** Parent-up, then waits for the first child-up of the top. */
  #serve(timeoutMs: number | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const top = this.top.name;
      let why = "no answer from below";
      let timer: Timer | undefined;
      const unsubscribe = this.onEvent((event) => {
        if (event.type === "child-connecting") why = event.why;
        else if (event.type === "child-up") settle();
        else if (event.type === "auth-failed") settle(`"${top}": refused: ${event.why}`);
      });
      const settle = (failure?: string): void => {
        unsubscribe();
        timer?.cancel();
        this.#abandonStart = undefined;
        if (failure === undefined && this.#state === "starting") this.#state = "serving";
        if (failure === undefined) resolve();
        else reject(new UserError(failure));
      };
      this.#abandonStart = () => settle(`"${top}": stopped before it was up`);
      if (timeoutMs !== undefined)
        timer = this.#init.env.clock.after(timeoutMs, () =>
          settle(`"${top}": not up after ${timeoutMs / 1000} s: ${why}`),
        );
      this.top.onParentEvent({ type: "parent-up" });
      // What was taken along was told so long ago, and does not say again by itself that it can serve.
      for (const { parent, child } of this.#seams) child.repeatTo(parent);
    });
  }

  async #stop(): Promise<void> {
    this.#state = "stopped";
    this.#abandonStart?.();
    for (const task of this.#onStop) await task();
    if (this.#initialised.length > 0) this.top.onParentEvent({ type: "parent-down" });
    this.#listeners.clear();
    for (const xlator of this.#initialised.toReversed()) {
      try {
        await xlator.fini();
      } catch (error) {
        this.#init.env.log.error("a translator did not stop cleanly", { xlator: xlator.name, error });
      }
    }
    this.#initialised.length = 0;
    // Given up before it took over: what it stands on lives on in the other graph.
    if (this.#from !== undefined) for (const { parent, child } of this.#seams) child.removeParent(parent);
  }
}

/**
 * The translator of a running graph that can stand for a section of a new one: same name and type, all of its
 * children taken along, and no difference in an option that is fixed while it runs.
 */
function takenNode(
  from: Graph,
  volfile: Volfile,
  section: VolfileSection,
  definition: XlatorDefinition,
  nodes: ReadonlyMap<string, GraphNode>,
): XlatorBase | undefined {
  const before = from.nodes.find((node) => node.section.name === section.name);
  if (before === undefined || before.section.type !== section.type) return undefined;
  const { xlator } = before;
  const children = before.section.subvolumes.map((child) => child.name);
  if (children.join(" ") !== section.subvolumes.map((child) => child.name).join(" ")) return undefined;
  if (!children.every((child) => nodes.get(child)!.taken)) return undefined;
  const was = optionsOf(from.volfile, from.sectionOf(before), definition).values;
  const { values } = optionsOf(volfile, section, definition);
  const fixed = Object.keys(values).filter((key) => !definition.options[key]!.live);
  return fixed.every((key) => sameValue(was[key], values[key])) ? xlator : undefined;
}

function makeNode(
  volfile: Volfile,
  linked: LinkedVolfile,
  section: VolfileSection,
  init: GraphInit,
  nodes: ReadonlyMap<string, GraphNode>,
): GraphNode {
  const definition = init.registry.get(section.type);
  if (!definition) {
    const where = sectionOrigin(volfile, section, section.typeLine);
    throw new UserError(`${where}: unknown type "${section.type}"; ${nearest(section.type, init.registry)}`);
  }
  if (definition.refused !== undefined)
    throw new UserError(
      `${sectionOrigin(volfile, section, section.typeLine)}: ${section.type} is refused: ${definition.refused}`,
    );
  checkChildCount(volfile, section, definition);
  const { values, unknown } = optionsOf(volfile, section, definition);
  // What is taken along hears of its new options later: this is the time to refuse them.
  checkTogether(volfile, linked, section, definition, values);
  const taken = init.from && takenNode(init.from, volfile, section, definition, nodes);
  if (taken !== undefined) return { section, definition, xlator: taken, taken: true };
  const children = section.subvolumes.map((child) => nodes.get(child.name)!.xlator);
  if (unknown.length > 0)
    init.env.log.debug("options that Mortar does not know are ignored", { xlator: section.name, unknown });
  const rawOptions = givenOptions(section);
  const { name, type } = section;
  try {
    const xlator = definition.create({ name, type, options: values, rawOptions, children, env: init.env });
    return { section, definition, xlator, taken: false };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`${sectionOrigin(volfile, section)}: ${error.message}`, { cause: error });
  }
}

function checkChildCount(volfile: Volfile, section: VolfileSection, definition: XlatorDefinition): void {
  const { min, max } = definition.children;
  const count = section.subvolumes.length;
  if (count >= min && count <= max) return;
  const are = `${count} ${count === 1 ? "is" : "are"} given`;
  throw new UserError(
    `${sectionOrigin(volfile, section)}: ${definition.type} takes ${subvolumeCount(min, max)}, but ${are}`,
  );
}

function subvolumeCount(min: number, max: number): string {
  if (max === 0) return "no subvolumes";
  if (min === max) return `exactly ${min} subvolume${min === 1 ? "" : "s"}`;
  return `${Number.isFinite(max) ? `${min} to ${max}` : `at least ${min}`} subvolumes`;
}

/** Every translator of GlusterFS takes this one; Mortar's level is set for the whole process. */
const UNIVERSAL_OPTIONS: ReadonlySet<string> = new Set(["log-level"]);

function optionsOf(
  volfile: Volfile,
  section: VolfileSection,
  definition: XlatorDefinition,
): { values: OptionValues<OptionTable>; unknown: string[] } {
  const parsed = parseOptions(definition.options, givenOptions(section), {
    who: sectionOrigin(volfile, section),
    whoOf: (key) => sectionOrigin(volfile, section, lineOf(section, key)),
  });
  return { values: parsed.values, unknown: parsed.unknown.filter((key) => !isOpenOption(definition, key)) };
}

function givenOptions(section: VolfileSection): ReadonlyMap<string, string> {
  return new Map(section.options.map(({ key, value }) => [key, value]));
}

/** Throws UserError when the options of a section cannot stand together, or where it stands. */
function checkTogether(
  volfile: Volfile,
  linked: LinkedVolfile,
  section: VolfileSection,
  definition: XlatorDefinition,
  options: OptionValues<OptionTable>,
): void {
  if (definition.check === undefined) return;
  const why = definition.check({
    options,
    rawOptions: givenOptions(section),
    children: section.subvolumes.map(({ name }) => name),
    typesAbove: typesAbove(linked, section),
  });
  if (why !== undefined) throw new UserError(`${sectionOrigin(volfile, section)}: ${why}`);
}

function typesAbove({ needed }: LinkedVolfile, section: VolfileSection): ReadonlySet<string> {
  const below = new Set([section.name]);
  const types = new Set<string>();
  // Children come before parents.
  for (const { name, type, subvolumes } of needed)
    if (subvolumes.some((child) => below.has(child.name))) {
      below.add(name);
      types.add(type);
    }
  return types;
}

function lineOf(section: VolfileSection, key: string): number | undefined {
  return section.options.findLast((option) => option.key === key)?.line;
}

/** Whether a type takes an option that its table does not have. */
export function isOpenOption(definition: XlatorDefinition, key: string): boolean {
  return UNIVERSAL_OPTIONS.has(key) || definition.openOptions?.test(key) === true;
}

/** Why two trees are not the same one; undefined when they are. Both lists have children before parents. */
function treeDifference(nodes: readonly GraphNode[], linked: LinkedVolfile): string | undefined {
  if (nodes.length !== linked.needed.length)
    return `it has ${linked.needed.length} volumes instead of ${nodes.length}`;
  for (const [index, { section: before }] of nodes.entries()) {
    const now = linked.needed[index]!;
    if (before.name !== now.name) return `volume "${now.name}" stands where "${before.name}" was`;
    if (before.type !== now.type) return `volume "${now.name}" is ${now.type} instead of ${before.type}`;
    const children = now.subvolumes.map((child) => child.name).join(" ");
    if (before.subvolumes.map((child) => child.name).join(" ") !== children)
      return `volume "${now.name}" has other subvolumes: ${children}`;
  }
  return undefined;
}

function sameValue(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function nearest(type: string, registry: Registry): string {
  const close = [...registry.keys()]
    .map((known) => ({ known, far: distance(type, known) }))
    .filter(({ far }) => far <= Math.max(3, type.length / 3))
    .sort((a, b) => a.far - b.far)
    .slice(0, 3)
    .map(({ known }) => known);
  return close.length > 0
    ? `did you mean ${close.join(" or ")}?`
    : "`mortar graph --types` lists the known ones";
}
