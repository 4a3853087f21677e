/**
 * Files of this machine as a tree. Without root a file's owner stays whoever runs the command, as with cp.
 */

import { resolve } from "node:path";
import { type Extent, findExtents } from "../../api/extents.ts";
import { FopError } from "../../core/errors.ts";
import type { IoVec } from "../../core/iovec.ts";
import { decodeName } from "../../core/name.ts";
import { O_CREAT, O_DIRECTORY, O_EXCL, O_NONBLOCK, O_RDONLY, O_WRONLY } from "../../core/open-flags.ts";
import * as files from "../../os/files.ts";
import { LocalFile, type LocalRead } from "../../os/local-file.ts";
import {
  isRefusal,
  type NodeStat,
  type SourceFile,
  type TargetFile,
  type Tree,
  type TreeEntry,
} from "./tree.ts";

export class LocalTree implements Tree {
  stat(path: string): Promise<NodeStat> {
    return files.stat(path);
  }

  lstat(path: string): Promise<NodeStat> {
    return files.lstat(path);
  }

  async *list(path: string): AsyncGenerator<TreeEntry> {
    for (const { name } of await files.readdir(path))
      yield { name, stat: await files.lstat(`${path}/${name}`) };
  }

  async open(path: string): Promise<SourceFile> {
    return new LocalSource(await LocalFile.open(path, O_RDONLY | O_NONBLOCK));
  }

  async create(path: string, mode: number): Promise<TargetFile> {
    return new LocalTarget(await LocalFile.open(path, O_CREAT | O_EXCL | O_WRONLY, mode));
  }

  mkdir(path: string, mode: number): Promise<void> {
    return files.mkdir(path, mode);
  }

  async readlink(path: string): Promise<string> {
    return decodeName(await files.readlink(path));
  }

  symlink(target: string, path: string): Promise<void> {
    return files.symlink(target, path);
  }

  rename(from: string, to: string): Promise<void> {
    return files.rename(from, to);
  }

  unlink(path: string): Promise<void> {
    return files.unlink(path);
  }

  rmdir(path: string): Promise<void> {
    return files.rmdir(path);
  }

  async takeAttributes(path: string, of: NodeStat): Promise<void> {
    await unlessForbidden(files.lchown(path, of.uid, of.gid));
    await files.chmod(path, of.mode & 0o7777);
    await files.utimens(path, timesOf(of));
  }

  async syncDirectory(path: string): Promise<void> {
    await using directory = await LocalFile.open(path, O_RDONLY | O_DIRECTORY);
    await directory.fsync().catch((error) => {
      if (!isRefusal(error)) throw error;
    });
  }

  absolute(path: string): string {
    return resolve(path);
  }

  async identity(path: string): Promise<string> {
    const { dev, ino } = await files.stat(path);
    return `local ${dev} ${ino}`;
  }
}

class LocalSource implements SourceFile {
  readonly #file: LocalFile;

  constructor(file: LocalFile) {
    this.#file = file;
  }

  readVector(offset: number, size: number): Promise<LocalRead> {
    return this.#file.readVector(offset, size);
  }

  extents(options: { signal?: AbortSignal }): AsyncGenerator<Extent> {
    return findExtents(this.#file, options);
  }

  stat(): Promise<NodeStat> {
    return this.#file.stat();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

class LocalTarget implements TargetFile {
  readonly #file: LocalFile;

  constructor(file: LocalFile) {
    this.#file = file;
  }

  write(offset: number, data: IoVec): Promise<number> {
    return this.#file.write(offset, data);
  }

  truncate(size: number): Promise<void> {
    return this.#file.truncate(size);
  }

  async takeAttributes(of: NodeStat): Promise<void> {
    await unlessForbidden(this.#file.chown(of.uid, of.gid));
    await this.#file.chmod(of.mode & 0o7777);
    await this.#file.utimes(timesOf(of));
  }

  fsync(): Promise<void> {
    return this.#file.fsync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Only root may give files away; cp says nothing about that either. */
async function unlessForbidden(chown: Promise<void>): Promise<void> {
  try {
    await chown;
  } catch (error) {
    if (!(error instanceof FopError) || error.code !== "EPERM") throw error;
  }
}

function timesOf({ atime, atimeNsec, mtime, mtimeNsec }: NodeStat): files.NewTimes {
  return { atime, atimeNsec, mtime, mtimeNsec };
}
