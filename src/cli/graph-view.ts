/**
 * A graph for people and for other programs: a tree in text, Graphviz dot, mermaid, JSON. One description,
 * four renderings.
 */

import { FOP_NAMES, type FopName } from "../core/fops.ts";
import { formatMode, optionKey } from "../core/options.ts";
import { type Graph, type GraphNode, isOpenOption, type Registry } from "../graph/graph.ts";

export type GraphFormat = "text" | "dot" | "mermaid" | "json";

export interface NodeDescription {
  readonly name: string;
  readonly type: string;
  readonly children: readonly string[];
  /** Fops with code of this layer's own, in protocol order. */
  readonly fops: readonly FopName[];
  /** Set when the layer does nothing, and that is right. */
  readonly passThrough: string | undefined;
  /** Options whose value is not the default, as written. */
  readonly options: readonly OptionDescription[];
  /** Options that Mortar does not know, as written; of a layer that does nothing, none. */
  readonly ignored: readonly { readonly key: string; readonly value: string }[];
}

export interface OptionDescription {
  readonly key: string;
  readonly value: string;
  readonly default: string;
}

export interface GraphDescription {
  readonly top: string;
  /** Parents before children. */
  readonly nodes: readonly NodeDescription[];
}

/** Secrets are shown to nobody. */
const HIDDEN = /password/i;
const FOPS_PER_LINE = 8;

export function describeGraph(graph: Graph): GraphDescription {
  return { top: graph.top.name, nodes: graph.nodes.map(describeNode).toReversed() };
}

export function renderGraph(graph: GraphDescription, format: GraphFormat): string {
  switch (format) {
    case "text":
      return renderText(graph);
    case "dot":
      return renderDot(graph);
    case "mermaid":
      return renderMermaid(graph);
    case "json":
      return `${JSON.stringify(graph, undefined, 2)}\n`;
  }
}

/** The tree with its options, without the fops of each layer. */
export function renderOutline(graph: GraphDescription): string {
  return renderText(graph, ({ passThrough }) => (passThrough === undefined ? [] : ["passes through"]));
}

/** One line a type: implemented, or why it passes through or is refused. */
export function describeTypes(registry: Registry, format: GraphFormat): string {
  const types = [...registry.values()].map(({ type, children, passThrough, refused, options }) => ({
    type,
    children: { min: children.min, max: Number.isFinite(children.max) ? children.max : null },
    options: Object.keys(options),
    passThrough: passThrough ?? null,
    refused: refused ?? null,
  }));
  if (format === "json") return `${JSON.stringify(types, undefined, 2)}\n`;
  const width = Math.max(...types.map(({ type }) => type.length));
  const lines = types.map(({ type, passThrough, refused }) => {
    const does = passThrough
      ? `passes through: ${passThrough}`
      : refused
        ? `refused: ${refused}`
        : "implemented";
    return `${type.padEnd(width)}  ${does}`;
  });
  return `${lines.join("\n")}\n`;
}

function describeNode(node: GraphNode): NodeDescription {
  const { section, definition, xlator } = node;
  const options: OptionDescription[] = [];
  const ignored: { key: string; value: string }[] = [];
  for (const [key, written] of xlator.rawOptions) {
    const value = HIDDEN.test(key) ? "(hidden)" : written;
    const known = optionKey(definition.options, key);
    const option = known === undefined ? undefined : definition.options[known];
    if (known === undefined || !option) {
      if (definition.passThrough === undefined && !isOpenOption(definition, key))
        ignored.push({ key, value });
      else if (definition.openOptions?.test(key)) options.push({ key, value, default: "none" });
    } else if (JSON.stringify(option.parse(written)) !== JSON.stringify(option.default))
      options.push({ key: known, value, default: showValue(option.default, option.kind) });
  }
  return {
    name: section.name,
    type: section.type,
    children: section.subvolumes.map((child) => child.name),
    fops: definition.passThrough === undefined ? FOP_NAMES.filter((fop) => xlator.defines(fop)) : [],
    passThrough: definition.passThrough,
    options,
    ignored,
  };
}

