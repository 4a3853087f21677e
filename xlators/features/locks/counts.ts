/**
 * Lock counts that other translators ask for in the xdata of any fop, and get in its reply (spec
 * translators.md 9.2, wire.md 9.3). Granted and waiting locks count alike.
 */

import { Dict } from "../../../src/core/dict.ts";
import { LOCK_KEY } from "../../../src/core/keys.ts";
import type { InodeLocks } from "./inode-locks.ts";

/** What one request asks for. */
export interface CountRequest {
  readonly inodelks: boolean;
  readonly entrylks: boolean;
  readonly posixlks: boolean;
  readonly parentEntrylk: boolean;
  /** Domain whose count goes under the plain inodelk key. */
  readonly domain: string | undefined;
  /** Full keys, each a prefix and a domain. */
  readonly domainKeys: readonly string[];
}

/** Finds the count keys and takes them out of what goes on to the brick. Undefined when there are none. */
export function takeCountRequest(xdata: Dict): { request: CountRequest; rest: Dict } | undefined {
  const several = xdata.has(LOCK_KEY.MULTI_DOM_REQUEST);
  const domainKeys: string[] = [];
  const taken: string[] = [];
  for (const key of xdata.keys()) {
    if (several && key.startsWith(LOCK_KEY.INODELK_DOM_PREFIX)) domainKeys.push(key);
    else if (!COUNT_KEYS.has(key)) continue;
    taken.push(key);
  }
  if (taken.length === 0) return undefined;
  const request: CountRequest = {
    inodelks: xdata.has(LOCK_KEY.INODELK_COUNT),
    entrylks: xdata.has(LOCK_KEY.ENTRYLK_COUNT),
    posixlks: xdata.has(LOCK_KEY.POSIXLK_COUNT),
    parentEntrylk: xdata.has(LOCK_KEY.PARENT_ENTRYLK),
    domain: xdata.text(LOCK_KEY.INODELK_DOM_COUNT),
    domainKeys,
  };
  return { request, rest: xdata.clone(taken) };
}

const COUNT_KEYS: ReadonlySet<string> = new Set([
  LOCK_KEY.INODELK_COUNT,
  LOCK_KEY.INODELK_DOM_COUNT,
  LOCK_KEY.MULTI_DOM_REQUEST,
  LOCK_KEY.ENTRYLK_COUNT,
  LOCK_KEY.POSIXLK_COUNT,
  LOCK_KEY.PARENT_ENTRYLK,
]);

/**
 * A reply's xdata with the counts of one inode, or the larger ones of several (rename tells of both parents).
 * `nameLocked` is the answer to parentEntrylk.
 */
export function withCounts(
  reply: Dict | undefined,
  request: CountRequest,
  inodes: readonly (InodeLocks | undefined)[],
  nameLocked: boolean,
): Dict {
  const out = reply?.clone() ?? new Dict();
  if (request.entrylks) out.setInt(LOCK_KEY.ENTRYLK_COUNT, most(inodes, entrylks));
  if (request.posixlks) out.setInt(LOCK_KEY.POSIXLK_COUNT, most(inodes, posixlks));
  if (request.parentEntrylk) out.setInt(LOCK_KEY.PARENT_ENTRYLK, nameLocked ? 1 : 0);
  if (request.inodelks || request.domain !== undefined) {
    const domain = request.inodelks ? undefined : request.domain;
    out.setInt(LOCK_KEY.INODELK_COUNT, most(inodes, inodelks, domain));
  }
  for (const key of request.domainKeys)
    out.setInt(key, most(inodes, inodelks, key.slice(LOCK_KEY.INODELK_DOM_PREFIX.length)));
  return out;
}

type Count = (inode: InodeLocks, domain: string | undefined) => number;

const entrylks: Count = (inode) => inode.entrylkCount();
const posixlks: Count = (inode) => inode.posix.count;
const inodelks: Count = (inode, domain) => inode.inodelkCount(domain);

function most(inodes: readonly (InodeLocks | undefined)[], count: Count, domain?: string): number {
  let greatest = 0;
  for (const inode of inodes) if (inode) greatest = Math.max(greatest, count(inode, domain));
  return greatest;
}
