/** Options of features/locks, as GlusterFS 10.3 spells them (spec translators.md 9.3). */

import { bool, choice, int, type OptionTable } from "../../../src/core/options.ts";

export const locksOptions = {
  "mandatory-locking": choice(["off", "file", "forced", "optimal"], {
    default: "off",
    volumeKey: "locks.mandatory-locking",
    describe:
      "Which lk locks also hold up reads and writes: none, those of set-gid files, all, or those that ask.",
  }),
  "enforce-mandatory-lock": bool({
    default: false,
    live: true,
    volumeKey: "features.enforce-mandatory-lock",
    describe:
      "Files with the xattr trusted.glusterfs.enforce-mandatory-lock allow I/O under an own lock only.",
  }),
  "revocation-secs": int({
    default: 0,
    min: 0,
    live: true,
    volumeKey: "features.locks-revocation-secs",
    describe: "Age in seconds at which a granted inodelk or entrylk that is in the way is dropped; 0: never.",
  }),
  "revocation-max-blocked": int({
    default: 0,
    min: 0,
    live: true,
    volumeKey: "features.locks-revocation-max-blocked",
    describe: "Number of waiting requests in a domain at which its granted locks are dropped; 0: never.",
  }),
  "revocation-clear-all": bool({
    default: false,
    live: true,
    volumeKey: "features.locks-revocation-clear-all",
    describe: "Drop the waiting requests, too, when locks are revoked.",
  }),
  "notify-contention": bool({
    default: true,
    live: true,
    volumeKey: "features.locks-notify-contention",
    describe: "Tell the holder of an inodelk or entrylk that somebody else wants it.",
  }),
  "notify-contention-delay": int({
    default: 5,
    min: 0,
    max: 60,
    live: true,
    volumeKey: "features.locks-notify-contention-delay",
    describe: "Seconds between two such messages about one lock.",
  }),
  "monkey-unlocking": bool({
    default: false,
    live: true,
    volumeKey: "features.locks-monkey-unlocking",
    describe: "Ignore one unlock in a hundred, to try out revocation; only with revocation-secs.",
  }),
  trace: bool({ default: false, live: true, volumeKey: "locks.trace", describe: "Log every lock request." }),
} as const satisfies OptionTable;
