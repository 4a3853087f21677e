/** The conformance suite on every graph of several bricks. */

import { kindsOf } from "./graph-kinds.ts";
import { SUBJECTS } from "./subjects.ts";
import { runSuite } from "./suite.ts";

for (const kind of kindsOf("cluster")) runSuite(kind, SUBJECTS);
