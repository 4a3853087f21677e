/** The conformance suite on every graph over a file system of this machine. */

import { kindsOf } from "./graph-kinds.ts";
import { SUBJECTS } from "./subjects.ts";
import { runSuite } from "./suite.ts";

for (const kind of kindsOf("disk")) runSuite(kind, SUBJECTS);
