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

/** Namespaces that Linux knows for xattr names. */
export const XATTR_NAMESPACES = ["user.", "trusted.", "security.", "system."] as const;
