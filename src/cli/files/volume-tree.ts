/** Files of a volume as a tree, by the library. */

import type { File } from "../../api/file.ts";
import type { Times } from "../../api/times.ts";
import type { Volume } from "../../api/volume.ts";
import type { IoVec } from "../../core/iovec.ts";
import { O_CREAT, O_EXCL, O_RDONLY, O_RDWR } from "../../core/open-flags.ts";
import {
  isRefusal,
  type NodeStat,
  type SourceFile,
  type TargetFile,
  type Tree,
  type TreeEntry,
} from "./tree.ts";

export class VolumeTree implements Tree {
  readonly volume: Volume;
  /** Tells trees of different volumes apart. */
  readonly #id: string;

  constructor(volume: Volume, id: string) {
    this.volume = volume;
    this.#id = id;
  }

  stat(path: string): Promise<NodeStat> {
    return this.volume.stat(path);
  }

  lstat(path: string): Promise<NodeStat> {
    return this.volume.lstat(path);
  }

  list(path: string): AsyncIterable<TreeEntry> {
    return this.volume.readdir(path);
  }

  open(path: string): Promise<SourceFile> {
    return this.volume.open(path, O_RDONLY);
  }

  async create(path: string, mode: number): Promise<TargetFile> {
    return new VolumeTarget(await this.volume.open(path, O_CREAT | O_EXCL | O_RDWR, mode));
  }

  async mkdir(path: string, mode: number): Promise<void> {
    await this.volume.mkdir(path, mode);
  }

  readlink(path: string): Promise<string> {
    return this.volume.readlink(path);
  }

  async symlink(target: string, path: string): Promise<void> {
    await this.volume.symlink(target, path);
  }

  rename(from: string, to: string): Promise<void> {
    return this.volume.rename(from, to);
  }

  unlink(path: string): Promise<void> {
    return this.volume.unlink(path);
  }

  rmdir(path: string): Promise<void> {
    return this.volume.rmdir(path);
  }

  async takeAttributes(path: string, of: NodeStat): Promise<void> {
    await this.volume.lchown(path, of.uid, of.gid);
    await this.volume.chmod(path, of.mode & 0o7777);
    await this.volume.lutimes(path, timesOf(of));
  }

  async syncDirectory(path: string): Promise<void> {
    await this.volume.fsyncDirectory(path).catch((error) => {
      if (!isRefusal(error)) throw error;
    });
  }

  absolute(path: string): string {
    return path;
  }

  async identity(path: string): Promise<string> {
    return `${this.#id} ${(await this.volume.stat(path)).gfid.toString("hex")}`;
  }
}

class VolumeTarget implements TargetFile {
  readonly #file: File;

  constructor(file: File) {
    this.#file = file;
  }

  write(offset: number, data: IoVec): Promise<number> {
    return this.#file.write(offset, data);
  }

  truncate(size: number): Promise<void> {
    return this.#file.truncate(size);
  }

  async takeAttributes(of: NodeStat): Promise<void> {
    await this.#file.chown(of.uid, of.gid);
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

function timesOf(of: NodeStat): Times {
  return { atime: { sec: of.atime, nsec: of.atimeNsec }, mtime: { sec: of.mtime, nsec: of.mtimeNsec } };
}
