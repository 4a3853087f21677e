/**
 * Translators that an option switches on and off (`performance.write-behind on`): a section that is put into
 * the volfile or taken out of it, where glusterd 10 would have it (spec translators.md 1.7). Pure.
 */

import { UserError } from "../core/errors.ts";
import { type Volfile, type VolfileSection, volfileSection } from "../graph/volfile.ts";

interface Switched {
  readonly key: string;
  readonly type: string;
  /** Behind the volume's name in the section's. */
  readonly suffix: string;
  /** What its section says. */
  readonly options?: Readonly<Record<string, string>>;
}

/** From the bottom up, as glusterd stacks them below debug/io-stats. */
const SWITCHED: readonly Switched[] = [
  { key: "performance.write-behind", type: "performance/write-behind", suffix: "write-behind" },
  { key: "performance.read-ahead", type: "performance/read-ahead", suffix: "read-ahead" },
  { key: "performance.readdir-ahead", type: "performance/readdir-ahead", suffix: "readdir-ahead" },
  { key: "performance.io-cache", type: "performance/io-cache", suffix: "io-cache" },
  { key: "performance.open-behind", type: "performance/open-behind", suffix: "open-behind" },
  { key: "performance.quick-read", type: "performance/quick-read", suffix: "quick-read" },
  { key: "performance.nl-cache", type: "performance/nl-cache", suffix: "nl-cache" },
  { key: "performance.stat-prefetch", type: "performance/md-cache", suffix: "md-cache" },
  { key: "performance.client-io-threads", type: "performance/io-threads", suffix: "io-threads" },
];

/** An option of protocol/client; where no brick is behind a network, a translator of its own. */
const REMOTE_DIO: Switched = {
  key: "network.remote-dio",
  type: "features/remote-dio",
  suffix: "remote-dio",
  options: { "filter-O_DIRECT": "on" },
};

const ON = /^(1|on|yes|true|enable)$/i;
const TOP_TYPE = "debug/io-stats";
/** What stands above REMOTE_DIO: these go by O_DIRECT themselves, or send it down by fds of their own. */
const ABOVE_REMOTE_DIO = /^(debug|performance)\/|^features\/(shard|utime|read-only)$/;

/** What can be switched in a volfile. */
function switchedIn(volfile: Volfile): readonly Switched[] {
  const hasClients = volfile.sections.some(({ type }) => type === "protocol/client");
  return hasClients ? SWITCHED : [REMOTE_DIO, ...SWITCHED];
}

/** Keys that switch a translator of a volfile, in the order of a graph from the bottom up. */
export function switchKeys(volfile: Volfile): readonly string[] {
  return switchedIn(volfile).map(({ key }) => key);
}

/** The type that a key switches in a volfile; undefined for every other key. */
export function switchedType(volfile: Volfile, key: string): string | undefined {
  return switchedIn(volfile).find((one) => one.key === key)?.type;
}

/** The key that switches a type. */
export function switchKeyOf(type: string): string | undefined {
  return SWITCHED.find((one) => one.type === type)?.key;
}

export function isOn(volfile: Volfile, key: string): boolean {
  const { type, options = {} } = switchedIn(volfile).find((one) => one.key === key)!;
  const says = (section: VolfileSection, name: string): string | undefined =>
    section.options.findLast((option) => option.key === name)?.value;
  return volfile.sections.some(
    (section) =>
      section.type === type && Object.keys(options).every((name) => ON.test(says(section, name) ?? "")),
  );
}

/**
 * The volfile with the translator of `key`, or without it. Throws UserError where there is no place for it.
 */
export function withTranslator(volfile: Volfile, key: string, on: boolean): Volfile {
  if (on === isOn(volfile, key)) return volfile;
  return on ? inserted(volfile, key) : removed(volfile, switchedType(volfile, key)!);
}

function inserted(volfile: Volfile, key: string): Volfile {
  const top = volfile.sections.at(-1);
  if (top?.type !== TOP_TYPE)
    throw new UserError(`${key}: the volfile has no ${TOP_TYPE} at its top, below which it would stand`);
  const added = switchedIn(volfile).find((one) => one.key === key)!;
  const rank = rankOf(added.type);
  const byName = new Map(volfile.sections.map((section) => [section.name, section]));
  let above = top;
  for (;;) {
    const below = byName.get(above.subvolumes[0]!.name)!;
    const isPlace = added === REMOTE_DIO ? !ABOVE_REMOTE_DIO.test(below.type) : rankOf(below.type) < rank;
    if (isPlace) return withBetween(volfile, above, below, added);
    above = below;
  }
}

function withBetween(
  volfile: Volfile,
  above: VolfileSection,
  below: VolfileSection,
  { type, suffix, options = {} }: Switched,
): Volfile {
  const name = freeName(volfile, `${volfile.sections.at(-1)!.name}-${suffix}`);
  const added = volfileSection(name, type, options, [below.name]);
  const sections = volfile.sections.flatMap((section) =>
    section === above ? [added, { ...above, subvolumes: [{ name, line: 0 }] }] : [section],
  );
  return { ...volfile, sections };
}

function freeName(volfile: Volfile, wanted: string): string {
  const taken = new Set(volfile.sections.map((section) => section.name));
  let name = wanted;
  for (let count = 2; taken.has(name); count++) name = `${wanted}-${count}`;
  return name;
}

/** Whoever stood on a section of the type stands on its child. */
function removed(volfile: Volfile, type: string): Volfile {
  let { sections } = volfile;
  for (const gone of sections.filter((section) => section.type === type)) {
    const [child] = gone.subvolumes;
    if (gone === volfile.sections.at(-1) || child === undefined)
      throw new UserError(`"${gone.name}" is at the top of the volfile and cannot be taken out`);
    sections = sections
      .filter((section) => section.name !== gone.name)
      .map((section) => ({
        ...section,
        subvolumes: section.subvolumes.map((one) => (one.name === gone.name ? child : one)),
      }));
  }
  return { ...volfile, sections };
}

/** Where a type stands in the stack; everything that is not switched stands below. */
function rankOf(type: string): number {
  return SWITCHED.findIndex((one) => one.type === type);
}
