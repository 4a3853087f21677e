/**
 * setxattr, getxattr, removexattr and xattrop, each for a loc and for an fd (spec translators.md 2.3, 2.7;
 * wire.md 6.4, 9).
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict, type DictValue } from "../../../src/core/dict.ts";
import type { Reply } from "../../../src/core/fops.ts";
import { isRegular } from "../../../src/core/iatt.ts";
import { KEY } from "../../../src/core/keys.ts";
import { decodeMdata } from "../../../src/core/mdata.ts";
import { combineXattr } from "../../../src/core/xattrop.ts";
import { aclFromText } from "./acl-text.ts";
import { addXattrs, answer, iattsIn, xattrNow } from "./answers.ts";
import type { Brick, Subject } from "./brick.ts";
import { GFID2PATH_PREFIX, isGfid2path } from "./gfid2path.ts";
import { isCode } from "./handle.ts";
import {
  ACL_ACCESS,
  ACL_ACCESS_TEXT,
  ACL_DEFAULT,
  ACL_DEFAULT_TEXT,
  isGeoReplication,
  isIdentity,
} from "./keys.ts";
import { getXattr, listXattrs, removeXattr, setXattr } from "./target.ts";
import { isPathinfo, virtualXattr } from "./virtual-xattrs.ts";

const BULK_REMOVE = "";
const DURABLE = "trusted.glusterfs.durable-op";
/** Clients have pids from 0; what is below is Mortar or GlusterFS itself. */
const CLIENT_PID_MIN = 0;
const GSYNCD_PID = -1;

/** `flags`: XATTR_CREATE, XATTR_REPLACE. */
export async function setxattr(
  brick: Brick,
  call: Call,
  subject: Subject,
  args: { xattrs: Dict; flags: number; xdata?: Dict | undefined },
): Promise<Reply<"setxattr">> {
  brick.checkSpace(call, args.xdata, "setxattr");
  const ctime = args.xattrs.get(KEY.SET_MDATA);
  if (ctime?.type === "mdata") {
    await brick.mdata.merge(subject.state, subject.target, ctime.value);
    return {};
  }
  const pre = await brick.iatt(subject.stat, subject.state, subject.target);
  for (const [key, value] of args.xattrs) {
    if (isIdentity(key) || key === "trusted.io-stats-dump") continue;
    await setOne(brick, subject, key, value, args.flags);
  }
  await brick.stamp(call, subject.state, subject.target);
  if (args.xdata?.has(DURABLE) && typeof subject.target === "number")
    await brick.io.fsync(subject.target, false);
  const reply = iattsIn(new Dict(), pre, await brick.iattNow(subject));
  await addAcls(subject, args.xattrs, reply);
  return { xdata: reply };
}

/** Layers above that keep ACLs know them as bytes only: what was set as text goes back to them as such. */
async function addAcls(subject: Subject, set: Dict, reply: Dict): Promise<void> {
  for (const [text, name] of [
    [ACL_ACCESS_TEXT, ACL_ACCESS],
    [ACL_DEFAULT_TEXT, ACL_DEFAULT],
  ] as const) {
    const acl = set.has(text) ? await getXattr(subject.target, name) : undefined;
    if (acl) reply.setBytes(name, acl);
  }
}

/** One pair of a setxattr, or of a create fop's xdata. */
export async function setOne(
  brick: Brick,
  subject: { target: Subject["target"]; state: Subject["state"] },
  key: string,
  value: DictValue,
  flags: number,
): Promise<void> {
  if (isPathinfo(key)) throw brick.error("EACCES", "setxattr");
  if (isGfid2path(key)) throw brick.error("EOPNOTSUPP", "setxattr");
  if (key === "glusterfs.internal-ctx" || key === KEY.FORCE_REPLACE) return;
  const bytes = Dict.from([[key, value]]).bytes(key);
  if (bytes === undefined)
    throw brick.error("EINVAL", "setxattr", { message: `setxattr: ${key} is no bytes` });
  if (key === ACL_ACCESS_TEXT || key === ACL_DEFAULT_TEXT) {
    const acl = aclFromText(bytes.toString("latin1"));
    if (!acl) throw brick.error("EINVAL", "setxattr", { message: `setxattr: ${key} is malformed` });
    await setXattr(subject.target, key === ACL_ACCESS_TEXT ? ACL_ACCESS : ACL_DEFAULT, acl);
    return;
  }
  if (key === KEY.MDATA) {
    const mdata = decodeMdata(bytes);
    if (!mdata) throw brick.error("EINVAL", "setxattr", { message: `setxattr: ${key} is malformed` });
    await brick.mdata.merge(subject.state, subject.target, mdata);
    return;
  }
  await setXattr(subject.target, key, bytes, flags);
}

