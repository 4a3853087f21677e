/**
 * features/access-control: permission checks of the brick, from owner, mode and POSIX ACL of the objects.
 *
 * The brick runs as root, so its kernel refuses nobody; this layer does it for callers that are neither root
 * nor internal (negative pid). Reads and writes on an open file are not checked again, as in GlusterFS
 * (posix-acl.c): open decided.
 *
 * Owner, mode and ACL are fetched once an inode and forgotten when a fop through here changes them, so this
 * layer needs to see every change of its brick. Default ACLs are inherited by the brick's own file system.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { type ErrnoName, FopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import { SETATTR } from "../../../src/core/iatt.ts";
import type { Inode, Loc } from "../../../src/core/inode.ts";
import { O_ACCMODE, O_RDONLY, O_TRUNC, O_WRONLY } from "../../../src/core/open-flags.ts";
import { defineXlator, exactly, wind, Xlator, type XlatorDefinition } from "../../../src/core/xlator.ts";
import { ACL_ACCESS, ACL_DEFAULT, type Ace, EXECUTE, parseAcl, permits, READ, WRITE } from "./acl.ts";

function definition(type: string): XlatorDefinition {
  return defineXlator({
    type,
    children: exactly(1),
    options: {},
    create: (init) => new AccessControl(init),
  });
}

export const accessControl = definition("features/access-control");
/** The same translator under the name that clients with `acl` use. */
export const posixAcl = definition("system/posix-acl");

/** What decides about an inode. */
interface Rights {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly acl: readonly Ace[] | undefined;
}

const STICKY = 0o1000;
/** No internal kind in particular: it only keeps these look-ups out of every other check. */
const PID_INTERNAL = -1;

class AccessControl extends Xlator {
  /**
   * The promise is shared by all who ask at once; a changed inode loses its entry before and after the
   * change.
   */
  readonly #rights = new WeakMap<Inode, Promise<Rights>>();

