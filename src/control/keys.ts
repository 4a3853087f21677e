/**
 * Keys of options as people know them, and where in a volfile they lead. Pure.
 *
 * One option answers to the key of `gluster volume set` (`cluster.eager-lock`), to its type and name
 * (`replicate.eager-lock`), to its section and name (`vol-replicate-0.eager-lock`, that section alone), and
 * to its bare name where no other type has it. What a running mount cannot change is said with its reason; an
 * unknown key comes with the nearest names.
 */

import { distance } from "fastest-levenshtein";
import { UserError } from "../core/errors.ts";
import { formatMode, formatSize, type OptionSpec, optionKey, type PercentOrSize } from "../core/options.ts";
import type { Registry } from "../graph/graph.ts";
import type { Volfile, VolfileSection } from "../graph/volfile.ts";
import { switchedType, switchKeyOf, switchKeys } from "./translators.ts";

/** What a key leads to. */
export type Target =
  /** A translator that is there or not. */
  | { readonly kind: "switch"; readonly key: string }
  /** An option of all sections of its type, or of `section` alone. */
  | { readonly kind: "option"; readonly option: KnownOption; readonly section?: string }
  /** Not for a mount to change. */
  | { readonly kind: "refused"; readonly why: string };

export interface KnownOption {
  /** What it is called in answers. */
  readonly name: string;
  readonly type: string;
  /** In the volfile. */
  readonly key: string;
  readonly spec: OptionSpec<unknown>;
}

/** Options that say what a volume is, or how its parts are reached: another value would be another volume. */
const FIXED: Readonly<Record<string, readonly [RegExp, string]>> = {
  "protocol/client": [
    /^(remote-(host|port|subvolume)$|transport-type|transport\.address-family|transport\.socket\.(connect|source|ssl)|username|password|subdir-mount|testing)/,
    "it says how the brick is reached",
  ],
  "cluster/replicate": [
    /^(afr-pending-xattr|volume-id|arbiter-count|thin-arbiter|pending-xattr|iam-)/,
    "the bricks have it in their xattrs",
  ],
  "debug/io-stats": [/^(volume-id|unique-id)$/, "it names the volume"],
};

/** A brick is opened once for the life of a process, and so is what stands on it. */
const OF_A_BRICK = /^(storage|protocol\/server|features\/(locks|index|arbiter|access-control|selinux))/;

const AT_SERVERS = "; set it with gluster volume set";

/** Keys of bricks, which lie behind servers as a rule. */
const OF_BRICKS =
  /^(server|storage|auth|ssl|changelog|geo-replication|bitrot|features\.(quota|trash|read-only|worm|barrier))\b/;

const ON_THE_BRICKS = "files on the bricks depend on it";

/** Keys of `gluster volume set` that no graph has, with whose they are. */
const ELSEWHERE: readonly (readonly [RegExp, string])[] = [
  [/^(nfs|ganesha|user|snap-)/, "it is of other programs"],
  [/^cluster\.(server-quorum|brick-multiplex|max-bricks|daemon-log|enable-shared)/, "it is of glusterd"],
  [/^cluster\.(shd-|self-heal-daemon|heal-timeout)/, "it is of the heal daemon"],
  [/^features\.(selinux|utime)$/, ON_THE_BRICKS],
];

/** Keys that nobody could set for a mount that runs. */
const NOWHERE: readonly (readonly [RegExp, string])[] = [
  [
    /^performance\.(\w+-prio-threads|io-thread-count|iot-)/,
    "it is of io-threads, which Mortar has no use for",
  ],
  [/^client\.ssl$|^network\.compression/, "connections would have to be made anew; mount again"],
];

/** Keys that say whether a volume has a translator, which a mount does not decide. */
export const PRESENT: ReadonlyMap<string, string> = new Map([
  ["features.shard", "features/shard"],
  ["features.ctime", "features/utime"],
]);

/**
 * Finds what a key leads to in a volfile. A key that nobody knows throws UserError, or is refused where
 * `unknown` is "lenient".
 */
export function findKey(
  key: string,
  volfile: Volfile,
  registry: Registry,
  unknown: "strict" | "lenient" = "strict",
): Target {
  if (switchedType(volfile, key) !== undefined) return { kind: "switch", key };
  const hasServers = !volfile.sections.some(({ type }) => type.startsWith("storage/"));
  const elsewhere = (why: string): Target => ({ kind: "refused", why: hasServers ? why + AT_SERVERS : why });
  if (PRESENT.has(key)) return elsewhere(ON_THE_BRICKS);
  const found = findOption(key, volfile, registry);
  if (found !== undefined) return checked(found);
  if (hasServers && OF_BRICKS.test(key)) return elsewhere("it is of the bricks");
  const [, owner] = ELSEWHERE.find(([pattern]) => pattern.test(key)) ?? [];
  if (owner !== undefined) return elsewhere(owner);
  const [, why] = NOWHERE.find(([pattern]) => pattern.test(key)) ?? [];
  if (why !== undefined) return { kind: "refused", why };
  const parked = allOptions(registry).find((option) => option.spec.volumeKey === key);
  if (parked !== undefined) return missingType(parked, hasServers);
  if (unknown === "lenient") return { kind: "refused", why: "this volume has no such option" };
  throw new UserError(`"${key}": no such option; ${nearestKeys(key, volfile, registry)}`);
}

