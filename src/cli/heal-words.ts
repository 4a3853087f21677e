/** The words of `mortar heal SOURCE ...`: what is asked, before anything is opened. Pure. */

import { UserError } from "../core/errors.ts";

/** How a split brain is settled, as written. */
export type Policy =
  | { readonly kind: "bigger-file" | "latest-mtime" | "majority" }
  /** `brick` as `heal info` shows it, or the name of its volume in the graph. */
  | { readonly kind: "source-brick"; readonly brick: string };

export type HealRequest =
  | { readonly kind: "info"; readonly part: "all" | "summary" | "split-brain" }
  /** What the indices list. */
  | { readonly kind: "index" }
  | { readonly kind: "full" }
  | { readonly kind: "files"; readonly files: readonly string[] }
  /** `files` empty: all that the source brick lists. */
  | { readonly kind: "split-brain"; readonly policy: Policy; readonly files: readonly string[] };

const POLICIES = ["bigger-file", "latest-mtime", "majority", "source-brick"];

/** Throws UserError. */
export function parseHealWords(words: readonly string[]): HealRequest {
  const [verb, ...rest] = words;
  switch (verb) {
    case undefined:
      return { kind: "index" };
    case "info":
      return parseInfo(rest);
    case "full":
      if (rest.length > 0) throw new UserError(`heal: full: takes no "${rest[0]}"`);
      return { kind: "full" };
    case "split-brain":
      return parseSplitBrain(rest);
    default:
      return { kind: "files", files: words.map(checkFile) };
  }
}

function parseInfo(words: readonly string[]): HealRequest {
  const [part, ...more] = words;
  if (part === undefined) return { kind: "info", part: "all" };
  if ((part === "summary" || part === "split-brain") && more.length === 0) return { kind: "info", part };
  const wrong = part === "summary" || part === "split-brain" ? more[0] : part;
  throw new UserError(`heal: info: "${wrong}": is neither summary nor split-brain`);
}

function parseSplitBrain(words: readonly string[]): HealRequest {
  const [kind, ...rest] = words;
  if (kind === undefined)
    throw new UserError(`heal: split-brain: say which copy stays: one of ${POLICIES.join(", ")}`);
  if (kind === "source-brick") {
    const [brick, ...files] = rest;
    if (brick === undefined)
      throw new UserError("heal: split-brain: source-brick needs a BRICK as `info` shows it");
    return { kind: "split-brain", policy: { kind, brick }, files: files.map(checkFile) };
  }
  if (kind !== "bigger-file" && kind !== "latest-mtime" && kind !== "majority")
    throw new UserError(`heal: split-brain: "${kind}": is none of ${POLICIES.join(", ")}`);
  if (rest.length === 0) throw new UserError(`heal: split-brain: ${kind} needs a FILE`);
  return { kind: "split-brain", policy: { kind }, files: rest.map(checkFile) };
}

/** Files are named from the root of the volume, as `info` shows them. */
function checkFile(word: string): string {
  if (word.startsWith("/") || word.startsWith("gfid:")) return word;
  const gfid = /^<gfid:([^>/]+)>$/.exec(word)?.[1];
  if (gfid !== undefined) return `gfid:${gfid}`;
  throw new UserError(
    `heal: "${word}": is neither a verb (info, full, split-brain) nor a path from the volume's root, like /${word}`,
  );
}
