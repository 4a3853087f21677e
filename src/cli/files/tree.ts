/**
 * What commands need of a tree of files, wherever it lies: in a volume (volume-tree.ts) or on this machine
 * (local-tree.ts). Paths are strings in Mortar's form (src/core/name.ts); everything rejects with FopError.
 */

import type { Extent } from "../../api/extents.ts";
import { type ErrnoName, FopError } from "../../core/errors.ts";
import type { Iatt } from "../../core/iatt.ts";
import type { IoVec, Lease } from "../../core/iovec.ts";

/** Attributes that both sides have. Times in seconds and nanoseconds, blocks of 512 bytes. */
export type NodeStat = Pick<
  Iatt,
  | "mode"
  | "nlink"
  | "uid"
  | "gid"
  | "size"
  | "blocks"
  | "blksize"
  | "atime"
  | "atimeNsec"
  | "mtime"
  | "mtimeNsec"
  | "ctime"
  | "ctimeNsec"
>;

export interface TreeEntry {
  readonly name: string;
  readonly stat: NodeStat;
}

/** An open file to read from. */
export interface SourceFile {
  readVector(offset: number, size: number): Promise<Lease & { data: IoVec; size: number; eof: boolean }>;
  /** Data and holes, without gaps. */
  extents(options: { signal?: AbortSignal }): AsyncIterable<Extent>;
  stat(): Promise<NodeStat>;
  close(): Promise<void>;
}

/** A new file that is written. */
export interface TargetFile {
  write(offset: number, data: IoVec): Promise<number>;
  truncate(size: number): Promise<void>;
  /** Gives it owner, mode and times of another one. */
  takeAttributes(of: NodeStat): Promise<void>;
  fsync(): Promise<void>;
  close(): Promise<void>;
}

export interface Tree {
  /** Attributes, of what a symlink leads to. */
  stat(path: string): Promise<NodeStat>;
  lstat(path: string): Promise<NodeStat>;
  /** Entries of a directory in the order of the file system. */
  list(path: string): AsyncIterable<TreeEntry>;
  open(path: string): Promise<SourceFile>;
  /** A file that is not there yet; EEXIST otherwise. */
  create(path: string, mode: number): Promise<TargetFile>;
  mkdir(path: string, mode: number): Promise<void>;
  readlink(path: string): Promise<string>;
  symlink(target: string, path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  rmdir(path: string): Promise<void>;
  /** Owner, mode and times of a directory. */
  takeAttributes(path: string, of: NodeStat): Promise<void>;
  /** Names in the directory are durable. */
  syncDirectory(path: string): Promise<void>;
  /** The path from the root of the tree. */
  absolute(path: string): string;
  /** One and the same object has one and the same identity. */
  identity(path: string): Promise<string>;
}

/** Whether a failure says that a file system cannot do a thing at all. */
export function isRefusal(error: unknown): boolean {
  const refusals: readonly ErrnoName[] = ["EINVAL", "EOPNOTSUPP", "ENOSYS"];
  return error instanceof FopError && refusals.includes(error.code);
}
