/**
 * features/upcall: tells clients of what others change in files that they have asked for lately, so that they
 * may keep what they know for minutes (spec translators.md 7.2; GlusterFS features/upcall).
 *
 * Promises, while `cache-invalidation` is on: a client that had an answer about an object within
 * `cache-invalidation-timeout` is told of the next change by another client before that change is answered;
 * also when its own question was under way then. Whom the table has no room for is told to forget. A client
 * that was told counts again with its next question. Every word says "invalidate" and carries no attributes:
 * those of a change may be old when they arrive. Needs above: protocol/server, which knows the clients.
 */

import { LRUCache } from "lru-cache";
import type { Call } from "../../src/core/call.ts";
import { ChangeWatch } from "../../src/core/change-watch.ts";
import { type Args, FOP_NAMES, type FopName, type Naming, type Reply } from "../../src/core/fops.ts";
import { type Gfid, gfidKey, gfidOf, isNullGfid } from "../../src/core/gfid.ts";
import type { Iatt } from "../../src/core/iatt.ts";
import { type Fd, INODE_LRU_LIMIT, type Inode, type Loc } from "../../src/core/inode.ts";
import { O_TRUNC } from "../../src/core/open-flags.ts";
import { bool, int, type OptionTable } from "../../src/core/options.ts";
import { IPC_UPCALL, UPCALL } from "../../src/core/upcall-flags.ts";
import {
  type Dump,
  defineXlator,
  exactly,
  wind,
  Xlator,
  type XlatorDefinition,
  type XlatorInit,
} from "../../src/core/xlator.ts";

const options = {
  "cache-invalidation": bool({
    default: false,
    live: true,
    volumeKey: "features.cache-invalidation",
    describe: "Tell clients of changes that others made.",
  }),
  "cache-invalidation-timeout": int({
    default: 60,
    min: 0,
    live: true,
    volumeKey: "features.cache-invalidation-timeout",
    describe: "Seconds for which a client is told after it asked.",
  }),
} as const satisfies OptionTable;

export const upcall: XlatorDefinition = upcallWith(INODE_LRU_LIMIT);

/** The type with room for another number of objects, for tests. */
export function upcallWith(objectsMax: number): XlatorDefinition {
  return defineXlator({
    type: "features/upcall",
    children: exactly(1),
    options,
    create: (init: XlatorInit<typeof options>) => new Upcalls(init, objectsMax),
  });
}

/** Replies that tell of objects, of whatever fop. */
interface Telling {
  readonly stat?: Iatt;
  readonly entries?: readonly { readonly stat?: Iatt }[];
}

/** What one fop changes: objects, and in which way. */
type Changes = readonly (readonly [inode: Inode | undefined, flags: number])[];

const DATA = UPCALL.SIZE | UPCALL.TIMES;
const ATTRIBUTES = DATA | UPCALL.OWNER | UPCALL.MODE | UPCALL.PERMISSIONS;
const NAMES = UPCALL.NLINK | UPCALL.TIMES;
const PARENT = UPCALL.PARENT_TIMES | UPCALL.TIMES;
/** Counters of pending heals change with every write and are nobody's business but the heal's. */
const UNHEEDED = "trusted.afr.";

const byFd =
  (flags: number) =>
  ({ fd }: { readonly fd: Fd }): Changes => [[fd.inode, flags]];
const byLoc =
  (flags: number) =>
  ({ loc }: { readonly loc: Loc }): Changes => [[loc.inode, flags]];
const byName = ({ loc }: { readonly loc: Loc }): Changes => [
  [loc.inode, NAMES],
  [loc.parent, PARENT],
];

const CHANGES: { readonly [F in FopName]?: (args: Args<F>) => Changes } = {
  mknod: byName,
  mkdir: byName,
  unlink: byName,
  rmdir: byName,
  symlink: byName,
  create: byName,
  namelink: byName,
  put: byName,
  icreate: byName,
  rename: ({ from, to }) => [
    [from.inode, UPCALL.RENAME],
    [to.inode, NAMES],
    [from.parent, PARENT],
    [to.parent, PARENT],
  ],
  link: ({ from, to }) => [
    [from.inode, NAMES],
    [to.parent, PARENT],
  ],
  truncate: byLoc(DATA),
  open: ({ loc, flags }) => ((flags & O_TRUNC) !== 0 ? [[loc.inode, DATA]] : []),
  writev: byFd(DATA),
  ftruncate: byFd(DATA),
  fallocate: byFd(DATA),
  discard: byFd(DATA),
  zerofill: byFd(DATA),
  copy_file_range: ({ fdOut }) => [[fdOut.inode, DATA]],
  setattr: byLoc(ATTRIBUTES),
  fsetattr: byFd(ATTRIBUTES),
  setxattr: byLoc(UPCALL.XATTR),
  fsetxattr: byFd(UPCALL.XATTR),
  removexattr: byLoc(UPCALL.XATTR_REMOVED),
  fremovexattr: byFd(UPCALL.XATTR_REMOVED),
  xattrop: ({ loc, xattrs }) => (isHeeded(xattrs.keys()) ? [[loc.inode, UPCALL.XATTR]] : []),
  fxattrop: ({ fd, xattrs }) => (isHeeded(xattrs.keys()) ? [[fd.inode, UPCALL.XATTR]] : []),
};

