/**
 * What a replicate section of a volfile must say before it is believed: the ids of its bricks, and that it
 * asks for nothing that Mortar does not do (spec translators.md 4.1, 4.13). A wrong id would blame the wrong
 * copy, so that nothing is guessed once ids are given.
 */

import { UserError } from "../../../src/core/errors.ts";
import { CHILDREN_MAX } from "./child-set.ts";
import type { ReplicateOptions } from "./options.ts";

const ARBITER_CHILDREN = 3;
const DIRTY = "trusted.afr.dirty";

/**
 * By child, what the pending xattr of that child is named after. Without `afr-pending-xattr`, as in volfiles
 * before GlusterFS 3.6, the names of the subvolumes.
 *
 * Throws UserError when the count of ids is not that of the children, or an id comes twice.
 */
export function brickIds(section: string, given: string, children: readonly string[]): readonly string[] {
  if (given === "") return children;
  const ids = given.split(",").map((id) => id.trim());
  if (ids.length !== children.length)
    throw new UserError(
      `${section}: option afr-pending-xattr: "${given}" names ${ids.length} bricks, ` +
        `but there are ${children.length} subvolumes; name each once, in their order`,
    );
  const repeated = ids.find((id, index) => id === "" || ids.indexOf(id) !== index);
  if (repeated !== undefined)
    throw new UserError(
      `${section}: option afr-pending-xattr: brick id "${repeated}" is empty or comes twice`,
    );
  return ids;
}

/** Why this set of children and options cannot be served; undefined when it can. */
export function whyUnsupported(options: ReplicateOptions, childCount: number): string | undefined {
  if (options["thin-arbiter"] !== "")
    return (
      `option thin-arbiter: "${options["thin-arbiter"]}": Mortar does not keep marks on a thin arbiter, and ` +
      "without them two copies could part; use a full arbiter (arbiter-count 1) or a third copy"
    );
  if (options["halo-enabled"])
    return "option halo-enabled is on: Mortar writes to all copies, not to the near ones; switch it off";
  if (options["afr-dirty-xattr"] !== DIRTY)
    return `option afr-dirty-xattr: "${options["afr-dirty-xattr"]}": only "${DIRTY}" is supported`;
  if (childCount > CHILDREN_MAX)
    return `${childCount} subvolumes: marks are kept for at most ${CHILDREN_MAX} copies`;
  if (options["arbiter-count"] > 0 && childCount !== ARBITER_CHILDREN)
    return `option arbiter-count is 1 with ${childCount} subvolumes: an arbiter stands beside two copies`;
  return undefined;
}
