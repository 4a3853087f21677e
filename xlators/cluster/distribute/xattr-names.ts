/**
 * Names that distribute keeps its state under, on bricks and in calls (spec translators.md 6.2, 6.5, 6.7;
 * GlusterFS dht-common.h). All xattrs begin with the volume's `xattr-name`.
 */

export interface XattrNames {
  /** A directory's piece of the layout. */
  readonly layout: string;
  /** On a file that only says on which child the real one is: that child's name. */
  readonly linkto: string;
  /** On a directory's metadata owner: how many changes of xattrs the other children may have missed. */
  readonly mds: string;
  /** On the volume's root: the commit hash of the last complete rebalance. */
  readonly commitHash: string;
}

export function xattrNames(base: string): XattrNames {
  return { layout: base, linkto: `${base}.linkto`, mds: `${base}.mds`, commitHash: `${base}.commithash` };
}

/** xdata of an unlink: only if it is a linkto file; only if nobody has it open. EBUSY otherwise. */
export const UNLINK_ONLY_LINKTO = "unlink-only-if-dht-linkto-file";
export const UNLINK_UNLESS_OPEN = "dont-unlink-for-open-fd";
/** xdata of xattr calls: answer the attributes under the same key. */
export const IATT_IN_XDATA = "dht-get-iatt-in-xattr";
/** xdata of a write that is repeated on the target of a migration, which then must not write over it. */
export const PROTECT_WRITES = "trusted.glusterfs.protect.writes";

/** Lock domains, on the brick's inodes. */
export const DOMAIN = {
  /** Layout of a directory: read to rely on it, write to change it. */
  layout: "dht.layout.heal",
  /** A name in a directory. */
  entry: "dht.entry.sync",
  /** A file that is moved between children. */
  migrate: "dht.file.migrate",
} as const;
