/**
 * Whose a lock is: the lk-owner of the call and the connection it came in on (spec wire.md 10.2). The
 * lk-owner inside a flock means nothing here.
 */

import type { Call, ClientIdentity } from "../../../src/core/call.ts";
import { FopError } from "../../../src/core/errors.ts";

/** Clients older than GlusterFS 7.0 may lock without an owner. */
const OWNER_REQUIRED_SINCE = 70000;

export interface LockOwner {
  /** Equal for equal owners. */
  readonly key: string;
  readonly client: ClientIdentity | undefined;
  readonly lkOwner: Buffer;
  readonly pid: number;
}

/** Clients are told apart by id; in-process callers share one. */
export function clientKey(client: ClientIdentity | undefined): string {
  return client?.id ?? "";
}

export function ownerOf(call: Call): LockOwner {
  const { client, lkOwner, pid } = call;
  // The id's length keeps an id that ends like an lk-owner apart from a longer lk-owner.
  const id = clientKey(client);
  return { key: `${id.length}:${id}${lkOwner.toString("latin1")}`, client, lkOwner, pid };
}

/** The owner of a lock request; EINVAL when a client that must name one does not. */
export function requiredOwner(call: Call): LockOwner {
  const exempt = call.client !== undefined && call.client.opVersion < OWNER_REQUIRED_SINCE;
  if (!exempt && call.lkOwner.every((byte) => byte === 0))
    throw new FopError("EINVAL", { message: "a lock without an owner (lk-owner is empty or zero)" });
  return ownerOf(call);
}
