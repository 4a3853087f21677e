/**
 * Translator types of GlusterFS that Mortar knows and does nothing in: one table, with the reason why that is
 * right.
 *
 * A row passes every fop to its first child. Where passing would lose, hide or change data, or would silently
 * drop a rule that an administrator set, the row refuses instead: `refuse` looks at the options and the
 * children and says why. `mortar graph` shows the reasons. What glusterd 10.x writes was read from GlusterFS
 * xlators/mgmt/glusterd/src/glusterd-volgen.c; option names and defaults from the option tables of the
 * translators.
 */

import { UserError } from "../src/core/errors.ts";
import { bool, type OptionTable, type OptionValues } from "../src/core/options.ts";
import {
  atLeast,
  type ChildCount,
  type ChildEvent,
  defineXlator,
  exactly,
  Xlator,
  type XlatorBase,
  type XlatorDefinition,
} from "../src/core/xlator.ts";

interface Row {
  readonly type: string;
  /** Why nothing is lost by passing through; shown to people. */
  readonly reason: string;
  /** Exactly one when absent. */
  readonly children?: ChildCount;
  /** Only the options that decide whether passing is right. */
  readonly options?: OptionTable;
  /** Why this section must not pass through; undefined when it may. */
  readonly refuse?: (options: OptionValues<OptionTable>, childCount: number) => string | undefined;
}

/**
 * Passes fops and events of the first child; further children (snapshots) stay unused and are never started.
 */
class PassThrough extends Xlator {
  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    if (from === this.child) this.notifyParents(event);
  }

  override onParentEvent(event: Parameters<Xlator["onParentEvent"]>[0]): void {
    this.tellChild(this.child, event);
  }
}

function off(describe: string): ReturnType<typeof bool> {
  return bool({ default: false, describe });
}

/** Refuses when any of these options is on. */
function refuseWhenOn(keys: readonly string[], consequence: string): NonNullable<Row["refuse"]> {
  return (options) => {
    const on = keys.find((key) => options[key] === true);
    return on === undefined ? undefined : `option ${on} is on: ${consequence}`;
  };
}

/** A cluster translator that is the identity over one child and needs its own code over more. */
function onlyOneChild(does: string): NonNullable<Row["refuse"]> {
  return (_options, childCount) =>
    childCount === 1
      ? undefined
      : `${childCount} subvolumes: Mortar does not ${does} yet, and passing to one of them would be wrong; ` +
        "use a volume of one brick, or name one subvolume with --volume-name";
}

