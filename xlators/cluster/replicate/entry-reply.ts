/**
 * One reply out of the copies' replies to an operation on names. Pure.
 *
 * Copies differ in what they say of times, sizes of directories and blocks; each object's attributes are
 * taken from the copy that later reads of that object go to, so that they do not jump.
 */

import type { FopTypes, Reply } from "../../../src/core/fops.ts";
import { type Iatt, ZERO_IATT } from "../../../src/core/iatt.ts";

export type EntryFop = "create" | "mknod" | "mkdir" | "symlink" | "link" | "unlink" | "rmdir" | "rename";

type ParentReply = FopTypes["unlink"]["reply"];
type RenameReply = FopTypes["rename"]["reply"];

/** The attributes of the object that was made or moved; undefined for removals. */
export function statIn(reply: object): Iatt | undefined {
  return "stat" in reply ? (reply.stat as Iatt) : undefined;
}

/** Chosen replies: for the object itself, for its directory, for the directory a rename takes it to. */
export interface Chosen<F extends EntryFop> {
  readonly own: Reply<F>;
  readonly parent: Reply<F>;
  readonly newParent: Reply<F>;
}

export function composeReply<F extends EntryFop>(fop: F, { own, parent, newParent }: Chosen<F>): Reply<F> {
  if (fop === "rename") {
    const { preOldParent, postOldParent } = parent as RenameReply;
    const { preNewParent, postNewParent } = newParent as RenameReply;
    return { ...own, preOldParent, postOldParent, preNewParent, postNewParent } as Reply<F>;
  }
  const { preParent, postParent } = parent as ParentReply;
  return { ...own, preParent, postParent } as Reply<F>;
}

/** The same with all attributes zero: a post-op will change them again (consistent-metadata). */
export function withoutStats<F extends EntryFop>(reply: Reply<F>): Reply<F> {
  const zero = Object.entries(reply).map(([key, value]) => [key, key === "xdata" ? value : ZERO_IATT]);
  return Object.fromEntries(zero) as Reply<F>;
}
