/**
 * ChangeFilter: a filter that hears of every change that goes through it, by inode: before the fop goes out
 * and after it came back, failed or not. For fops by name the directory counts as changed, too.
 */

import type { Call } from "./call.ts";
import type { Args, FopName, Reply } from "./fops.ts";
import type { Inode, Loc } from "./inode.ts";
import { O_TRUNC } from "./open-flags.ts";
import type { OptionTable } from "./options.ts";
import { wind, Xlator } from "./xlator.ts";

type Inodes = readonly (Inode | undefined)[];
type Changes = { readonly [F in FopName]?: (args: Args<F>) => Inodes };

const byFd = ({ fd }: { readonly fd: { readonly inode: Inode } }): Inodes => [fd.inode];
const byLoc = ({ loc }: { readonly loc: Loc }): Inodes => [loc.inode];
const byName = ({ loc }: { readonly loc: Loc }): Inodes => [loc.inode, loc.parent];

/** Every fop that changes something, and what. */
const CHANGES: Changes = {
  mknod: byName,
  mkdir: byName,
  unlink: byName,
  rmdir: byName,
  symlink: byName,
  rename: ({ from, to }) => [from.inode, from.parent, to.inode, to.parent],
  link: ({ to }) => [to.inode, to.parent],
  truncate: byLoc,
  open: ({ loc, flags }) => ((flags & O_TRUNC) !== 0 ? [loc.inode] : []),
  writev: byFd,
  fsync: byFd,
  setxattr: byLoc,
  removexattr: byLoc,
  create: byName,
  ftruncate: byFd,
  xattrop: byLoc,
  fxattrop: byFd,
  fsetxattr: byFd,
  setattr: byLoc,
  fsetattr: byFd,
  fremovexattr: byFd,
  fallocate: byFd,
  discard: byFd,
  zerofill: byFd,
  namelink: byName,
  put: byName,
  copy_file_range: ({ fdOut }) => [fdOut.inode],
};

export abstract class ChangeFilter<T extends OptionTable = OptionTable> extends Xlator<T> {
  /** A change of the inode begins, or is over. */
  protected abstract changed(inode: Inode): void;

  async around<F extends FopName>(fop: F, call: Call, args: Args<F>, inodes: Inodes): Promise<Reply<F>> {
    this.#tell(inodes);
    try {
      return await wind(this.child, fop, call, args);
    } finally {
      this.#tell(inodes);
    }
  }

  #tell(inodes: Inodes): void {
    for (const inode of inodes) if (inode?.linked) this.changed(inode);
  }
}

for (const [fop, changes] of Object.entries(CHANGES) as [FopName, (args: unknown) => Inodes][])
  Object.defineProperty(ChangeFilter.prototype, fop, {
    value(this: ChangeFilter, call: Call, args: Args<FopName>) {
      return this.around(fop, call, args, changes(args));
    },
    writable: true,
    configurable: true,
  });
