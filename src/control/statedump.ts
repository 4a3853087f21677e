/**
 * The state of a running volume for people and programs: graph, options, what each translator tells of
 * itself, counts. Plain data; it is put together in one turn and touches no brick.
 */

import { optionKey } from "../core/options.ts";
import type { Dump } from "../core/xlator.ts";
import type { TunedVolume } from "./tuned-volume.ts";

export interface Statedump {
  readonly source: string;
  readonly pid: number;
  /** Settings made on the mount. */
  readonly settings: Readonly<Record<string, string>>;
  /** The graph as its users see it: open files, locks, calls in flight, switches. */
  readonly live: Dump;
  /** What the mount itself tells: inodes, handles. */
  readonly edge: Dump;
  readonly process: Dump;
  /** Parents before children. */
  readonly translators: readonly TranslatorDump[];
}

export interface TranslatorDump {
  readonly name: string;
  readonly type: string;
  readonly children: readonly string[];
  /** As the volfile has them. */
  readonly options: Readonly<Record<string, string>>;
  readonly state: Dump;
}

export function statedump(volume: TunedVolume, source: string, edge: Dump): Statedump {
  const { graph, live } = volume;
  const translators = graph.nodes.toReversed().map((node): TranslatorDump => {
    const section = graph.sectionOf(node);
    const options = section.options.map(({ key, value }) => [
      optionKey(node.definition.options, key) ?? key,
      /password/i.test(key) ? "(hidden)" : value,
    ]);
    return {
      name: section.name,
      type: section.type,
      children: section.subvolumes.map(({ name }) => name),
      options: Object.fromEntries(options),
      state: dumpOf(node.xlator),
    };
  });
  return {
    source,
    pid: process.pid,
    settings: Object.fromEntries(volume.settings),
    live: live.dump(),
    edge,
    process: { uptimeSec: Math.round(process.uptime()), ...process.memoryUsage() },
    translators,
  };
}

/** One translator that fails to tell must not hide the others. */
function dumpOf(xlator: { dump(): Dump }): Dump {
  try {
    return xlator.dump();
  } catch (error) {
    return { error: String(error) };
  }
}

/** The dump as text: a section each, `key: value` lines. */
export function statedumpText(dump: Statedump): string {
  const { source, pid, settings, live, edge, translators } = dump;
  const parts = [
    section("mount", { source, pid, ...edge }),
    section("process", dump.process),
    section("graph", live),
    section("settings", settings),
    ...translators.map(({ name, type, children, options, state }) =>
      section(`${name} (${type})`, {
        ...(children.length > 0 ? { children: children.join(" ") } : {}),
        ...Object.fromEntries(Object.entries(options).map(([key, value]) => [`option ${key}`, value])),
        ...state,
      }),
    ),
  ];
  return `${parts.join("\n\n")}\n`;
}

function section(title: string, values: Dump): string {
  const lines = Object.entries(values).map(([key, value]) => `${key}: ${valueText(value)}`);
  return [`[${title}]`, ...lines].join("\n");
}

function valueText(value: unknown): string {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}