/** `name` undefined: all that users may see. */
export async function getxattr(
  brick: Brick,
  call: Call,
  subject: Subject,
  args: { name: string | undefined; xdata?: Dict | undefined },
): Promise<Reply<"getxattr">> {
  const { name } = args;
  const xattrs =
    name === undefined ? await allXattrs(call, subject) : await oneXattr(brick, call, subject, name);
  return { xattrs, xdata: await answer(brick, subject, args.xdata) };
}

async function oneXattr(brick: Brick, call: Call, subject: Subject, name: string): Promise<Dict> {
  const hidden = isGfid2path(name) || isIdentity(name) || (isHiddenFrom(call, name) && name !== BULK_REMOVE);
  if (hidden) throw brick.error("ENODATA", "getxattr");
  const virtual = await virtualXattr(brick, subject, name);
  const reply = new Dict();
  if (virtual && "text" in virtual) return reply.setStr(name, virtual.text);
  if (virtual && "count" in virtual) return reply.setUint(name, virtual.count);
  const value = virtual?.bytes ?? (await xattrNow(subject, name));
  if (value === undefined) throw brick.error("ENODATA", "getxattr");
  return reply.setBytes(name, value);
}

async function allXattrs(call: Call, subject: Subject): Promise<Dict> {
  const names = (await listXattrs(subject.target)).filter(
    (name) => !name.startsWith(GFID2PATH_PREFIX) && !isIdentity(name) && !isHiddenFrom(call, name),
  );
  const reply = new Dict();
  await addXattrs(subject, names, reply);
  return reply;
}

function isHiddenFrom(call: Call, name: string): boolean {
  if (name === KEY.MDATA) return call.pid >= CLIENT_PID_MIN;
  return call.pid !== GSYNCD_PID && isGeoReplication(name);
}

/** An empty name removes all names in xdata, those that do not exist included (distribute's bulk removal). */
export async function removexattr(
  brick: Brick,
  call: Call,
  subject: Subject,
  args: { name: string; xdata?: Dict | undefined },
): Promise<Reply<"removexattr">> {
  const { name, xdata } = args;
  const pre = await brick.iatt(subject.stat, subject.state, subject.target);
  if (name === BULK_REMOVE && xdata) await removeAll(brick, subject, [...xdata.keys()]);
  else {
    if (isGfid2path(name)) throw brick.error("ENODATA", "removexattr");
    if (isIdentity(name)) throw brick.error("EPERM", "removexattr");
    await removeXattr(subject.target, name);
    if (name === KEY.MDATA) subject.state.mdata = undefined;
  }
  await brick.stamp(call, subject.state, subject.target);
  return { xdata: iattsIn(new Dict(), pre, await brick.iattNow(subject)) };
}

async function removeAll(brick: Brick, subject: Subject, names: string[]): Promise<void> {
  if (names.some(isIdentity)) throw brick.error("EPERM", "removexattr");
  for (const name of names) {
    try {
      await removeXattr(subject.target, name);
    } catch (error) {
      if (!isCode(error, "ENODATA")) throw error;
    }
  }
}

/** All keys of one call are one step for every other xattrop on the inode. */
export async function xattrop(
  brick: Brick,
  subject: Subject,
  args: { op: number; xattrs: Dict; xdata?: Dict | undefined },
): Promise<Reply<"xattrop">> {
  const xattrs = await brick.counters.run(subject.state.key, () => combineAll(brick, subject, args));
  const { xdata } = args;
  if (!xdata) return { xattrs };
  const reply = (await answer(brick, subject, xdata)) ?? new Dict();
  const modeKey = "dht-get-mode-in-xattr";
  if (xdata.has(modeKey) && isRegular(subject.stat)) reply.setInt(modeKey, subject.stat.mode);
  return { xattrs, xdata: reply };
}

async function combineAll(brick: Brick, subject: Subject, args: { op: number; xattrs: Dict }): Promise<Dict> {
  const reply = new Dict();
  for (const key of args.xattrs.keys()) {
    const request = args.xattrs.bytes(key);
    if (request === undefined) throw brick.error("EINVAL", "xattrop");
    const current = await getXattr(subject.target, key);
    const combined = combineXattr(args.op, current, request);
    if (combined.store) await setXattr(subject.target, key, combined.store);
    if (combined.reply) reply.setBytes(key, combined.reply);
  }
  return reply;
}
