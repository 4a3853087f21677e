/**
 * Messages between translators over a replica set (GlusterFS afr_ipc). The one that says of which xattrs a
 * client wants to hear goes to all bricks, with the marks of this set among them: a copy that another client
 * blames is to be known before it is read. Every other one goes to the first child.
 */

import type { Call } from "../../../src/core/call.ts";
import { replyOfAllThere } from "../../../src/core/concurrency.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { IPC_UPCALL } from "../../../src/core/upcall-flags.ts";
import { fanoutTo, noQuorum } from "./fan-out.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** A brick that refuses fails the call, as it will not tell; one that is away is asked when it comes. */
export async function ipc(set: ReplicaSet, call: Call, args: Args<"ipc">): Promise<Reply<"ipc">> {
  if (args.op !== IPC_UPCALL) return set.children[0]!.ipc(call, args);
  const xdata = args.xdata?.clone() ?? new Dict();
  for (const key of set.pendingKeys) xdata.setInt(key, 0);
  const reply = replyOfAllThere(await fanoutTo(set, set.up, "ipc", call, { ...args, xdata }));
  if (reply === undefined) throw noQuorum(set, "ipc");
  return reply;
}
