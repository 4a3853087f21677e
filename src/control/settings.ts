/**
 * Settings on top of a volfile: what somebody set on a running mount, or had written down for its volume, and
 * the volfile that results. Pure.
 *
 * Settings are kept by key, the last one of a key counts. Translators are switched first; then each option
 * goes to every section that has it, also to those that came just now. A setting for a translator that is not
 * there waits until it is.
 */

import { UserError } from "../core/errors.ts";
import { Bad } from "../core/options.ts";
import type { Registry } from "../graph/graph.ts";
import { type Volfile, withOptions } from "../graph/volfile.ts";
import { findKey, normalised, optionsIn, PRESENT, type Target, valueIn } from "./keys.ts";
import { isOn, switchedType, switchKeyOf, switchKeys, withTranslator } from "./translators.ts";

export type Settings = ReadonlyMap<string, string>;

/** One value as `mortar get` shows it. */
export interface Shown {
  readonly key: string;
  readonly value: string;
  /** Set on this mount, rather than by the volfile or by default. */
  readonly isSet: boolean;
  readonly describe: string;
}

const SWITCH_SPEC_ON = new Set(["1", "on", "yes", "true", "enable"]);
const SWITCH_SPEC_OFF = new Set(["0", "off", "no", "false", "disable"]);

/**
 * Checks one setting against a volfile. Throws UserError when the value is none; a refused key is returned,
 * and, when `unknown` is "lenient" as with groups, one that nobody knows as well.
 */
export function checkSetting(
  key: string,
  value: string,
  volfile: Volfile,
  registry: Registry,
  unknown: "strict" | "lenient" = "strict",
): Target {
  const target = findKey(key, volfile, registry, unknown);
  if (target.kind === "switch") parseSwitch(key, value);
  if (target.kind === "option") {
    const parsed = target.option.spec.parse(value);
    if (parsed instanceof Bad) throw new UserError(`${key}: "${value}" ${parsed.why}`);
  }
  return target;
}

/** The volfile with all settings. Those that lead nowhere in it have no effect. Throws UserError. */
export function applySettings(volfile: Volfile, settings: Settings, registry: Registry): Volfile {
  let result = volfile;
  for (const key of switchKeys(volfile)) {
    const value = settings.get(key);
    if (value !== undefined) result = withTranslator(result, key, parseSwitch(key, value));
  }
  return applyOptions(result, settings, registry);
}

/** The same for the translators as they are: none comes or goes. */
export function applyOptions(volfile: Volfile, settings: Settings, registry: Registry): Volfile {
  let result = volfile;
  for (const [key, value] of settings) {
    if (switchedType(volfile, key) !== undefined) continue;
    const target = findKey(key, result, registry, "lenient");
    if (target.kind !== "option") continue;
    const { option, section } = target;
    for (const { name, type } of result.sections)
      if (type === option.type && (section === undefined || section === name))
        result = withOptions(result, name, { [option.key]: value });
  }
  return result;
}

/** Kept settings that cannot count in a volfile, with the reason. */
export function settingsWithoutEffect(
  volfile: Volfile,
  settings: Settings,
  registry: Registry,
): [key: string, why: string][] {
  return [...settings.keys()].flatMap((key) => {
    const target = findKey(key, volfile, registry, "lenient");
    return target.kind === "refused" ? [[key, target.why]] : [];
  });
}

/** The value of every key that a volfile has, by name. Where sections differ each has a line of its own. */
export function showAll(volfile: Volfile, settings: Settings, registry: Registry): Shown[] {
  const shown: Shown[] = switchKeys(volfile).map((key) => ({
    key,
    value: isOn(volfile, key) ? "on" : "off",
    isSet: settings.has(key),
    describe: `Whether the volume has ${switchedType(volfile, key)}.`,
  }));
  for (const [key, type] of PRESENT) {
    const value = volfile.sections.some((section) => section.type === type) ? "on" : "off";
    shown.push({
      key,
      value,
      isSet: false,
      describe: `Whether the volume has ${type}; not for a mount to change.`,
    });
  }
  for (const [option, sections] of optionsIn(volfile, registry)) {
    if (PRESENT.has(option.name)) continue;
    const { describe } = option.spec;
    const isSet = [option.name, option.key].some((key) => settings.has(key));
    const values = sections.map((section) => valueIn(section, option, registry));
    if (new Set(values).size === 1) shown.push({ key: option.name, value: values[0]!, isSet, describe });
    else
      for (const [index, section] of sections.entries()) {
        const key = `${section.name}.${option.key}`;
        shown.push({ key, value: values[index]!, isSet: settings.has(key), describe });
      }
  }
  return shown.sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** One key, by any of its names. Throws UserError when nobody knows it, or this volume has not got it. */
export function showOne(key: string, volfile: Volfile, settings: Settings, registry: Registry): Shown[] {
  const all = showAll(volfile, settings, registry);
  const exact = all.filter((one) => one.key === key);
  if (exact.length > 0) return exact;
  const target = findKey(key, volfile, registry);
  if (target.kind === "refused") throw new UserError(`${key}: this mount has no value of it: ${target.why}`);
  if (target.kind === "switch") return [];
  const { option, section } = target;
  const here = volfile.sections.filter(
    ({ name, type }) => type === option.type && (section === undefined || section === name),
  );
  if (here.length === 0)
    throw new UserError(`${key}: of ${option.type}, which is off (${switchKeyOf(option.type)})`);
  return here.map(({ name, ...rest }) => ({
    key: here.length === 1 && section === undefined ? option.name : `${name}.${option.key}`,
    value: valueIn({ name, ...rest }, option, registry),
    isSet: settings.has(key),
    describe: option.spec.describe,
  }));
}

/** The spelling that is kept: one for each value. */
export function keptValue(target: Target, value: string): string {
  if (target.kind === "option") return normalised(value, target.option.spec);
  return SWITCH_SPEC_ON.has(value.toLowerCase()) ? "on" : "off";
}

function parseSwitch(key: string, value: string): boolean {
  const word = value.toLowerCase();
  if (SWITCH_SPEC_ON.has(word)) return true;
  if (SWITCH_SPEC_OFF.has(word)) return false;
  throw new UserError(
    `${key}: "${value}" is neither on (1, yes, true, enable) nor off (0, no, false, disable)`,
  );
}
