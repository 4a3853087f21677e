/**
 * Callbacks of a brick to its clients (wire.md 2.6): upcall values to bytes and back.
 *
 * An invalidation is about an inode and which of its attributes changed; the attributes that stock bricks
 * send with it are not used but for whose they are: whoever cares asks again.
 */

import type { Upcall } from "../../src/core/fops.ts";
import { gfidText, isNullGfid, parseGfid } from "../../src/core/gfid.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";
import {
  cacheInvalidation,
  entrylkContention,
  inodelkContention,
  recallLease,
} from "../../src/rpc/codec-control.ts";
import { CALLBACK_PROC } from "../../src/rpc/programs.ts";
import type { RpcPeer } from "../../src/rpc/server.ts";
import type { XdrReader } from "../../src/rpc/xdr.ts";

const INVALIDATION_EVENT = 1;
const NO_TRANSACTION = Buffer.alloc(16);

/** Undefined for callbacks that are not about files or that nobody here needs. May throw XdrError. */
export function readUpcall(procedure: number, reader: XdrReader): Upcall | undefined {
  switch (procedure) {
    case CALLBACK_PROC.CACHE_INVALIDATION: {
      const { gfid: text, flags, expireSec, parentStat, oldParentStat } = cacheInvalidation.read(reader);
      const gfid = parseGfid(text);
      if (gfid === undefined) return undefined;
      const parents = [parentStat.gfid, oldParentStat.gfid].filter((parent) => !isNullGfid(parent));
      const upcall = { kind: "cache-invalidation", gfid, flags, expireSec } as const;
      return parents.length === 0 ? upcall : { ...upcall, parents };
    }
    case CALLBACK_PROC.INODELK_CONTENTION: {
      const { gfid, domain, flock } = inodelkContention.read(reader);
      return { kind: "inodelk-contention", gfid, domain, flock };
    }
    case CALLBACK_PROC.ENTRYLK_CONTENTION: {
      const { gfid, domain, name } = entrylkContention.read(reader);
      return { kind: "entrylk-contention", gfid, domain, name };
    }
    case CALLBACK_PROC.RECALL_LEASE:
      return { kind: "recall-lease", gfid: recallLease.read(reader).gfid };
    default:
      return undefined;
  }
}

export function sendUpcall(peer: RpcPeer, upcall: Upcall): void {
  const { gfid } = upcall;
  const xdata = undefined;
  switch (upcall.kind) {
    case "cache-invalidation": {
      const { flags, expireSec } = upcall;
      peer.callback(CALLBACK_PROC.CACHE_INVALIDATION, cacheInvalidation, {
        gfid: gfidText(gfid),
        eventType: INVALIDATION_EVENT,
        flags,
        expireSec,
        stat: ZERO_IATT,
        parentStat: ZERO_IATT,
        oldParentStat: ZERO_IATT,
        xdata,
      });
      break;
    }
    case "inodelk-contention": {
      const { flock, domain } = upcall;
      const call = { gfid, flock, pid: flock.pid >>> 0, domain, xdata };
      peer.callback(CALLBACK_PROC.INODELK_CONTENTION, inodelkContention, call);
      break;
    }
    case "entrylk-contention": {
      const { name, domain } = upcall;
      peer.callback(CALLBACK_PROC.ENTRYLK_CONTENTION, entrylkContention, {
        gfid,
        type: 1,
        pid: 0,
        name,
        domain,
        xdata,
      });
      break;
    }
    case "recall-lease":
      peer.callback(CALLBACK_PROC.RECALL_LEASE, recallLease, {
        gfid,
        leaseType: 0,
        tid: NO_TRANSACTION,
        xdata,
      });
  }
}
