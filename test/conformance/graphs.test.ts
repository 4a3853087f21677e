/** The conformance suite on every graph. */

import { attributes } from "./attributes.ts";
import { data } from "./data.ts";
import { GRAPH_KINDS } from "./graph-kinds.ts";
import { links, openUnlinked } from "./links.ts";
import { locks } from "./locks.ts";
import { names } from "./names.ts";
import { readdir } from "./readdir.ts";
import { rename } from "./rename.ts";
import { sizes } from "./sizes.ts";
import { runSuite } from "./suite.ts";
import { trees } from "./trees.ts";
import { xattropSubject } from "./xattrop.ts";
import { xattrs } from "./xattrs.ts";

const SUBJECTS = [
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

for (const kind of GRAPH_KINDS) runSuite(kind, SUBJECTS);
