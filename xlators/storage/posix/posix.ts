/**
 * storage/posix: a brick in a directory of a local file system, in GlusterFS 10's on-disk format (spec
 * translators.md 2).
 *
 * Promises: gfids, `.glusterfs`, gfid2path and mdata as GlusterFS leaves and expects them; fops on open files
 * go on after unlink; no call waits for a disk in the main thread, so one stalled file holds up no other.
 * Needs root, a file system with xattrs, and to be the directory's only user. Locks are not its business
 * (features/locks above it), nor are permissions (features/access-control). The fops are in the files beside
 * this one, by what they are about.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import { gfidText } from "../../../src/core/gfid.ts";
import { S_IFREG } from "../../../src/core/iatt.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { PLACE_XATTR } from "../../../src/core/keys.ts";
import { mayWrite, O_DIRECT } from "../../../src/core/open-flags.ts";
import { type Dump, defineXlator, exactly, type ParentEvent, XlatorBase } from "../../../src/core/xlator.ts";
import { openDiskIo } from "../../../src/os/disk-io.ts";
import { close, lchown, statfs } from "../../../src/os/files.ts";
import { Brick } from "./brick.ts";
import { openBrickDirectory } from "./brick-dir.ts";
import { createFop, linkFop, mkdirFop, mknodFop, symlinkFop } from "./create.ts";
import {
  copyRangeFop,
  discardFop,
  fallocateFop,
  ftruncateFop,
  rchecksumFop,
  seekFop,
  truncateFop,
  zerofillFop,
} from "./file-ranges.ts";
import { HIDDEN } from "./handle.ts";
import { HealthCheck } from "./health.ts";
import { flushFop, fsyncdirFop, fsyncFop, readFop, writeFop } from "./io.ts";
import { Janitor } from "./janitor.ts";
import { lookupFop } from "./lookup.ts";
import { accessFop, opendirFop, openFop, readlinkFop, setAttributes, statOf } from "./metadata.ts";
import { type PosixOptions, posixOptions } from "./options.ts";
import { writePlace } from "./place.ts";
import { putFop } from "./put.ts";
import { readdirFop, readdirpFop } from "./readdir.ts";
import { renameFop, rmdirFop, unlinkFop } from "./remove.ts";
import { visibleStatfs } from "./space.ts";
import { getxattr, removexattr, setxattr, xattrop } from "./xattrs.ts";

export const posix = defineXlator({
  type: "storage/posix",
  children: exactly(0),
  options: posixOptions,
  create: (init) => new Posix(init),
});

class Posix extends XlatorBase<typeof posixOptions> {
  /** Set by `init`; no fop comes before. */
  #brick!: Brick;
  #lockFd = -1;
  #janitor: Janitor | undefined;
  #health: HealthCheck | undefined;
  #failed = false;
  /** Which copy this is; empty while nobody has said so. */
  #place = "";

  override async init(): Promise<void> {
    const { options } = this;
    const owner = { uid: options["brick-uid"], gid: options["brick-gid"] };
    const { base, lockFd, place } = await openBrickDirectory(options.directory, options["volume-id"], owner);
    this.#lockFd = lockFd;
    this.#place = place;
    // What a client asks for is what a new file gets; whoever wants a umask has applied it.
    process.umask(0);
    const io = openDiskIo(options["linux-io_uring"] ? "auto" : "pool");
    this.#brick = new Brick({ name: this.name, base, env: this.env, log: this.log, options, io });
    await this.#brick.fence.start();
    await this.#brick.space.watch(() => this.options.reserve);
    this.#janitor = new Janitor(this.#brick);
    this.#janitor.start();
    this.#health = new HealthCheck({
      path: `${base}/${HIDDEN}/health_check`,
      io,
      env: this.env,
      seconds: () => ({
        interval: this.options["health-check-interval"],
        timeout: this.options["health-check-timeout"],
      }),
      onFailure: (error) => this.#onHealthFailure(error.code),
    });
    this.#health.start();
    this.log.info("brick ready", { directory: base, io: io.kind });
  }

  override async fini(): Promise<void> {
    this.#health?.stop();
    await this.#janitor?.stop();
    this.#brick?.space.stop();
    await this.#brick?.times.settleAll();
    this.#brick?.files.closeAll();
    if (this.#lockFd >= 0) await close(this.#lockFd).catch(() => {});
    this.#lockFd = -1;
  }

  override reconfigure(options: PosixOptions): void {
    const before = this.options;
    super.reconfigure(options);
    this.#brick.options = options;
    this.#health?.start();
    const uid = options["brick-uid"];
    const gid = options["brick-gid"];
    if (uid === before["brick-uid"] && gid === before["brick-gid"]) return;
    lchown(this.#brick.base, uid, gid).catch((error) => {
      this.log.error("owner of the brick not changed", { uid, gid, error: String(error) });
    });
  }

  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-up" && !this.#failed) this.#sayUp();
  }

  /** Says so to those above, a server among them, as they will not ask again. */
  async #takePlace(place: string): Promise<Reply<"setxattr">> {
    await writePlace(this.#brick.base, place);
    this.log.info("the brick is written down as this copy", { copy: place });
    this.#place = place;
    if (!this.#failed) this.#sayUp();
    return {};
  }

  #sayUp(): void {
    this.notifyParents({ type: "child-up", brickId: this.#place });
  }

  override dump(): Dump {
    return {
      directory: this.options.directory,
      healthy: !this.#failed,
      openFiles: this.#brick?.files.size ?? 0,
      timesPending: this.#brick?.times.size ?? 0,
    };
  }

  #onHealthFailure(code: string): void {
    this.#failed = true;
    this.log.error("health check failed; the brick is down until it is restarted", { code });
    this.notifyParents({ type: "child-down" });
  }

  override localFile(fd: Fd): number | undefined {
    const { files, fence, space } = this.#brick;
    const file = files.find(fd);
    if (file === undefined || fd.inode.type !== S_IFREG) return undefined;
    if (((file.flags ^ fd.flags) & O_DIRECT) !== 0) return undefined;
    // The kernel knows nothing of times in mdata, nor of a reserve.
    if (mayWrite(fd.flags) && (file.state.mdata !== null || space.full)) return undefined;
    // A reader's, too: beside it a writer can map the file, whatever it asked for (dev-fuse/passthrough.ts).
    return fence.lend(file.state, file.osFd) ? file.osFd : undefined;
  }

  override release(fd: Fd): Promise<void> {
    return this.#released(fd);
  }

  override releasedir(fd: Fd): Promise<void> {
    return this.#released(fd);
  }

  /** A hook must not reject; what a release leaves in `unlink` goes at the next start. */
  async #released(fd: Fd): Promise<void> {
    try {
      const file = this.#brick.files.find(fd);
      if (file) await this.#brick.times.settle(file.state);
      await this.#brick.files.release(fd);
    } catch (error) {
      this.log.warn("release", { gfid: gfidText(fd.inode.gfid), error: String(error) });
    }
  }

  override forget(_inode: Inode): void {}

  override clientDisconnect(_client: NonNullable<Call["client"]>): void {
    this.#brick.times.hurry();
  }

  override stat(_call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    return this.#in(
      "stat",
      this.#brick.withLoc(args.loc, (subject) => statOf(this.#brick, subject, args.xdata)),
    );
  }

  override readlink(_call: Call, args: Args<"readlink">): Promise<Reply<"readlink">> {
    return this.#in("readlink", readlinkFop(this.#brick, args));
  }

  override mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    return this.#in("mknod", mknodFop(this.#brick, call, args));
  }

  override mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    return this.#in("mkdir", mkdirFop(this.#brick, call, args));
  }

  override unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    return this.#in("unlink", unlinkFop(this.#brick, call, args));
  }

  override rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    return this.#in("rmdir", rmdirFop(this.#brick, call, args));
  }

  override symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    return this.#in("symlink", symlinkFop(this.#brick, call, args));
  }

  override rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    return this.#in("rename", renameFop(this.#brick, call, args));
  }

  override link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    return this.#in("link", linkFop(this.#brick, call, args));
  }

  override truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    return this.#in("truncate", truncateFop(this.#brick, call, args));
  }

  override open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    return this.#in("open", openFop(this.#brick, call, args));
  }

  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    return readFop(this.#brick, call, args);
  }

  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    return writeFop(this.#brick, call, args);
  }

  override async statfs(_call: Call, _args: Args<"statfs">): Promise<Reply<"statfs">> {
    const fs = await this.#in("statfs", statfs(this.#brick.base));
    const { options } = this;
    return {
      statfs: visibleStatfs(fs, {
        reserve: options.reserve,
        sharedBy: options["shared-brick-count"],
        exportSize: options["export-statfs-size"],
      }),
    };
  }

  override flush(_call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    return this.#in("flush", flushFop(this.#brick, args));
  }

  override fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    return this.#in("fsync", fsyncFop(this.#brick, call, args));
  }

  override setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    const place = call.pid < 0 ? args.xattrs.text(PLACE_XATTR) : undefined;
    if (place !== undefined) return this.#in("setxattr", this.#takePlace(place));
    return this.#in(
      "setxattr",
      this.#brick.withLoc(args.loc, (subject) => setxattr(this.#brick, call, subject, args)),
    );
  }

  override getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    return this.#in(
      "getxattr",
      this.#brick.withLoc(args.loc, (subject) => getxattr(this.#brick, call, subject, args)),
    );
  }

  override removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    return this.#in(
      "removexattr",
      this.#brick.withLoc(args.loc, (subject) => removexattr(this.#brick, call, subject, args)),
    );
  }

  override opendir(_call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.#in("opendir", opendirFop(this.#brick, args));
  }

  override fsyncdir(_call: Call, args: Args<"fsyncdir">): Promise<Reply<"fsyncdir">> {
    return this.#in("fsyncdir", fsyncdirFop(this.#brick, args));
  }

  override access(_call: Call, args: Args<"access">): Promise<Reply<"access">> {
    return this.#in("access", accessFop(this.#brick, args));
  }

  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.#in("create", createFop(this.#brick, call, args));
  }

  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.#in("ftruncate", ftruncateFop(this.#brick, call, args));
  }

  override fstat(_call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    return this.#in(
      "fstat",
      this.#brick.withFd(args.fd, (subject) => statOf(this.#brick, subject, args.xdata)),
    );
  }

  override lk(_call: Call, _args: Args<"lk">): Promise<Reply<"lk">> {
    return this.#refuse("ENOSYS", "lk", "locks need features/locks above the brick");
  }

  override lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    return this.#in("lookup", lookupFop(this.#brick, call, args));
  }

  override readdir(_call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    return this.#in("readdir", readdirFop(this.#brick, args));
  }

  override inodelk(_call: Call, _args: Args<"inodelk">): Promise<Reply<"inodelk">> {
    return this.#refuse("ENOSYS", "inodelk", "locks need features/locks above the brick");
  }

  override finodelk(_call: Call, _args: Args<"finodelk">): Promise<Reply<"finodelk">> {
    return this.#refuse("ENOSYS", "finodelk", "locks need features/locks above the brick");
  }

  override entrylk(_call: Call, _args: Args<"entrylk">): Promise<Reply<"entrylk">> {
    return this.#refuse("ENOSYS", "entrylk", "locks need features/locks above the brick");
  }

  override fentrylk(_call: Call, _args: Args<"fentrylk">): Promise<Reply<"fentrylk">> {
    return this.#refuse("ENOSYS", "fentrylk", "locks need features/locks above the brick");
  }

  override xattrop(_call: Call, args: Args<"xattrop">): Promise<Reply<"xattrop">> {
    return this.#in(
      "xattrop",
      this.#brick.withLoc(args.loc, (subject) => xattrop(this.#brick, subject, args)),
    );
  }

  override fxattrop(_call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    return this.#in(
      "fxattrop",
      this.#brick.withFd(args.fd, (subject) => xattrop(this.#brick, subject, args)),
    );
  }

  override fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    return this.#in(
      "fgetxattr",
      this.#brick.withFd(args.fd, (subject) => getxattr(this.#brick, call, subject, args)),
    );
  }

  override fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    return this.#in(
      "fsetxattr",
      this.#brick.withFd(args.fd, (subject) => setxattr(this.#brick, call, subject, args)),
    );
  }

  override rchecksum(call: Call, args: Args<"rchecksum">): Promise<Reply<"rchecksum">> {
    return this.#in("rchecksum", rchecksumFop(this.#brick, call, args));
  }

  override setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    return this.#in(
      "setattr",
      this.#brick.withLoc(args.loc, (subject) => setAttributes(this.#brick, call, subject, args)),
    );
  }

  override fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    return this.#in(
      "fsetattr",
      this.#brick.withFd(args.fd, (subject) => setAttributes(this.#brick, call, subject, args)),
    );
  }

  override readdirp(_call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    return this.#in("readdirp", readdirpFop(this.#brick, args));
  }

  override fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    return this.#in(
      "fremovexattr",
      this.#brick.withFd(args.fd, (subject) => removexattr(this.#brick, call, subject, args)),
    );
  }

  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.#in("fallocate", fallocateFop(this.#brick, call, args));
  }

  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.#in("discard", discardFop(this.#brick, call, args));
  }

  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.#in("zerofill", zerofillFop(this.#brick, call, args));
  }

  override ipc(_call: Call, args: Args<"ipc">): Promise<Reply<"ipc">> {
    return this.#refuse("EOPNOTSUPP", "ipc", `no translator above the brick took operation ${args.op}`);
  }

  override seek(_call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    return this.#in("seek", seekFop(this.#brick, args));
  }

  override lease(_call: Call, _args: Args<"lease">): Promise<Reply<"lease">> {
    return this.#refuse("EOPNOTSUPP", "lease", "leases need a translator above the brick");
  }

  override getactivelk(_call: Call, _args: Args<"getactivelk">): Promise<Reply<"getactivelk">> {
    return this.#refuse("EOPNOTSUPP", "getactivelk", "locks need features/locks above the brick");
  }

  override setactivelk(_call: Call, _args: Args<"setactivelk">): Promise<Reply<"setactivelk">> {
    return this.#refuse("EOPNOTSUPP", "setactivelk", "locks need features/locks above the brick");
  }

  override icreate(_call: Call, _args: Args<"icreate">): Promise<Reply<"icreate">> {
    return this.#refuse("EOPNOTSUPP", "icreate", "GlusterFS 10 bricks have no inodes without names");
  }

  override namelink(_call: Call, _args: Args<"namelink">): Promise<Reply<"namelink">> {
    return this.#refuse("EOPNOTSUPP", "namelink", "GlusterFS 10 bricks have no inodes without names");
  }

  override put(call: Call, args: Args<"put">): Promise<Reply<"put">> {
    return this.#in("put", putFop(this.#brick, call, args));
  }

  override copy_file_range(call: Call, args: Args<"copy_file_range">): Promise<Reply<"copy_file_range">> {
    return this.#in("copy_file_range", copyRangeFop(this.#brick, call, args));
  }

  /**
   * Errors from below get the fop and the brick that they belong to. readv and writev do it without one
   * more promise.
   */
  #in<R>(fop: FopName, work: Promise<R>): Promise<R> {
    return work.catch((error) => {
      throw this.#brick.located(error, fop);
    });
  }

  #refuse(code: "ENOSYS" | "EOPNOTSUPP", fop: string, why: string): Promise<never> {
    return Promise.reject(this.#brick.error(code, fop, { message: `${fop}: ${why}` }));
  }
}
