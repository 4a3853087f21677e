/**
 * fnmatch(3) without flags, as bricks match requested xattr names with it (spec wire.md 9.1): `*` and `?`
 * take any character, a slash and a leading period too; `[...]` with `!` or `^`; a backslash quotes. Compiled
 * patterns are kept, because the same few are asked for with every lookup.
 */

import { LRUCache } from "lru-cache";

const compiled = new LRUCache<string, RegExp>({ max: 256 });
const SPECIAL = /[*?[\\]/;
const QUOTE = /[.*+?^${}()|[\]\\/]/g;

/** True when the text has to be matched as a pattern; otherwise it can only match itself. */
export function isPattern(text: string): boolean {
  return SPECIAL.test(text);
}

export function fnmatch(pattern: string, text: string): boolean {
  if (!isPattern(pattern)) return pattern === text;
  let expression = compiled.get(pattern);
  if (expression === undefined) {
    expression = compile(pattern);
    compiled.set(pattern, expression);
  }
  return expression.test(text);
}

function compile(pattern: string): RegExp {
  let source = "";
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at]!;
    if (character === "*") {
      // Runs of stars mean one star; as separate groups they would make matching quadratic and worse.
      while (pattern[at + 1] === "*") at++;
      source += "[^]*";
    } else if (character === "?") source += "[^]";
    else if (character === "\\" && at + 1 < pattern.length) source += quote(pattern[++at]!);
    else if (character === "[") {
      const set = bracket(pattern, at);
      source += set.source;
      at = set.end;
    } else source += quote(character);
  }
  return new RegExp(`^${source}$`);
}

/** The bracket expression that begins at `from`; an unclosed one is a plain `[`. */
function bracket(pattern: string, from: number): { source: string; end: number } {
  let at = from + 1;
  const negated = pattern[at] === "!" || pattern[at] === "^";
  if (negated) at++;
  const close = pattern.indexOf("]", at + 1);
  if (close < 0) return { source: "\\[", end: from };
  const members = pattern.slice(at, close).replace(/[\]\\^[]/g, "\\$&");
  try {
    new RegExp(`[${members}]`);
  } catch {
    // A range that runs backwards matches nothing.
    return { source: "[]", end: close };
  }
  return { source: `[${negated ? "^" : ""}${members}]`, end: close };
}

function quote(character: string): string {
  return character.replace(QUOTE, "\\$&");
}
