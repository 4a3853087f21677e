/**
 * Keys of xattrs and of xdata that more than one layer reads or writes, each once (spec wire.md 9). Keys of a
 * single translator live with that translator.
 */

/** xdata of requests that make an inode or are about one. */
export const KEY = {
  /** gfid of the object to be made (or to be given to an entry without one); a gfid or sixteen bytes. */
  GFID_REQ: "gfid-req",
  /** The call comes from a translator, not from a user; text "yes" or a number. */
  INTERNAL_FOP: "glusterfs-internal-fop",
  /**
   * Of a lookup by gfid: "no" only if every copy says so; by name: if every copy at hand does. Mortar's own;
   * spelled so that bricks take it for an xattr that no object has.
   */
  GONE_EVERYWHERE: "trusted.mortar.gone-everywhere",
  /**
   * Of a lookup: how many names the file has on the copy with fewest, where there are copies. One may keep a
   * name longer than the others, for a heal to take away. Mortar's own, and spelled like the one above.
   */
  FEWEST_LINKS: "trusted.mortar.fewest-links",
  /**
   * xdata of unlink and rename: which file lost the name; answered under the same key, of a regular file.
   * Mortar's own, and its bricks alone know it.
   */
  LOST_GFID: "trusted.mortar.lost-gfid",
  /** Names a key K: K's value must equal the parent's xattr K, or nothing is made. */
  PREOP_PARENT: "glusterfs.preop.parent.key",
  /** Reply: the guard above refused. */
  PREOP_FAILED: "glusterfs.preop.check.failed",
  /** Replace a stale link file that is in the way. */
  FORCE_REPLACE: "force-replace",
  /** xattr of the gfid on disk; create-only, never listed. */
  GFID: "trusted.gfid",
  /** xattr of the brick's root: the volume it belongs to. */
  VOLUME_ID: "trusted.glusterfs.volume-id",
  /** xattr of client-supplied times, 57 bytes. */
  MDATA: "trusted.glusterfs.mdata",
  /** setxattr name that raises the times above; value of type mdata. */
  SET_MDATA: "set-ctime-mdata",
  /** Number of open fds of an inode. */
  OPEN_FD_COUNT: "glusterfs.open-fd-count",
  /** Number of fds of an inode that a fop is using. */
  ACTIVE_FD_COUNT: "glusterfs.open-active-fd-count",
  /** xdata of fsync: the graph is about to go; nothing may be put off any more. */
  LAST_FSYNC: "last-fsync",
  /** xdata of writev: say whether the write only appended. */
  WRITE_IS_APPEND: "glusterfs.write-is-append",
  /** xdata of what changes data: the blocks before and after differ by what is told nowhere else. */
  WRITE_UPDATE_ATOMIC: "glusterfs.write-update-atomic",
  /** xdata of unlink: how many 512-byte blocks the file had in the end. */
  BLOCK_COUNT: "gf_get_file_block_count",
  /** Virtual xattr: the paths of an object on its brick. */
  GFID_TO_PATH: "glusterfs.gfidtopath",
} as const;

/** xdata about locks (features/locks answers, replicate and distribute ask). */
export const LOCK_KEY = {
  /** Granted and blocked inodelks of all domains. */
  INODELK_COUNT: "glusterfs.inodelk-count",
  /** Value: a domain; answered under INODELK_COUNT. */
  INODELK_DOM_COUNT: "glusterfs.inodelk-dom-count",
  /** Asks for the keys that begin with INODELK_DOM_PREFIX. */
  MULTI_DOM_REQUEST: "glusterfs.multi-dom-lk-cnt-req",
  /** Followed by a domain; answered under the same key. */
  INODELK_DOM_PREFIX: "glusterfs.inodelk-dom-prefix:",
  ENTRYLK_COUNT: "glusterfs.entrylk-count",
  POSIXLK_COUNT: "glusterfs.posixlk-count",
  /** 1 when the looked-up name itself is entry-locked in its parent. */
  PARENT_ENTRYLK: "glusterfs.parent-entrylk",
  /** 0 advisory, 1 mandatory: how an lk call wants its lock. */
  LK_MODE: "glusterfs.lk.lkmode",
} as const;

/**
 * What features/index reads in calls and answers to a crawl (spec translators.md 3).
 */
export const INDEX_KEY = {
  /** xdata of an xattrop on a directory: this name is about to change; listed in entry-changes first. */
  ENTRY_CREATE: "glusterfs.xattrop-entry-create",
  /** The same: this name is equal everywhere; leaves entry-changes after the xattrop. */
  ENTRY_DELETE: "glusterfs.xattrop-entry-delete",
  /** With an xattrop after which nothing is pending: the directory's entry-changes go too. Not 0. */
  PURGE: "glusterfs.xattrop-purge-index",
  /** getxattr on the root: sixteen bytes, the gfid of a directory that lists gfids with pending marks. */
  PENDING_GFID: "glusterfs.xattrop_index_gfid",
  /** The same for gfids with a dirty mark. */
  DIRTY_GFID: "glusterfs.xattrop_dirty_gfid",
  /** The same for directories (by gfid) with names to heal; each is itself a directory of names. */
  ENTRY_CHANGES_GFID: "glusterfs.xattrop_entry_changes_gfid",
  /** getxattr on the root: how many are listed. */
  PENDING_COUNT: "glusterfs.xattrop_index_count",
  DIRTY_COUNT: "glusterfs.xattrop_dirty_count",
  /** xdata of lookup and fstat, with PENDING_COUNT as its value: answered 1 when anything is pending. */
  LINK_COUNT: "link-count",
  /** xdata of readdir on a virtual directory: fill in the types of the listed objects. */
  GET_GFID_TYPE: "get-gfid-type",
  /** xdata of a lookup of a virtual directory: what kind of objects does it list ... */
  IA_TYPE_REQUEST: "glusterfs.index-ia-type-get-req",
  /** ... answered as an ia_type number: 1 files, 2 directories. */
  IA_TYPE_REPLY: "glusterfs.index-ia-type-get-rsp",
} as const;

/** Mortar's own (see changed-ranges.ts); bricks of GlusterFS ignore both. */
export const CHANGED_RANGES_KEY = {
  /** xdata of an xattrop that increments data counters: an encoded Change. */
  CHANGE: "mortar.changed-ranges",
  /** Followed by a pending key; getxattr of that name gives an encoded ChangeRecord, or ENODATA. */
  RECORD_PREFIX: "trusted.mortar.changed-ranges:",
} as const;

/**
 * Mortar's own: the id by which marks know the copy on a brick, e.g. `instances-client-1`. An internal caller
 * sets it on the root of a brick that said child-up with an empty `brickId`; EEXIST when it has another.
 */
export const PLACE_XATTR = "trusted.mortar.brick";
/** The same in the reply to SETVOLUME; empty when it can be set and is not. */
export const PLACE_SETVOLUME = "mortar.brick";

/** Mortar's own, on `.glusterfs`: the boot in which the kernel was last given files of the brick to write. */
export const WRITERS_XATTR = "trusted.mortar.writers";

/**
 * A file `.glusterfs/unlink/mortar-token-UUID` by which features/index knows that nothing else has served the
 * brick since: glusterfsd empties that directory at its start. storage/posix spares such a file once, adding
 * the suffix, so that a start of a brick without features/index counts as something else, too.
 */
export const BRICK_TOKEN = { PREFIX: "mortar-token-", SEEN: ".seen" } as const;

/** Namespaces that Linux knows for xattr names. */
export const XATTR_NAMESPACES = ["user.", "trusted.", "security.", "system."] as const;
