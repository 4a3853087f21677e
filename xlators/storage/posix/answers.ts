/**
 * What the brick answers in xdata (spec wire.md 9.1, 9.3): most keys of a request are names or patterns of
 * xattrs; a few ask for something else.
 */

import { Dict } from "../../../src/core/dict.ts";
import { fnmatch } from "../../../src/core/fnmatch.ts";
import { type Iatt, isRegular } from "../../../src/core/iatt.ts";
import { KEY, LOCK_KEY } from "../../../src/core/keys.ts";
import { encodeMdata } from "../../../src/core/mdata.ts";
import { O_RDONLY } from "../../../src/core/open-flags.ts";
import { close, open } from "../../../src/os/files.ts";
import { linksOf } from "./attributes.ts";
import type { Brick, Subject } from "./brick.ts";
import {
  ACL_ACCESS_TEXT,
  ACL_DEFAULT_TEXT,
  IATT_IN_XATTR,
  isUnlisted,
  isXattrName,
  LINK_COUNT_REQUEST,
  LINK_COUNT_RESPONSE,
  POST_STAT,
  PRE_STAT,
} from "./keys.ts";
import { getXattr, listXattrs } from "./target.ts";
import { aclText, ancestry } from "./virtual-xattrs.ts";

/** Most bytes that `glusterfs.content` carries. */
const CONTENT_BYTES_MAX = 1 << 20;
/** Keys that other layers answer, or that ask for nothing. */
const NOT_OURS: ReadonlySet<string> = new Set([
  KEY.GFID_REQ,
  KEY.INTERNAL_FOP,
  "gfidless-lookup",
  ...Object.values(LOCK_KEY),
]);

/** The reply dict for a request's xdata: none for none, perhaps an empty one for one. */
export async function answer(
  brick: Brick,
  subject: Subject,
  xdata: Dict | undefined,
): Promise<Dict | undefined> {
  if (!xdata) return undefined;
  const reply = new Dict();
  const patterns: string[] = [];
  let lists = false;
  for (const key of xdata.keys()) {
    if (NOT_OURS.has(key)) continue;
    if (key === "list-xattr") lists = true;
    else if (!(await answerSpecial(brick, subject, key, xdata, reply))) patterns.push(key);
  }
  if (patterns.length > 0 || lists) await answerXattrs(subject, patterns, lists, reply);
  return reply;
}

/** Open fds, where a fop's reply carries no other answers. */
export function answerFdCounts(subject: { state: { opens: number } }, xdata: Dict, reply: Dict): void {
  if (xdata.has(KEY.OPEN_FD_COUNT)) reply.setUint(KEY.OPEN_FD_COUNT, subject.state.opens);
  if (xdata.has(KEY.ACTIVE_FD_COUNT)) reply.setUint(KEY.ACTIVE_FD_COUNT, subject.state.opens);
}

async function answerSpecial(
  brick: Brick,
  subject: Subject,
  key: string,
  xdata: Dict,
  reply: Dict,
): Promise<boolean> {
  switch (key) {
    case "glusterfs.content":
      await answerContent(brick, subject, xdata.number(key) ?? 0, reply);
      return true;
    case KEY.OPEN_FD_COUNT:
    case KEY.ACTIVE_FD_COUNT:
      reply.setUint(key, subject.state.opens);
      return true;
    case LINK_COUNT_REQUEST:
      reply.setUint(LINK_COUNT_RESPONSE, linksOf(subject.stat));
      return true;
    case "get-size":
      if (isRegular(subject.stat)) reply.setUint(key, subject.stat.size);
      return true;
    case ACL_ACCESS_TEXT:
    case ACL_DEFAULT_TEXT: {
      const text = await aclText(subject, key);
      if (text !== undefined) reply.setStr(key, text);
      return true;
    }
    case "glusterfs.ancestry.path": {
      const path = await ancestry(brick, subject);
      if (path !== undefined) reply.setStr(key, path);
      return true;
    }
    default:
      return false;
  }
}

async function answerXattrs(
  subject: Subject,
  patterns: string[],
  lists: boolean,
  reply: Dict,
): Promise<void> {
  const names = (await listXattrs(subject.target)).filter(
    (name) =>
      isXattrName(name) &&
      ((lists && !isUnlisted(name)) || patterns.some((pattern) => fnmatch(pattern, name))),
  );
  await addXattrs(subject, names, reply);
}

/** Those of the names that are there. */
export async function addXattrs(subject: Subject, names: readonly string[], reply: Dict): Promise<void> {
  const values = await Promise.all(names.map((name) => xattrNow(subject, name)));
  for (let i = 0; i < names.length; i++) if (values[i]) reply.setBytes(names[i]!, values[i]!);
}

/** One xattr. Times in memory may be ahead of the disk (lazy-times.ts), and attributes come from there. */
export async function xattrNow({ target, state }: Subject, name: string): Promise<Buffer | undefined> {
  const value = await getXattr(target, name);
  return value && name === KEY.MDATA && state.mdata ? encodeMdata(state.mdata) : value;
}

/** The whole file, when it is no longer than the client asks for. */
async function answerContent(brick: Brick, subject: Subject, max: number, reply: Dict): Promise<void> {
  const { stat, target } = subject;
  if (!isRegular(stat) || stat.size > Math.min(max, CONTENT_BYTES_MAX) || typeof target === "number") return;
  const content = Buffer.alloc(stat.size);
  const osFd = await open(target, O_RDONLY);
  try {
    const count = stat.size > 0 ? await brick.io.readv(osFd, [content], 0) : 0;
    reply.setBytes("glusterfs.content", content.subarray(0, count));
  } finally {
    await close(osFd);
  }
}

/** Attributes before and after, as distribute wants them in the reply of fops that have no place for them. */
export function iattsIn(reply: Dict, pre: Iatt | undefined, post: Iatt | undefined): Dict {
  if (post) reply.setIatt(IATT_IN_XATTR, post).setIatt(POST_STAT, post);
  if (pre) reply.setIatt(PRE_STAT, pre);
  return reply;
}