class Upcalls extends Xlator<typeof options> {
  readonly #watch = new ChangeWatch();
  /** By object, who knows something of it, and since when (milliseconds). */
  readonly #known: LRUCache<string, Map<string, number>>;

  constructor(init: XlatorInit<typeof options>, objectsMax: number) {
    super(init);
    this.#known = new LRUCache({
      max: objectsMax,
      dispose: (clients, key, why) => {
        if (why === "evict") this.#tellAll(gfidOf(Buffer.from(key, "latin1")), clients, UPCALL.FORGET);
      },
    });
  }

  override dump(): Dump {
    return { objects: this.#known.size };
  }

  /** What clients want to hear of; they hear of all. */
  override ipc(call: Call, args: Args<"ipc">): Promise<Reply<"ipc">> {
    return args.op === IPC_UPCALL && this.options["cache-invalidation"]
      ? Promise.resolve({})
      : this.child.ipc(call, args);
  }

  around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const client = call.client?.id;
    if (client === undefined || !this.options["cache-invalidation"]) return wind(this.child, fop, call, args);
    return this.#watched(fop, call, args, client);
  }

  async #watched<F extends FopName>(fop: F, call: Call, args: Args<F>, client: string): Promise<Reply<F>> {
    const changes = CHANGES[fop]?.(args) ?? [];
    const since = this.#watch.begin();
    this.#changed(changes, client);
    try {
      const reply = await wind(this.child, fop, call, args);
      this.#asked(args as Naming, reply as Telling, client, since, changes);
      return reply;
    } finally {
      // Also of a change that failed: something of it may have happened.
      this.#changed(changes, client);
      this.#watch.end();
    }
  }

  #changed(changes: Changes, client: string): void {
    for (const [inode, flags] of changes) {
      if (inode === undefined || !inode.linked) continue;
      const key = gfidKey(inode.gfid);
      this.#watch.changed(key, 1);
      const clients = this.#known.get(key);
      if (clients === undefined) continue;
      const own = clients.get(client);
      clients.delete(client);
      this.#tellAll(inode.gfid, clients, flags);
      clients.clear();
      if (own !== undefined) clients.set(client, own);
      else this.#known.delete(key);
    }
  }

  /** The client knows now what the reply says of these objects, or what it will conclude from it. */
  #asked(args: Naming, reply: Telling, client: string, since: number, changes: Changes): void {
    const { fd, fdIn, fdOut, loc, from, to } = args;
    const own = new Set(changes.map(([inode]) => inode));
    for (const inode of [fd?.inode, fdIn?.inode, fdOut?.inode, loc?.inode, loc?.parent])
      if (inode?.linked) this.#knows(inode.gfid, client, own.has(inode) ? undefined : since);
    for (const inode of [from?.inode, from?.parent, to?.inode, to?.parent])
      if (inode?.linked) this.#knows(inode.gfid, client, own.has(inode) ? undefined : since);
    if (reply.stat !== undefined) this.#knows(reply.stat.gfid, client, since);
    for (const { stat } of reply.entries ?? []) if (stat !== undefined) this.#knows(stat.gfid, client, since);
  }

  /** `since`: when it asked, unless it is the one who changed the object. */
  #knows(gfid: Gfid, client: string, since: number | undefined): void {
    if (isNullGfid(gfid)) return;
    const key = gfidKey(gfid);
    // Somebody changed it in between: what the answer says may be of before.
    if (since !== undefined && !this.#watch.unchangedSince(key, since))
      this.#tell(gfid, client, UPCALL.TIMES | UPCALL.SIZE);
    let clients = this.#known.get(key);
    if (clients === undefined) {
      clients = new Map();
      this.#known.set(key, clients);
    }
    clients.set(client, this.env.clock.nowMs());
  }

  #tellAll(gfid: Gfid, clients: ReadonlyMap<string, number>, flags: number): void {
    const expiredMs = this.env.clock.nowMs() - this.options["cache-invalidation-timeout"] * 1000;
    for (const [client, askedMs] of clients) if (askedMs > expiredMs) this.#tell(gfid, client, flags);
  }

  #tell(gfid: Gfid, to: string, flags: number): void {
    const expireSec = this.options["cache-invalidation-timeout"];
    // Without attributes of its own a GlusterFS client must not take any from here.
    const all = flags | UPCALL.ATTRIBUTES;
    this.notifyParents({
      type: "upcall",
      upcall: { kind: "cache-invalidation", gfid, flags: all, expireSec },
      to,
    });
  }
}

function isHeeded(keys: Iterable<string>): boolean {
  for (const key of keys) if (!key.startsWith(UNHEEDED)) return true;
  return false;
}

for (const fop of FOP_NAMES) {
  if (Object.hasOwn(Upcalls.prototype, fop)) continue;
  Object.defineProperty(Upcalls.prototype, fop, {
    value(this: Upcalls, call: Call, args: Args<typeof fop>) {
      return this.around(fop, call, args);
    },
  });
}