/** Every option of a volfile's sections, once a type, with the sections that have it. */
export function optionsIn(volfile: Volfile, registry: Registry): Map<KnownOption, VolfileSection[]> {
  const found = new Map<KnownOption, VolfileSection[]>();
  const byType = new Map<string, VolfileSection[]>();
  for (const section of volfile.sections) {
    const same = byType.get(section.type);
    if (same) same.push(section);
    else byType.set(section.type, [section]);
  }
  for (const option of allOptions(registry)) {
    const sections = byType.get(option.type);
    if (sections !== undefined) found.set(option, sections);
  }
  return found;
}

/** The value a section has, as people write it. */
export function valueIn(section: VolfileSection, { key, spec }: KnownOption, registry: Registry): string {
  if (/password/i.test(key)) return "(hidden)";
  const table = registry.get(section.type)!.options;
  const given = section.options.findLast((option) => optionKey(table, option.key) === key);
  return given === undefined ? showValue(spec.default, spec) : normalised(given.value, spec);
}

/** One spelling for each value: booleans are on and off, sizes have their unit, permissions are octal. */
export function normalised(text: string, spec: OptionSpec<unknown>): string {
  const value = spec.parse(text);
  const isShown = typeof value === "boolean" || spec.kind === "size" || spec.kind === "mode";
  return isShown ? showValue(value, spec) : text;
}

function showValue(value: unknown, { kind }: OptionSpec<unknown>): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  if (kind === "size" && typeof value === "number") return formatSize(value);
  if (kind === "mode" && typeof value === "number") return formatMode(value);
  if (Array.isArray(value)) return value.join(",");
  if (typeof value === "object" && value !== null) {
    const share = value as Partial<Record<"percent" | "bytes", number>> & Partial<PercentOrSize>;
    return share.percent === undefined ? formatSize(share.bytes ?? 0) : `${share.percent}%`;
  }
  return String(value ?? "");
}

function allOptions(registry: Registry): KnownOption[] {
  let known = OPTIONS.get(registry);
  if (known === undefined) {
    known = [...registry.values()].flatMap(({ type, options }) =>
      Object.entries(options).map(([key, spec]) => ({
        name: spec.volumeKey ?? `${type.split("/").at(-1)}.${key}`,
        type,
        key,
        spec,
      })),
    );
    OPTIONS.set(registry, known);
  }
  return known;
}

const OPTIONS = new WeakMap<Registry, KnownOption[]>();

function findOption(
  key: string,
  volfile: Volfile,
  registry: Registry,
): { option: KnownOption; section?: string } | undefined {
  const here = [...optionsIn(volfile, registry)];
  const named = here.find(([option]) => option.name === key || typeName(option) === key);
  if (named) return { option: named[0] };
  for (const [option, sections] of here) {
    const section = sections.find(({ name }) => key === `${name}.${option.key}`);
    if (section) return { option, section: section.name };
  }
  const bare = here.filter(([option]) => option.key === key || option.spec.aliases?.includes(key));
  if (bare.length > 1)
    throw new UserError(
      `"${key}": several translators have it; say which: ${bare.map(([option]) => option.name).join(", ")}`,
    );
  return bare[0] && { option: bare[0][0] };
}

/** Why nothing becomes of what a key is set to; undefined where something does. */
export function whyUnused(target: Target, volfile: Volfile, registry: Registry): string | undefined {
  if (target.kind === "option") return target.option.spec.unused;
  return target.kind === "switch" ? registry.get(switchedType(volfile, target.key)!)?.passThrough : undefined;
}

function typeName({ type, key }: KnownOption): string {
  return `${type.split("/").at(-1)}.${key}`;
}

function checked(found: { option: KnownOption; section?: string }): Target {
  const { type, key, spec } = found.option;
  const fixed = FIXED[type];
  if (fixed?.[0].test(key)) return { kind: "refused", why: `read-only: ${fixed[1]}` };
  if (!spec.live && OF_A_BRICK.test(type))
    return { kind: "refused", why: "read-only while the volume runs: the brick was opened with it" };
  return { kind: "option", ...found };
}

/** An option of a translator that the volume does not have now. */
function missingType(option: KnownOption, hasServers: boolean): Target {
  if (switchKeyOf(option.type) !== undefined) return checked({ option });
  const inside = !hasServers && option.type === "protocol/client" ? "; its bricks are in this process" : "";
  return { kind: "refused", why: `this volume has no ${option.type}${inside}` };
}

/** Letters of a name that say which one is meant. */
const PART_MIN = 4;

function nearestKeys(key: string, volfile: Volfile, registry: Registry): string {
  const names = new Set([...optionsIn(volfile, registry).keys()].map((option) => option.name));
  for (const name of switchKeys(volfile)) names.add(name);
  const bare = key.split(".").at(-1)!;
  const near = [...names]
    .map((name) => {
      const own = name.split(".").at(-1)!;
      // A part of a name is as near as a slip of the pen.
      const far = bare.length >= PART_MIN && own.includes(bare) ? 1 : distance(bare, own);
      return { name, far: Math.min(distance(key, name), far) };
    })
    .filter(({ far }) => far <= Math.max(2, bare.length / 3))
    .sort((a, b) => a.far - b.far)
    .slice(0, 3)
    .map(({ name }) => name);
  return near.length > 0 ? `did you mean ${near.join(" or ")}?` : "`mortar get MOUNTPOINT` lists them";
}