  override readlink(call: Call, args: Args<"readlink">) {
    if (isPrivileged(call)) return this.child.readlink(call, args);
    return this.#guard("readlink", call, args, this.#need(call, args.loc.inode, READ));
  }
  override mknod(call: Call, args: Args<"mknod">) {
    if (isPrivileged(call)) return this.child.mknod(call, args);
    return this.#guard("mknod", call, args, this.#needParent(call, args.loc));
  }
  override mkdir(call: Call, args: Args<"mkdir">) {
    if (isPrivileged(call)) return this.child.mkdir(call, args);
    return this.#guard("mkdir", call, args, this.#needParent(call, args.loc));
  }
  override unlink(call: Call, args: Args<"unlink">) {
    if (isPrivileged(call)) return this.child.unlink(call, args);
    return this.#guard("unlink", call, args, this.#needRemoval(call, args.loc));
  }
  override rmdir(call: Call, args: Args<"rmdir">) {
    if (isPrivileged(call)) return this.child.rmdir(call, args);
    return this.#guard("rmdir", call, args, this.#needRemoval(call, args.loc));
  }
  override symlink(call: Call, args: Args<"symlink">) {
    if (isPrivileged(call)) return this.child.symlink(call, args);
    return this.#guard("symlink", call, args, this.#needParent(call, args.loc));
  }
  override rename(call: Call, args: Args<"rename">) {
    if (isPrivileged(call)) return this.child.rename(call, args);
    return this.#guard("rename", call, args, this.#needRename(call, args));
  }
  override link(call: Call, args: Args<"link">) {
    if (isPrivileged(call)) return this.child.link(call, args);
    return this.#guard("link", call, args, this.#needParent(call, args.to));
  }
  override truncate(call: Call, args: Args<"truncate">) {
    if (isPrivileged(call)) return this.child.truncate(call, args);
    return this.#guard("truncate", call, args, this.#need(call, args.loc.inode, WRITE));
  }
  override open(call: Call, args: Args<"open">) {
    if (isPrivileged(call)) return this.child.open(call, args);
    return this.#guard("open", call, args, this.#need(call, args.loc.inode, wantOfOpen(args.flags)));
  }
  override setxattr(call: Call, args: Args<"setxattr">) {
    const { inode } = args.loc;
    const allowed = isPrivileged(call) ? undefined : this.#needXattr(call, inode, args.xattrs.keys());
    return this.#changing("setxattr", call, args, inode, allowed);
  }
  override getxattr(call: Call, args: Args<"getxattr">) {
    if (isPrivileged(call) || isAclName(args.name)) return this.child.getxattr(call, args);
    return this.#guard("getxattr", call, args, this.#need(call, args.loc.inode, READ));
  }
  override removexattr(call: Call, args: Args<"removexattr">) {
    const { inode } = args.loc;
    const allowed = isPrivileged(call) ? undefined : this.#needXattr(call, inode, [args.name]);
    return this.#changing("removexattr", call, args, inode, allowed);
  }
  override opendir(call: Call, args: Args<"opendir">) {
    if (isPrivileged(call)) return this.child.opendir(call, args);
    return this.#guard("opendir", call, args, this.#need(call, args.loc.inode, READ));
  }
  override access(call: Call, args: Args<"access">) {
    if (isPrivileged(call)) return this.child.access(call, args);
    return this.#guard("access", call, args, this.#need(call, args.loc.inode, args.mask & 7));
  }
  override create(call: Call, args: Args<"create">) {
    if (isPrivileged(call)) return this.child.create(call, args);
    return this.#guard("create", call, args, this.#needParent(call, args.loc));
  }
  override lookup(call: Call, args: Args<"lookup">) {
    const { parent } = args.loc;
    if (isPrivileged(call) || !parent) return this.child.lookup(call, args);
    return this.#guard("lookup", call, args, this.#need(call, parent, EXECUTE));
  }
  override fgetxattr(call: Call, args: Args<"fgetxattr">) {
    if (isPrivileged(call) || isAclName(args.name)) return this.child.fgetxattr(call, args);
    return this.#guard("fgetxattr", call, args, this.#need(call, args.fd.inode, READ));
  }
  override fsetxattr(call: Call, args: Args<"fsetxattr">) {
    const { inode } = args.fd;
    const allowed = isPrivileged(call) ? undefined : this.#needXattr(call, inode, args.xattrs.keys());
    return this.#changing("fsetxattr", call, args, inode, allowed);
  }
  override setattr(call: Call, args: Args<"setattr">) {
    const { inode } = args.loc;
    const allowed = isPrivileged(call) ? undefined : this.#needSetattr(call, inode, args);
    return this.#changing("setattr", call, args, inode, allowed);
  }
  override fsetattr(call: Call, args: Args<"fsetattr">) {
    const { inode } = args.fd;
    const allowed = isPrivileged(call) ? undefined : this.#needSetattr(call, inode, args);
    return this.#changing("fsetattr", call, args, inode, allowed);
  }
  override fremovexattr(call: Call, args: Args<"fremovexattr">) {
    const { inode } = args.fd;
    const allowed = isPrivileged(call) ? undefined : this.#needXattr(call, inode, [args.name]);
    return this.#changing("fremovexattr", call, args, inode, allowed);
  }
  override put(call: Call, args: Args<"put">) {
    if (isPrivileged(call)) return this.child.put(call, args);
    return this.#guard("put", call, args, this.#needParent(call, args.loc));
  }

