/** Options of storage/posix, as GlusterFS 10.3 spells them (spec translators.md 2.9). */

import {
  Bad,
  bool,
  choice,
  int,
  mode,
  type OptionTable,
  type OptionValues,
  path,
  percentOrSize,
  size,
  string,
  time,
} from "../../../src/core/options.ts";

const modeOption = (describe: string, byDefault: number, volumeKey: string) =>
  mode({ default: byDefault, live: true, volumeKey, describe });

export const posixOptions = {
  directory: path({ default: "", describe: "The brick: the directory that is exported." }),
  "volume-id": string({
    default: "",
    describe:
      "Uuid of the volume; the brick does not start in a directory that carries another one, or none.",
  }),
  "brick-uid": int({
    default: -1,
    min: -1,
    live: true,
    volumeKey: "storage.owner-uid",
    describe: "Owner that the brick's root is given at start; -1 leaves it.",
  }),
  "brick-gid": int({
    default: -1,
    min: -1,
    live: true,
    volumeKey: "storage.owner-gid",
    describe: "Group that the brick's root is given at start; -1 leaves it.",
  }),
  "o-direct": bool({ default: false, describe: "Open every file with O_DIRECT." }),
  "linux-aio": bool({
    default: false,
    volumeKey: "storage.linux-aio",
    describe: "Accepted for GlusterFS' sake; Mortar never does file I/O in the calling thread.",
  }),
  "linux-io_uring": bool({
    default: true,
    volumeKey: "storage.linux-io_uring",
    describe: "Read, write and sync through io_uring when the kernel grants it; off: through a thread pool.",
  }),
  reserve: percentOrSize({
    default: { percent: 1 },
    live: true,
    volumeKey: "storage.reserve",
    describe: "Share of the file system (or bytes) that is kept free for internal work; 0 switches it off.",
  }),
  "health-check-interval": time({
    default: 30,
    live: true,
    volumeKey: "storage.health-check-interval",
    describe: "Seconds between trial writes to the brick; 0 switches them off.",
  }),
  "health-check-timeout": time({
    default: 20,
    live: true,
    volumeKey: "storage.health-check-timeout",
    describe: "Seconds after which a trial write that has not returned counts as failed; 0 waits for ever.",
  }),
  gfid2path: bool({
    default: true,
    live: true,
    volumeKey: "storage.gfid2path",
    describe: "Keep an xattr on each file that tells its parent and name.",
  }),
  "gfid2path-separator": {
    ...string({
      default: ":",
      live: true,
      volumeKey: "storage.gfid2path-separator",
      describe: "Between the paths in the virtual xattr glusterfs.gfidtopath; at most 7 bytes.",
    }),
    parse: (text: string): string | Bad => {
      if (text === "") return new Bad("is empty");
      return Buffer.byteLength(text) > 7 ? new Bad("is longer than 7 bytes") : text;
    },
  },
  "max-hardlinks": int({
    default: 100,
    min: 0,
    live: true,
    volumeKey: "storage.max-hardlinks",
    describe: "Names that one file may have; 0: as many as the file system allows.",
  }),
  "janitor-sleep-duration": time({
    default: 10,
    min: 1,
    volumeKey: "storage.janitor-sleep-duration",
    describe: "Seconds between purges of directories that were removed with their contents.",
  }),
  "disable-landfill-purge": bool({
    default: false,
    live: true,
    volumeKey: "storage.disable-landfill-purge",
    describe: "Keep what was removed with its directory; the brick fills up.",
  }),
  ctime: bool({
    default: true,
    live: true,
    volumeKey: "features.ctime",
    describe: "Keep the client's times in an xattr and report those.",
  }),
  "fips-mode-rchecksum": bool({
    default: false,
    live: true,
    volumeKey: "storage.fips-mode-rchecksum",
    describe: "Strong checksums are SHA-256; off: MD5.",
  }),
  "batch-fsync-mode": choice(
    ["none", "syncfs", "syncfs-single-fsync", "syncfs-reverse-fsync", "reverse-fsync"],
    {
      default: "reverse-fsync",
      live: true,
      volumeKey: "storage.batch-fsync-mode",
      describe: "How fsync calls that allow batching are put together.",
    },
  ),
  "batch-fsync-delay-usec": int({
    default: 0,
    min: 0,
    live: true,
    volumeKey: "storage.batch-fsync-delay-usec",
    describe: "Microseconds to wait for more fsync calls of a batch.",
  }),
  "uncached-write-min-size": size({
    default: 1 << 20,
    live: true,
    volumeKey: "storage.uncached-write-min-size",
    describe:
      "Buffered writes of this size on go to the disk at once and leave no pages in memory; 0: none do. Mortar's own.",
  }),
  "force-create-mode": modeOption("Permissions that every new file gets.", 0, "storage.force-create-mode"),
  "force-directory-mode": modeOption(
    "Permissions that every new directory gets.",
    0,
    "storage.force-directory-mode",
  ),
  "create-mask": modeOption("Permissions that a new file may have.", 0o777, "storage.create-mask"),
  "create-directory-mask": modeOption(
    "Permissions that a new directory may have.",
    0o777,
    "storage.create-directory-mask",
  ),
  "shared-brick-count": int({
    default: 1,
    min: 1,
    live: true,
    describe: "Bricks on the same file system; statfs divides by it.",
  }),
  "export-statfs-size": bool({ default: true, describe: "Off: statfs tells sizes of zero." }),
  hostname: string({ default: "", describe: "Name of this host in the virtual xattr pathinfo." }),
  "glusterd-uuid": string({ default: "", describe: "Uuid of the node, for the virtual xattr node-uuid." }),
  "node-uuid-pathinfo": bool({
    default: false,
    live: true,
    volumeKey: "storage.node-uuid-pathinfo",
    describe: "Name the node in pathinfo by its uuid instead of its host name.",
  }),
} as const satisfies OptionTable;

export type PosixOptions = OptionValues<typeof posixOptions>;
