/** Options of performance/md-cache (GlusterFS md-cache.c, mdc_options) and the xattr names they stand for. */

import { bool, int, type OptionValues, string } from "../../../src/core/options.ts";

export const mdCacheOptions = {
  "cache-selinux": bool({
    default: false,
    live: true,
    describe: "Keep security.selinux.",
  }),
  "cache-capability-xattrs": bool({
    default: true,
    live: true,
    volumeKey: "performance.cache-capability-xattrs",
    describe: "Keep security.capability, which Linux asks for before each write to a file.",
  }),
  "cache-ima-xattrs": bool({
    default: true,
    live: true,
    volumeKey: "performance.cache-ima-xattrs",
    describe: "Keep security.ima.",
  }),
  "cache-swift-metadata": bool({
    default: false,
    live: true,
    volumeKey: "performance.cache-swift-metadata",
    describe: "Keep user.swift.metadata.",
  }),
  "cache-samba-metadata": bool({
    default: false,
    live: true,
    volumeKey: "performance.cache-samba-metadata",
    describe: "Keep what Samba stores: DOS attributes, streams, NT ACLs.",
  }),
  "cache-posix-acl": bool({
    default: false,
    live: true,
    describe: "Keep POSIX ACLs.",
  }),
  "cache-glusterfs-acl": bool({
    default: false,
    live: true,
    describe: "Keep the ACLs that bricks give as text.",
  }),
  "md-cache-timeout": int({
    default: 1,
    min: 0,
    max: 600,
    live: true,
    volumeKey: "performance.md-cache-timeout",
    describe: "Seconds that attributes are served without asking; more than 60 need cache-invalidation.",
  }),
  "force-readdirp": bool({
    default: true,
    live: true,
    volumeKey: "performance.force-readdirp",
    describe: "Ask for the attributes of all entries whenever a directory is listed.",
  }),
  "cache-invalidation": bool({
    default: false,
    live: true,
    volumeKey: "performance.cache-invalidation",
    describe: "Rely on bricks to tell of changes (features.cache-invalidation).",
  }),
  "global-cache-invalidation": bool({
    default: true,
    live: true,
    volumeKey: "performance.global-cache-invalidation",
    describe: "Have the kernel drop a file's pages when another client changed it.",
  }),
  "md-cache-statfs": bool({
    default: false,
    live: true,
    volumeKey: "performance.md-cache-statfs",
    describe: "Keep the answer of statfs.",
  }),
  "xattr-cache-list": string({
    default: "",
    live: true,
    volumeKey: "performance.xattr-cache-list",
    describe: "More xattrs to keep: names with * as the only wildcard, separated by commas.",
  }),
  "pass-through": bool({
    default: false,
    live: true,
    volumeKey: "performance.md-cache-pass-through",
    describe: "Keep nothing.",
  }),
} as const;

export type MdCacheOptions = typeof mdCacheOptions;

const SAMBA = [
  "user.DOSATTRIB",
  "user.DosStream.*",
  "user.org.netatalk.Metadata",
  "user.org.netatalk.ResourceFork",
  "security.NTACL",
];

/** Names and patterns of the xattrs that are kept. */
export function cachedXattrs(options: OptionValues<MdCacheOptions>): readonly string[] {
  const listed = options["xattr-cache-list"].split(",").map((name) => name.trim());
  return [
    ...(options["cache-capability-xattrs"] ? ["security.capability"] : []),
    ...(options["cache-selinux"] ? ["security.selinux"] : []),
    ...(options["cache-ima-xattrs"] ? ["security.ima"] : []),
    ...(options["cache-posix-acl"] ? ["system.posix_acl_access", "system.posix_acl_default"] : []),
    ...(options["cache-glusterfs-acl"] ? ["glusterfs.posix.acl", "glusterfs.posix.default_acl"] : []),
    ...(options["cache-swift-metadata"] ? ["user.swift.metadata"] : []),
    ...(options["cache-samba-metadata"] ? SAMBA : []),
    ...listed.filter((name) => name !== ""),
  ];
}
