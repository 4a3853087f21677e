/** Fop names in options of debug translators: as Mortar and as GlusterFS' headers spell them, in any case. */

import { FOP_NAMES, type FopName } from "../../src/core/fops.ts";
import { Bad, type OptionSpec } from "../../src/core/options.ts";

/** Spellings of GlusterFS that differ from its internal names. */
const SYNONYMS: Readonly<Record<string, FopName>> = { read: "readv", write: "writev" };

interface FopListInit {
  readonly describe: string;
  readonly aliases?: readonly string[];
}

/** A comma-separated list of fops. The default is the empty list, whose meaning is the translator's. */
export function fopList(init: FopListInit): OptionSpec<readonly FopName[]> {
  return {
    kind: "fops",
    default: [],
    live: true,
    describe: init.describe,
    parse: parseFops,
    ...(init.aliases ? { aliases: init.aliases } : {}),
  };
}

function parseFops(text: string): readonly FopName[] | Bad {
  const fops: FopName[] = [];
  for (const word of text.split(/[,:\s]+/).filter((part) => part !== "")) {
    const name = word.toLowerCase();
    const fop = SYNONYMS[name] ?? FOP_NAMES.find((known) => known === name);
    if (!fop) return new Bad(`has "${word}" in it, which is no fop`);
    fops.push(fop);
  }
  return fops;
}
