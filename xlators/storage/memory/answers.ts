/**
 * What the in-memory brick answers in reply xdata (spec wire.md 9.1, 9.3): control keys, and every xattr that
 * a requested name or pattern matches.
 */

import { Dict } from "../../../src/core/dict.ts";
import { fnmatch, isPattern } from "../../../src/core/fnmatch.ts";
import { isRegular } from "../../../src/core/iatt.ts";
import { KEY } from "../../../src/core/keys.ts";
import type { MemNode } from "./node.ts";
import { xattrNames, xattrValue } from "./xattrs.ts";

/** Control keys that are no xattr names; those that are not answered below belong to other layers. */
const CONTENT = "glusterfs.content";
const LIST_XATTR = "list-xattr";
const GET_SIZE = "get-size";
const LINK_COUNT_REQUEST = "gf_request_link_count";
const LINK_COUNT_REPLY = "gf_response_link_count";

/** Fills a reply for lookup, readdirp and xattrop: counts and xattrs. Undefined when nothing was asked. */
export function lookupAnswers(request: Dict | undefined, node: MemNode): Dict | undefined {
  if (!request) return undefined;
  const reply = countAnswers(request, node)!;
  for (const key of request.keys()) {
    switch (key) {
      case CONTENT:
        addContent(request, node, reply);
        break;
      case GET_SIZE:
        reply.setUint(key, node.size);
        break;
      case LINK_COUNT_REQUEST:
        reply.setUint(LINK_COUNT_REPLY, node.nlink);
        break;
      case LIST_XATTR:
        for (const [name, value] of node.xattrs) reply.setBytes(name, value);
        break;
      default:
        addMatches(key, node, reply);
    }
  }
  return reply;
}

/** Open-fd counts, which any fop may ask for. Undefined when there was no request dict. */
export function countAnswers(request: Dict | undefined, node: MemNode): Dict | undefined {
  if (!request) return undefined;
  const reply = new Dict();
  for (const key of [KEY.OPEN_FD_COUNT, KEY.ACTIVE_FD_COUNT])
    if (request.has(key)) reply.setUint(key, node.opens);
  return reply;
}

function addContent(request: Dict, node: MemNode, reply: Dict): void {
  const limit = request.number(CONTENT) ?? 0;
  if (node.data && node.data.size <= limit) reply.setBytes(CONTENT, node.data.read(0, node.data.size));
}

function addMatches(key: string, node: MemNode, reply: Dict): void {
  const names = isPattern(key) ? xattrNames(node).filter((name) => fnmatch(key, name)) : [key];
  for (const name of names) {
    const value = xattrValue(node, name);
    if (value) reply.setBytes(name, value);
  }
}

/** What unlink and rename may be asked to tell of an inode before it loses a name (wire.md 9.4). */
export function removalAnswers(request: Dict | undefined, node: MemNode): Dict | undefined {
  const reply = countAnswers(request, node);
  if (request?.has("get-link-count")) reply!.setUint("get-link-count", node.nlink);
  if (request?.has(KEY.BLOCK_COUNT)) reply!.setUint(KEY.BLOCK_COUNT, node.iatt().blocks);
  if (request?.has(KEY.LOST_GFID) && isRegular(node)) reply!.setGfid(KEY.LOST_GFID, node.gfid);
  return reply;
}
