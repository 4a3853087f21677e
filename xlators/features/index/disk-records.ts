/**
 * Records of changed ranges on disk: files `.glusterfs/mortar-changes/GFID.BRICK-ID`, unknown to GlusterFS.
 *
 * A record is worth something only while every change of the brick's marks went through features/index. So
 * the directory's `owner` file names a token (see BRICK_TOKEN): whatever else served the brick in between,
 * the token is gone at the next start, and all records are dropped.
 *
 * Nothing is flushed: a record carries the counter that it explains, so that one that is lost or damaged by a
 * power failure costs a longer heal and no more.
 */

import { type ErrnoName, FopError } from "../../../src/core/errors.ts";
import { gfidText, newGfid } from "../../../src/core/gfid.ts";
import { BRICK_TOKEN } from "../../../src/core/keys.ts";
import { O_APPEND, O_CREAT, O_RDONLY, O_TRUNC, O_WRONLY } from "../../../src/core/open-flags.ts";
import { openDiskIo } from "../../../src/os/disk-io.ts";
import { close, fstat, mkdir, open, readdir, rename, unlink } from "../../../src/os/files.ts";
import type { RecordStore } from "./record-store.ts";

const OWNER = "owner";
/** Suffix of a record that is being written; one that is left over is removed at the next start. */
const NEW = ".new";
const io = openDiskIo("pool");

export class DiskRecordStore implements RecordStore {
  readonly #directory: string;
  readonly #unlink: string;
  readonly #names = new Set<string>();

  /** `hidden`: the brick's `.glusterfs`. */
  constructor(hidden: string) {
    this.#directory = `${hidden}/mortar-changes`;
    this.#unlink = `${hidden}/unlink`;
  }

  async open(): Promise<void> {
    await unlessCode("EEXIST", mkdir(this.#directory, 0o700));
    const owner = await this.#owner();
    const token = `${this.#unlink}/${BRICK_TOKEN.PREFIX}${owner}`;
    const ours =
      owner !== undefined && (await unlessCode("ENOENT", rename(`${token}${BRICK_TOKEN.SEEN}`, token)));
    for (const { name } of await readdir(this.#directory)) {
      if (name === OWNER) continue;
      if (ours && !name.endsWith(NEW)) this.#names.add(name);
      else await unlink(`${this.#directory}/${name}`);
    }
    if (!ours) await this.#own();
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  get count(): number {
    return this.#names.size;
  }

  namesFrom(prefix: string): readonly string[] {
    return [...this.#names].filter((name) => name.startsWith(prefix));
  }

  async read(name: string): Promise<Buffer> {
    const fd = await open(this.#path(name), O_RDONLY);
    try {
      const content = Buffer.allocUnsafe(fstat(fd).size);
      let filled = 0;
      while (filled < content.length) {
        const count = await io.readv(fd, [content.subarray(filled)], filled);
        if (count === 0) break;
        filled += count;
      }
      return content.subarray(0, filled);
    } finally {
      await close(fd);
    }
  }

  async replace(name: string, content: Buffer): Promise<void> {
    const fresh = this.#path(name + NEW);
    await write(fresh, O_CREAT | O_TRUNC, content);
    await rename(fresh, this.#path(name));
    this.#names.add(name);
  }

  async append(name: string, content: Buffer): Promise<void> {
    await write(this.#path(name), O_APPEND, content);
  }

  async remove(name: string): Promise<void> {
    if (!this.#names.has(name)) return;
    await unlessCode("ENOENT", unlink(this.#path(name)));
    this.#names.delete(name);
  }

  /** The uuid of the token, if there is a well-formed one. */
  async #owner(): Promise<string | undefined> {
    try {
      const text = (await this.read(OWNER)).toString("latin1");
      return /^[0-9a-f-]{36}$/.test(text) ? text : undefined;
    } catch (error) {
      if (error instanceof FopError && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** A new token, on disk before the name of it. */
  async #own(): Promise<void> {
    const uuid = gfidText(newGfid());
    await write(`${this.#unlink}/${BRICK_TOKEN.PREFIX}${uuid}`, O_CREAT, Buffer.alloc(0));
    await this.replace(OWNER, Buffer.from(uuid));
    this.#names.delete(OWNER);
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`;
  }
}

/** Writes all of `content` or rejects; ENOSPC when only a part of it fits. */
async function write(path: string, flags: number, content: Buffer): Promise<void> {
  const fd = await open(path, O_WRONLY | flags, 0o600);
  try {
    if (content.length === 0) return;
    const count = await io.writev(fd, [content], 0);
    if (count < content.length) throw new FopError("ENOSPC");
  } finally {
    await close(fd);
  }
}

/** False when the work failed with this very errno. */
async function unlessCode(code: ErrnoName, work: Promise<void>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (error instanceof FopError && error.code === code) return false;
    throw error;
  }
}
