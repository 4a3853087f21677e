/**
 * An index in memory, for bricks in memory: outlives the graph, and crashes as its brick's disk does. Names
 * survive a crash at once and in order, as those of the brick do (storage/memory); the contents of records
 * are lost but for what `keep` says.
 */

import { FopError } from "../../../src/core/errors.ts";
import { type Gfid, gfidOf } from "../../../src/core/gfid.ts";
import { type Iatt, S_IFDIR, S_IFREG, ZERO_IATT } from "../../../src/core/iatt.ts";
import {
  checkEntryName,
  type IndexStore,
  indexName,
  type MarkClass,
  type Place,
  type StoredEntry,
} from "./index-store.ts";
import type { RecordStore } from "./record-store.ts";

export class MemoryIndexStore implements IndexStore {
  readonly records = new MemoryRecordStore();
  readonly #marks: Readonly<Record<MarkClass, Set<string>>> = { xattrop: new Set(), dirty: new Set() };
  readonly #names = new Map<string, Set<string>>();
  #aside = 1;

  async open(): Promise<void> {
    await this.records.open();
  }

  /** Power failure. `keep` tells of a record whether what was last written to it had reached the disk. */
  crash(keep: (record: string) => boolean = () => false): void {
    this.records.crash(keep);
  }

  async add(where: MarkClass, gfid: Gfid): Promise<void> {
    this.#marks[where].add(indexName(gfid));
  }

  async remove(where: MarkClass, gfid: Gfid): Promise<void> {
    this.#marks[where].delete(indexName(gfid));
  }

  async addName(directory: Gfid, name: string): Promise<void> {
    checkEntryName(name);
    const key = indexName(directory);
    const names = this.#names.get(key) ?? new Set();
    this.#names.set(key, names.add(name));
  }

  async removeName(directory: string, name: string): Promise<void> {
    checkEntryName(name);
    this.#names.get(directory)?.delete(name);
  }

  async removeDirectory(directory: string): Promise<void> {
    const names = this.#names.get(directory);
    this.#names.delete(directory);
    if (names && names.size > 0) this.#names.set(indexName(asideGfid(this.#aside++)), names);
  }

  async wipeDirectory(directory: string): Promise<void> {
    this.#names.delete(directory);
  }

  async list(place: Place): Promise<readonly StoredEntry[]> {
    const isDirectory = place.class === "entry-changes" && place.of === undefined;
    return [...this.#entries(place)].map((name) => ({ name, isDirectory }));
  }

  async stat(place: Place, name?: string): Promise<Iatt> {
    const entries = this.#entries(place);
    if (name === undefined) return { ...ZERO_IATT, mode: S_IFDIR | 0o600, nlink: 2 };
    if (!entries.has(name)) throw new FopError("ENOENT");
    const isDirectory = place.class === "entry-changes" && place.of === undefined;
    return { ...ZERO_IATT, mode: isDirectory ? S_IFDIR | 0o600 : S_IFREG, nlink: 2 };
  }

  count(where: MarkClass): number {
    return this.#marks[where].size;
  }

  #entries(place: Place): { has(name: string): boolean; [Symbol.iterator](): Iterator<string> } {
    if (place.class !== "entry-changes") return this.#marks[place.class];
    if (place.of === undefined) return new Set(this.#names.keys());
    const names = this.#names.get(place.of);
    if (!names) throw new FopError("ENOENT");
    return names;
  }
}

/** No object's gfid, and the same in every run of a simulation. */
function asideGfid(sequence: number): Gfid {
  const bytes = Buffer.alloc(16, 0xff);
  bytes.writeUInt32BE(sequence, 12);
  return gfidOf(bytes);
}

interface MemoryRecord {
  content: Buffer;
  /** What is left when the last write did not reach the disk. */
  before: Buffer;
}

/** Nothing but this brick's features/index ever sees the marks of a brick in memory. */
class MemoryRecordStore implements RecordStore {
  readonly #records = new Map<string, MemoryRecord>();

  async open(): Promise<void> {}

  has(name: string): boolean {
    return this.#records.has(name);
  }

  get count(): number {
    return this.#records.size;
  }

  namesFrom(prefix: string): readonly string[] {
    return [...this.#records.keys()].filter((name) => name.startsWith(prefix));
  }

  async read(name: string): Promise<Buffer> {
    const record = this.#records.get(name);
    if (!record) throw new FopError("ENOENT");
    return record.content;
  }

  async replace(name: string, content: Buffer): Promise<void> {
    this.#records.set(name, { content: Buffer.from(content), before: Buffer.alloc(0) });
  }

  async append(name: string, content: Buffer): Promise<void> {
    const record = this.#records.get(name);
    if (!record) throw new FopError("ENOENT");
    record.before = record.content;
    record.content = Buffer.concat([record.content, content]);
  }

  async remove(name: string): Promise<void> {
    this.#records.delete(name);
  }

  crash(keep: (record: string) => boolean): void {
    for (const [name, record] of this.#records) if (!keep(name)) record.content = record.before;
  }
}
