/**
 * Whether a replica set serves at all just now: the checks at the door of every operation (spec
 * translators.md 4.2, 4.3).
 */

import type { FopError } from "../../../src/core/errors.ts";
import type { FopName } from "../../../src/core/fops.ts";
import { noQuorum } from "./fan-out.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** Why not, ENOTCONN; undefined when it does: quorum is up, with `consistent-io` all children are. */
export function outOfService(set: ReplicaSet, fop: FopName): FopError | undefined {
  const enough = set.hasQuorum() && (!set.options["consistent-io"] || set.up === set.all);
  return enough ? undefined : noQuorum(set, fop);
}
