/**
 * Messages between translators over a distribute (GlusterFS dht_ipc). The one that says of which xattrs a
 * client wants to hear goes to all children, as every one of them holds some of the files; every other one
 * goes to the first child. GlusterFS is content when any child agrees, here all that are there have to.
 */

import type { Call } from "../../../src/core/call.ts";
import { replyOfAllThere } from "../../../src/core/concurrency.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { IPC_UPCALL } from "../../../src/core/upcall-flags.ts";
import type { SubvolumeSet } from "./subvolume-set.ts";

/** A child that refuses fails the call, as it will not tell; one that is away is asked when it comes. */
export async function ipc(set: SubvolumeSet, call: Call, args: Args<"ipc">): Promise<Reply<"ipc">> {
  if (args.op !== IPC_UPCALL) return set.children[0]!.ipc(call, args);
  const up = set.all.filter((child) => set.isUp(child));
  const reply = replyOfAllThere(await set.onEach(up, "ipc", call, args));
  if (reply === undefined) throw set.error("ENOTCONN", "ipc", "no subvolume is up");
  return reply;
}