  async #guard<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    allowed: Promise<void>,
  ): Promise<Reply<F>> {
    await allowed;
    return wind(this.child, fop, call, args);
  }

  /** A fop that changes what decides: nobody may be judged by what was known before it ended. */
  async #changing<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    inode: Inode,
    allowed: Promise<void> | undefined,
  ): Promise<Reply<F>> {
    await allowed;
    this.#rights.delete(inode);
    try {
      return await wind(this.child, fop, call, args);
    } finally {
      this.#rights.delete(inode);
    }
  }

  async #need(call: Call, inode: Inode, want: number): Promise<void> {
    const rights = await this.#rightsOf(inode);
    if (!permits(call, rights, want)) this.#refuse("EACCES");
  }

  async #needParent(call: Call, loc: Loc): Promise<void> {
    if (loc.parent) await this.#need(call, loc.parent, WRITE | EXECUTE);
  }

  async #needRemoval(call: Call, loc: Loc): Promise<void> {
    await this.#needParent(call, loc);
    if (!loc.parent) return;
    const parent = await this.#rightsOf(loc.parent);
    if ((parent.mode & STICKY) === 0 || parent.uid === call.uid) return;
    const owner = await this.#ownerOf(loc);
    if (owner !== undefined && owner !== call.uid) this.#refuse("EACCES");
  }

  async #needRename(call: Call, args: Args<"rename">): Promise<void> {
    await this.#needRemoval(call, args.from);
    await this.#needRemoval(call, args.to);
  }

  async #needXattr(call: Call, inode: Inode, keys: Iterable<string>): Promise<void> {
    const rights = await this.#rightsOf(inode);
    for (const key of keys) {
      if (isAclName(key)) {
        if (rights.uid !== call.uid) this.#refuse("EPERM");
      } else if (!permits(call, rights, WRITE)) this.#refuse("EACCES");
    }
  }

  async #needSetattr(call: Call, inode: Inode, args: Args<"setattr"> | Args<"fsetattr">): Promise<void> {
    const { valid, stat } = args;
    const rights = await this.#rightsOf(inode);
    const owner = rights.uid === call.uid;
    if (valid & SETATTR.MODE && !owner) this.#refuse("EPERM");
    if (valid & (SETATTR.ATIME | SETATTR.MTIME) && !owner && !permits(call, rights, WRITE))
      this.#refuse("EACCES");
    if (valid & SETATTR.UID && stat.uid !== rights.uid) this.#refuse("EPERM");
    if (valid & SETATTR.GID && !(owner && (stat.gid === rights.gid || inGroup(call, stat.gid))))
      this.#refuse("EPERM");
    if (valid & SETATTR.SIZE && !permits(call, rights, WRITE)) this.#refuse("EACCES");
  }

  /** The owner of what a name points at; undefined when there is nothing (rename to a free name). */
  async #ownerOf(loc: Loc): Promise<number | undefined> {
    if (loc.inode.linked) return (await this.#rightsOf(loc.inode)).uid;
    try {
      return (await this.child.lookup(internalCall(PID_INTERNAL), { loc })).stat.uid;
    } catch (error) {
      if (error instanceof FopError && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  #rightsOf(inode: Inode): Promise<Rights> {
    const known = this.#rights.get(inode);
    if (known) return known;
    const fetched = this.#fetch(inode);
    this.#rights.set(inode, fetched);
    fetched.catch(() => {
      if (this.#rights.get(inode) === fetched) this.#rights.delete(inode);
    });
    return fetched;
  }

  async #fetch(inode: Inode): Promise<Rights> {
    const call = internalCall(PID_INTERNAL);
    const [{ stat }, acl] = await Promise.all([
      this.child.stat(call, { loc: { inode } }),
      this.child.getxattr(call, { loc: { inode }, name: ACL_ACCESS }).then(
        (reply) => reply.xattrs.bytes(ACL_ACCESS),
        () => undefined,
      ),
    ]);
    return { uid: stat.uid, gid: stat.gid, mode: stat.mode, acl: acl && parseAcl(acl) };
  }

  #refuse(code: ErrnoName): never {
    throw new FopError(code, { xlator: this.name });
  }
}

function isPrivileged(call: Call): boolean {
  return call.uid === 0 || call.pid < 0;
}

function isAclName(name: string | undefined): boolean {
  return name === ACL_ACCESS || name === ACL_DEFAULT;
}

function inGroup(call: Call, gid: number): boolean {
  return call.gid === gid || call.groups.includes(gid);
}

function wantOfOpen(flags: number): number {
  const access = flags & O_ACCMODE;
  const want = access === O_RDONLY ? READ : access === O_WRONLY ? WRITE : READ | WRITE;
  return flags & O_TRUNC ? want | WRITE : want;
}
