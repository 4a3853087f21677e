/** What the conformance suite asks of every graph. */

import { attributes } from "./attributes.ts";
import { data } from "./data.ts";
import { links, openUnlinked } from "./links.ts";
import { locks } from "./locks.ts";
import { names } from "./names.ts";
import { readdir } from "./readdir.ts";
import { rename } from "./rename.ts";
import { sizes } from "./sizes.ts";
import type { Subject } from "./suite.ts";
import { trees } from "./trees.ts";
import { xattropSubject } from "./xattrop.ts";
import { xattrs } from "./xattrs.ts";

export const SUBJECTS: readonly Subject[] = [
  names,
  links,
  openUnlinked,
  rename,
  trees,
  readdir,
  data,
  sizes,
  attributes,
  xattrs,
  xattropSubject,
  locks,
];