function showValue(value: unknown, kind: string): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  if (kind === "mode") return formatMode(value as number);
  if (value === "") return "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function fopSummary(node: NodeDescription): string {
  if (node.passThrough !== undefined) return `passes through: ${node.passThrough}`;
  if (node.fops.length === FOP_NAMES.length) return "handles every fop";
  if (node.fops.length === 0) return "handles no fop";
  const missing = FOP_NAMES.filter((fop) => !node.fops.includes(fop));
  if (missing.length <= FOPS_PER_LINE) return `handles every fop but ${missing.join(", ")}`;
  return `handles ${node.fops.join(", ")}`;
}

/** `does`: lines on what a layer is for. */
function renderText(
  graph: GraphDescription,
  does: (node: NodeDescription) => string[] = (node) => [fopSummary(node)],
): string {
  const byName = new Map(graph.nodes.map((node) => [node.name, node]));
  const shown = new Set<string>();
  const explained = new Set<string>();
  const lines: string[] = [];
  const print = (name: string, head: string, tail: string): void => {
    const node = byName.get(name)!;
    if (shown.has(name)) {
      lines.push(`${head}${name}  (shown above)`);
      return;
    }
    shown.add(name);
    lines.push(`${head}${name}  [${node.type}]`);
    const bar = `${tail}${node.children.length > 0 ? "│ " : "  "}  `;
    // What a type does is said once; the copies of a replicated volume differ in options alone.
    const once = explained.has(node.type) ? [] : does(node);
    explained.add(node.type);
    for (const line of [...once, ...optionLines(node)]) lines.push(...wrap(line, bar, 110));
    for (const [index, child] of node.children.entries()) {
      const last = index === node.children.length - 1;
      print(child, `${tail}${last ? "└─ " : "├─ "}`, `${tail}${last ? "   " : "│  "}`);
    }
  };
  print(graph.top, "", "");
  return `${lines.join("\n")}\n`;
}

function optionLines(node: NodeDescription): string[] {
  return [
    ...node.options.map(({ key, value, default: usual }) => `${key} = ${value} (default ${usual})`),
    ...(node.ignored.length > 0
      ? [`ignored options: ${node.ignored.map(({ key, value }) => `${key}=${value}`).join(", ")}`]
      : []),
  ];
}

/** Breaks at spaces; follow-on lines are indented. */
function wrap(text: string, indent: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent.length + line.length + 1 + word.length > width) {
      lines.push(indent + line);
      line = `  ${word}`;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, indent + line];
}

function renderDot(graph: GraphDescription): string {
  const quote = (text: string): string => `"${text.replace(/["\\]/g, "\\$&")}"`;
  const lines = [`digraph ${quote(graph.top)} {`, "  node [shape=box];"];
  for (const node of graph.nodes) {
    const label = `${quote(node.name).slice(0, -1)}\\n${node.type}"`;
    const style = node.passThrough === undefined ? "" : ", style=dashed";
    lines.push(`  ${quote(node.name)} [label=${label}, tooltip=${quote(fopSummary(node))}${style}];`);
    for (const child of node.children) lines.push(`  ${quote(node.name)} -> ${quote(child)};`);
  }
  return `${[...lines, "}"].join("\n")}\n`;
}

function renderMermaid(graph: GraphDescription): string {
  const ids = new Map(graph.nodes.map((node, index) => [node.name, `n${index}`]));
  const lines = ["flowchart TB"];
  for (const node of graph.nodes) {
    const remark = node.passThrough === undefined ? "" : "<br/>(passes through)";
    const label = `${node.name}<br/>${node.type}${remark}`;
    lines.push(`  ${ids.get(node.name)}["${label.replaceAll('"', "#quot;")}"]`);
    for (const child of node.children) lines.push(`  ${ids.get(node.name)} --> ${ids.get(child)}`);
  }
  return `${lines.join("\n")}\n`;
}
