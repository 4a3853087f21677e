/** The conformance suite on every graph of one brick in memory. */

import { kindsOf } from "./graph-kinds.ts";
import { SUBJECTS } from "./subjects.ts";
import { runSuite } from "./suite.ts";

for (const kind of kindsOf("memory")) runSuite(kind, SUBJECTS);
