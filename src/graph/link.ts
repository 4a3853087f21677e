/**
 * Names to places: which section is whose child, what stands at the top, what the top needs (spec
 * translators.md 1.1, 1.7).
 *
 * Pure: no translator is made here. Every error is a UserError with `file:line:`. A volfile is written
 * bottom-up, so a subvolume that is not defined yet is an error, and a cycle can only show as one; the
 * message names the cycle then.
 */

import { UserError } from "../core/errors.ts";
import type { Volfile, VolfileReference, VolfileSection } from "./volfile.ts";

export interface LinkedVolfile {
  readonly top: VolfileSection;
  /** What the top (and what runs beside it) needs, itself included, children before parents. */
  readonly needed: readonly VolfileSection[];
  /** Sections that the top does not reach; they are checked for grammar and names only, and never started. */
  readonly unused: readonly VolfileSection[];
}

/** `file:line: volume "x"`, the begin of every message about a section. */
export function sectionOrigin(volfile: Volfile, section: VolfileSection, line = section.line): string {
  return `${volfile.fileName}${line > 0 ? `:${line}` : ""}: volume "${section.name}"`;
}

/**
 * Checks names and order and picks the top: `topName`, else the last section (as GlusterFS does). `beside`
 * names sections that are needed too.
 */
export function linkVolfile(
  volfile: Volfile,
  topName?: string,
  beside: readonly string[] = [],
): LinkedVolfile {
  const known = new Map<string, VolfileSection>();
  const all = firstByName(volfile);
  for (const section of volfile.sections) {
    const twin = known.get(section.name);
    if (twin)
      throw new UserError(
        `${sectionOrigin(volfile, section)}: defined again, first on line ${twin.line}; names must be unique`,
      );
    for (const child of section.subvolumes) checkReference(volfile, section, child, known, all);
    known.set(section.name, section);
  }
  const top = topName === undefined ? volfile.sections.at(-1) : known.get(topName);
  if (!top) throw new UserError(noSuchTop(volfile, topName));
  const reached = new Set<string>();
  reach(top, known, reached);
  for (const name of beside) {
    const section = known.get(name);
    if (!section) throw new UserError(noSuchTop(volfile, name));
    reach(section, known, reached);
  }
  return {
    top,
    needed: volfile.sections.filter((section) => reached.has(section.name)),
    unused: volfile.sections.filter((section) => !reached.has(section.name)),
  };
}

/** Sections that nobody uses as a subvolume: candidates for a top. */
export function topNames(volfile: Volfile): string[] {
  const used = new Set(volfile.sections.flatMap((section) => section.subvolumes.map((child) => child.name)));
  return volfile.sections.filter((section) => !used.has(section.name)).map((section) => section.name);
}

function firstByName(volfile: Volfile): ReadonlyMap<string, VolfileSection> {
  const all = new Map<string, VolfileSection>();
  for (const section of volfile.sections) if (!all.has(section.name)) all.set(section.name, section);
  return all;
}

function checkReference(
  volfile: Volfile,
  section: VolfileSection,
  child: VolfileReference,
  known: ReadonlyMap<string, VolfileSection>,
  all: ReadonlyMap<string, VolfileSection>,
): void {
  const who = sectionOrigin(volfile, section, child.line);
  if (child.name === section.name) throw new UserError(`${who}: has itself as a subvolume`);
  if (known.has(child.name)) return;
  const later = all.get(child.name);
  if (!later) throw new UserError(`${who}: subvolume "${child.name}" is not defined in this file`);
  const cycle = pathBetween(later, section.name, all, new Set());
  if (cycle)
    throw new UserError(
      `${who}: a cycle: ${[section.name, ...cycle].map((name) => `"${name}"`).join(" -> ")}`,
    );
  throw new UserError(
    `${who}: subvolume "${child.name}" is defined only later, on line ${later.line}; move it above this volume`,
  );
}

/** The names from `from` down to `target`, both included; undefined when there is no way. */
function pathBetween(
  from: VolfileSection,
  target: string,
  all: ReadonlyMap<string, VolfileSection>,
  seen: Set<string>,
): string[] | undefined {
  if (from.name === target) return [target];
  if (seen.has(from.name)) return undefined;
  seen.add(from.name);
  for (const { name } of from.subvolumes) {
    const child = all.get(name);
    const rest = child && pathBetween(child, target, all, seen);
    if (rest) return [from.name, ...rest];
  }
  return undefined;
}

function reach(section: VolfileSection, known: ReadonlyMap<string, VolfileSection>, into: Set<string>): void {
  if (into.has(section.name)) return;
  into.add(section.name);
  for (const child of section.subvolumes) reach(known.get(child.name)!, known, into);
}

function noSuchTop(volfile: Volfile, topName: string | undefined): string {
  if (topName === undefined) return `${volfile.fileName}: there is no volume in it`;
  const tops = topNames(volfile).map((name) => `"${name}"`);
  return `${volfile.fileName}: there is no volume "${topName}" in it; it has ${tops.join(", ")} at the top`;
}
