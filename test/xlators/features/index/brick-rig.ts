/** A brick with an index, in memory or in a directory, and the calls that replicate and crawls make to it. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { internalCall } from "../../../../src/core/call.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { XATTROP } from "../../../../src/core/fops.ts";
import { type Gfid, newGfid, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { S_IFDIR, S_IFREG } from "../../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../../src/core/inode.ts";
import { INDEX_KEY, KEY } from "../../../../src/core/keys.ts";
import { O_RDWR } from "../../../../src/core/open-flags.ts";
import type { XlatorBase, XlatorDefinition } from "../../../../src/core/xlator.ts";
import { indexOn } from "../../../../xlators/features/index/index-xlator.ts";
import { MemoryIndexStore } from "../../../../xlators/features/index/memory-store.ts";
import { MemoryDisk } from "../../../../xlators/storage/memory/disk.ts";
import { memoryOn } from "../../../../xlators/storage/memory.ts";
import { createBrickDirectory } from "../../../../xlators/storage/posix/brick-dir.ts";
import { type Layer, type StartedGraph, stack, startGraph } from "../../../support/build-graph.ts";

export const VOLUME = "v";
export const DIRTY = "trusted.afr.dirty";
export const pendingKey = (child: number): string => `trusted.afr.${VOLUME}-client-${child}`;

/** Three counters as an xattr holds them. */
export function counts(data: number, metadata = 0, entry = 0): Buffer {
  const bytes = Buffer.alloc(12);
  for (const [i, count] of [data, metadata, entry].entries()) bytes.writeInt32BE(count, 4 * i);
  return bytes;
}

const WATCHED = {
  "xattrop-pending-watchlist": `trusted.afr.${VOLUME}-`,
  "xattrop-dirty-watchlist": DIRTY,
};

/** Where a brick is stored; outlives its graphs. */
export interface BrickPlace extends AsyncDisposable {
  readonly kind: "memory" | "disk";
  /** Directory of a brick on disk. */
  readonly directory: string;
  readonly store: MemoryIndexStore;
  readonly disk: MemoryDisk;
}

export async function brickPlace(kind: "memory" | "disk"): Promise<BrickPlace> {
  const top = kind === "disk" ? mkdtempSync(join(tmpdir(), "mortar-index-")) : "";
  if (kind === "disk") await createBrickDirectory(top, newGfid());
  return {
    kind,
    directory: top,
    store: new MemoryIndexStore(),
    disk: new MemoryDisk(),
    async [Symbol.asyncDispose]() {
      if (top !== "") rmSync(top, { recursive: true, force: true });
    },
  };
}

/** A running brick: index over locks over storage. */
export class Brick implements AsyncDisposable {
  readonly graph: StartedGraph;
  readonly top: XlatorBase;
  readonly root = new Inode(ROOT_GFID, S_IFDIR);
  readonly call = internalCall(-6);

  /** Over a graph of the caller's: a client of a brick that runs elsewhere. */
  constructor(graph: StartedGraph) {
    this.graph = graph;
    this.top = graph.top;
  }

  static async start(
    place: BrickPlace,
    options: Readonly<Record<string, string>> = {},
    between: readonly Layer[] = [],
  ): Promise<Brick> {
    const storage: Layer =
      place.kind === "disk"
        ? { name: "storage", type: "storage/posix", options: { directory: place.directory } }
        : { name: "storage", type: "storage/memory" };
    const base = place.kind === "disk" ? { "index-base": `${place.directory}/.glusterfs/indices` } : {};
    const layers: Layer[] = [
      storage,
      ...between,
      { name: "locks", type: "features/locks" },
      { name: "index", type: "features/index", options: { ...WATCHED, ...base, ...options } },
    ];
    const definitions: XlatorDefinition[] =
      place.kind === "disk" ? [] : [memoryOn(place.disk), indexOn(place.store)];
    return new Brick(await startGraph(stack(...layers), { contracts: true, definitions }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.graph[Symbol.asyncDispose]();
  }

  /** A file of the given size, with its inode. One with contents is on disk, and a batch has begun on it. */
  async file(name: string, size = 0, gfid: Gfid = newGfid()): Promise<Inode> {
    const inode = new Inode();
    const xdata = new Dict().setGfid(KEY.GFID_REQ, gfid);
    const loc = { inode, parent: this.root, name };
    await this.top.mknod(this.call, { loc, mode: S_IFREG | 0o600, rdev: 0, umask: 0, xdata });
    inode.gfid = gfid;
    inode.type = S_IFREG;
    if (size === 0) return inode;
    await this.top.truncate(this.call, { loc: { inode }, offset: size });
    await this.sync(inode);
    await this.batch(inode);
    return inode;
  }

  async sync(inode: Inode): Promise<void> {
    await this.top.fsync(this.call, { fd: Fd.anonymous(inode, O_RDWR), datasync: false });
  }

  /** The marks of a batch that has a verdict. */
  async batch(inode: Inode): Promise<void> {
    await this.add(inode, { [DIRTY]: counts(1) });
    await this.add(inode, { [DIRTY]: counts(-1) });
  }

  async directory(name: string): Promise<Inode> {
    const inode = new Inode();
    const gfid = newGfid();
    const xdata = new Dict().setGfid(KEY.GFID_REQ, gfid);
    await this.top.mkdir(this.call, {
      loc: { inode, parent: this.root, name },
      mode: 0o700,
      umask: 0,
      xdata,
    });
    inode.gfid = gfid;
    inode.type = S_IFDIR;
    return inode;
  }

  async open(inode: Inode): Promise<Fd> {
    const fd = new Fd(inode, O_RDWR);
    await this.top.open(this.call, { loc: { inode }, fd, flags: O_RDWR });
    return fd;
  }

  /** Adds to counters; the reply's values. */
  async add(inode: Inode, increments: Readonly<Record<string, Buffer>>, xdata?: Dict): Promise<Dict> {
    const args = { loc: { inode }, op: XATTROP.ADD_ARRAY, xattrs: Dict.ofBytes(increments), xdata };
    return (await this.top.xattrop(this.call, args)).xattrs;
  }

  /** The virtual directory of a class. */
  async indexDirectory(key: string): Promise<Inode> {
    const { xattrs } = await this.top.getxattr(this.call, { loc: { inode: this.root }, name: key });
    const inode = new Inode(xattrs.gfid(key)!, S_IFDIR);
    await this.top.lookup(this.call, { loc: { inode } });
    return inode;
  }

  /** Names of a virtual directory, in pages of `size` bytes, sorted. */
  async names(inode: Inode, size = 4096): Promise<string[]> {
    const fd = new Fd(inode, 0);
    await this.top.opendir(this.call, { loc: { inode }, fd });
    const names: string[] = [];
    for (let offset = 0n, eof = false; !eof; ) {
      const page = await this.top.readdir(this.call, { fd, size, offset });
      names.push(...page.entries.map(({ name }) => name));
      offset = page.entries.at(-1)?.offset ?? offset;
      eof = page.eof;
    }
    await this.top.releasedir(fd);
    return names.sort();
  }

  async listed(key: "PENDING_GFID" | "DIRTY_GFID" | "ENTRY_CHANGES_GFID"): Promise<string[]> {
    return this.names(await this.indexDirectory(INDEX_KEY[key]));
  }
}