const ROWS: readonly Row[] = [
  {
    type: "cluster/nufa",
    reason: "distribute with local preference: over one subvolume there is no choice; more are refused",
    children: atLeast(1),
    refuse: onlyOneChild("place files by locality"),
  },
  {
    type: "cluster/switch",
    reason: "distribute with patterns: over one subvolume there is no choice; more are refused",
    children: atLeast(1),
    refuse: onlyOneChild("place files by pattern"),
  },
  {
    type: "features/barrier",
    reason: "holds calls back only while a snapshot is taken, which glusterd asks of glusterfsd alone",
    options: { barrier: off("Hold back acknowledgements.") },
    refuse: refuseWhenOn(["barrier"], "calls would have to wait for a snapshot that nobody ends"),
  },
  {
    type: "features/bitrot-stub",
    reason: "signs objects only when bit-rot detection is on; on is refused",
    options: { bitrot: off("Keep object versions for the scrubber.") },
    refuse: refuseWhenOn(
      ["bitrot"],
      "writes would leave stale signatures, and a scrubber would condemn good files",
    ),
  },
  {
    type: "features/changelog",
    reason: "records changes only when the changelog is on; on is refused",
    options: { changelog: off("Record changes for geo-replication.") },
    refuse: refuseWhenOn(["changelog"], "geo-replication would miss every change made through Mortar"),
  },
  {
    type: "features/gfid-access",
    reason: "only adds the virtual directory .gfid, which nobody but geo-replication asks for",
  },
  {
    type: "features/leases",
    reason: "grants leases only when they are on; on is refused",
    options: { leases: off("Grant leases.") },
    refuse: refuseWhenOn(["leases"], "clients would rely on leases that nobody recalls"),
  },
  { type: "features/mac-compat", reason: "only answers attributes that macOS probes for" },
  {
    type: "features/marker",
    reason: "accounts for quota and geo-replication; passes while all three are off, on is refused",
    options: {
      quota: off("Account sizes of directories."),
      "inode-quota": off("Account objects of directories."),
      xtime: off("Mark changed trees for geo-replication."),
    },
    refuse: refuseWhenOn(["quota", "inode-quota", "xtime"], "the accounting would go wrong without a word"),
  },
  {
    type: "features/namespace",
    reason: "tags calls with the top directory for statistics; nothing reads the tag",
  },
  {
    type: "features/quiesce",
    reason: "repeats calls while a gateway fails over; Mortar answers ENOTCONN and the caller decides",
  },
  {
    type: "features/quota",
    reason: "enforces limits only when server-quota is on; on is refused",
    options: {
      "server-quota": off("Enforce limits."),
      "deem-statfs": off("Report the limit as the file system's size."),
    },
    refuse: refuseWhenOn(["server-quota"], "the limits of this volume would not be enforced"),
  },
  {
    type: "features/sdfs",
    reason:
      "serialises entry operations of a directory; in storage/posix each is one atomic call of the kernel",
  },
  {
    type: "features/snapview-client",
    reason:
      "only adds the virtual directory .snaps; its second subvolume, the snapshot daemon, is not started",
    children: { min: 1, max: 2 },
  },
  {
    type: "features/trash",
    reason: "keeps removed files only when trash is on; on is refused",
    options: { trash: off("Move removed files to the trash directory.") },
    refuse: refuseWhenOn(["trash"], "removed files would be gone instead of in the trash directory"),
  },
  {
    type: "features/worm",
    reason: "makes files immutable only when worm is on; on is refused",
    options: { worm: off("Write once, read many."), "worm-file-level": off("The same, a file at a time.") },
    refuse: refuseWhenOn(["worm", "worm-file-level"], "files that must not change could be changed"),
  },
  { type: "meta", reason: "only adds the virtual directory .meta with internals of the GlusterFS client" },
  {
    type: "performance/io-threads",
    reason: "moves calls to threads; Mortar's disk and network calls are asynchronous already",
  },
  {
    type: "performance/nl-cache",
    reason:
      "only remembers which names do not exist: the kernel does that itself (negative-timeout), and a name " +
      "that another client makes must not stay hidden",
  },
];

/** Types that no graph may have: passing would lose, hide or change data, or they are another program's. */
const REFUSED: readonly (readonly [type: string, why: string])[] = [
  ["cluster/disperse", "bricks of a dispersed volume hold coded fragments, which Mortar cannot decode"],
  ["debug/sink", "it answers no call; it exists for GlusterFS' own tests"],
  ["features/bit-rot", "this graph belongs to GlusterFS' bit-rot daemon"],
  ["features/cdc", "network.compression changes payload bytes on the wire; switch it off for this volume"],
  ["features/cloudsync", "files may have their data in a remote store, and their stubs would read as holes"],
  ["features/metadisp", "it splits data and metadata over its children, which Mortar does not do"],
  ["features/quotad", "this graph belongs to GlusterFS' quota daemon"],
  ["features/snapview-server", "this graph belongs to GlusterFS' snapshot daemon"],
  ["features/thin-arbiter", "a thin arbiter keeps only replica marks; Mortar would store data on it"],
  ["mgmt/glusterd", "this is the volfile of GlusterFS' management daemon, not of a volume"],
  ["mount/fuse", "the mount is made by `mortar mount VOLFILE MOUNTPOINT`; leave this volume out"],
  ["nfs/server", "this graph belongs to GlusterFS' NFS server"],
  ["playground/rot-13", "it changes every byte on the way"],
];

function refusedDefinition([type, why]: (typeof REFUSED)[number]): XlatorDefinition {
  return defineXlator({
    type,
    children: atLeast(0),
    options: {},
    refused: why,
    create: (init) => new PassThrough(init),
  });
}

function definitionOf(row: Row): XlatorDefinition {
  return defineXlator({
    type: row.type,
    children: row.children ?? exactly(1),
    options: row.options ?? {},
    passThrough: row.reason,
    create: (init) => {
      const why = row.refuse?.(init.options, init.children.length);
      if (why !== undefined) throw new UserError(`${row.type}: ${why}`);
      return new PassThrough(init);
    },
  });
}

/** Definitions of all rows of both tables. */
export const PASS_THROUGH: readonly XlatorDefinition[] = [
  ...ROWS.map(definitionOf),
  ...REFUSED.map(refusedDefinition),
];
