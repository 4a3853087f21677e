/**
 * Options of a mount (`-o`), with the names and defaults of mount.glusterfs (translators.md 10.2), and how
 * their text is read.
 *
 * What is not an option of the edge comes back to the caller: options of the volume source, of logging, and
 * those that mount(8) keeps for itself (`noauto`, `_netdev`, `x-...`).
 */

import { UserError } from "../src/core/errors.ts";
import {
  Bad,
  bool,
  choice,
  type OptionSpec,
  type OptionValues,
  optionKey,
  size,
} from "../src/core/options.ts";

const SECONDS_MAX = 0xffffffff;

/** Seconds with decimals. */
function seconds(common: { default: number; describe: string }): OptionSpec<number> {
  return {
    ...common,
    kind: "seconds",
    live: false,
    parse: (text) => {
      const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
      return value <= SECONDS_MAX ? value : new Bad("is not a number of seconds like 1 or 0.5");
    },
  };
}

/** A whole number from `min` to `max`. */
function count(common: { default: number; describe: string; min: number; max: number }): OptionSpec<number> {
  const { min, max, ...rest } = common;
  return {
    ...rest,
    kind: "int",
    live: false,
    parse: (text) => {
      const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
      return value >= min && value <= max ? value : new Bad(`is not a whole number from ${min} to ${max}`);
    },
  };
}

type PassthroughMode = "off" | "read" | "on";

/** A switch with a word between on and off. */
function passthroughMode(common: {
  default: PassthroughMode;
  describe: string;
}): OptionSpec<PassthroughMode> {
  const onOrOff = bool({ default: true, describe: common.describe });
  return {
    ...common,
    kind: "choice",
    live: false,
    parse: (text) => {
      if (text.toLowerCase() === "read") return "read";
      const value = onOrOff.parse(text);
      if (value instanceof Bad) return new Bad("is none of on, read, off");
      return value ? "on" : "off";
    },
  };
}

/** A path inside the volume, absolute and without `..`; "/" is the volume's root. */
function volumePath(common: { default: string; describe: string }): OptionSpec<string> {
  return {
    ...common,
    kind: "path",
    live: false,
    parse: (text) =>
      text.startsWith("/") && !text.split("/").includes("..") ? text : new Bad("is not an absolute path"),
  };
}

export const MOUNT_OPTIONS = {
  "attribute-timeout": seconds({ default: 1, describe: "Seconds the kernel may trust attributes." }),
  "entry-timeout": seconds({ default: 1, describe: "Seconds the kernel may trust that a name exists." }),
  "negative-timeout": seconds({
    default: 0,
    describe: "Seconds the kernel may trust that a name is missing.",
  }),
  "direct-io-mode": choice(["auto", "enable", "disable", "on", "off", "yes", "no", "true", "false"], {
    default: "auto",
    describe: "Bypass the page cache: auto for files opened with O_DIRECT, enable for all, disable for none.",
  }),
  "fopen-keep-cache": bool({
    default: true,
    describe: "Keep a file's cached pages when it is opened again.",
  }),
  "auto-invalidation": bool({
    default: true,
    describe: "Drop a file's cached pages when its size or mtime changed on the bricks.",
  }),
  "kernel-writeback-cache": bool({
    default: false,
    describe:
      "Let the kernel gather writes. Only for volumes that no other client writes to, and programs " +
      "that do not mix buffered writes with direct reads of the same file.",
  }),
  "kernel-writeback-window": size({
    default: 10 << 20,
    min: 4 << 20,
    max: 2 ** 40,
    describe:
      "With kernel-writeback-cache: bytes that the kernel gathers before programs wait for the bricks " +
      "(needs root and Linux 6.2).",
  }),
  passthrough: passthroughMode({
    default: "on",
    describe:
      "Let the kernel itself read and write the files of a brick in this process, where nothing in the " +
      "graph minds (needs root and Linux 6.9). read: only those opened read-only.",
  }),
  "use-readdirp": bool({ default: true, describe: "List directories with attributes." }),
  "background-qlen": count({
    default: 64,
    min: 1,
    max: 65535,
    describe: "Requests that no process waits for (read-ahead, asynchronous I/O) in flight.",
  }),
  "congestion-threshold": count({
    default: 0,
    min: 0,
    max: 65535,
    describe:
      "Background requests from which the kernel calls the mount congested; 0: 3/4 of background-qlen.",
  }),
  "gid-timeout": seconds({
    default: 300,
    describe: "Seconds the auxiliary groups of a process are remembered.",
  }),
  "lru-limit": count({
    default: 65536,
    min: 0,
    max: 2 ** 31,
    describe: "Inodes the kernel may hold before it is asked to forget some; 0: no limit.",
  }),
  "default-permissions": bool({ default: true, describe: "Let the kernel check modes and owners." }),
  "allow-other": bool({
    default: true,
    describe:
      "Let other users in. Without root it is off unless asked for, and /etc/fuse.conf must allow it.",
  }),
  acl: bool({ default: false, describe: "Pass POSIX ACLs through; bricks then check permissions." }),
  selinux: bool({ default: false, describe: "Pass security.selinux through." }),
  capability: bool({ default: false, describe: "Pass security.capability through." }),
  "read-only": bool({ default: false, describe: "Refuse every change." }),
  nonempty: bool({ default: false, describe: "Mount over a directory that has files in it." }),
  "subdir-mount": volumePath({ default: "/", describe: "Directory of the volume to show as the root." }),
  "max-write": count({
    default: 1024,
    min: 4,
    max: 1024,
    describe: "Largest read or write the kernel sends, in KiB; a multiple of 4.",
  }),
} as const;

export type MountOptions = OptionValues<typeof MOUNT_OPTIONS> & {
  /** Options that were given, as opposed to taken from their defaults. */
  readonly given: ReadonlySet<string>;
};

/** Other spellings, as mount(8), libfuse and mount.glusterfs have them. */
const SPELLINGS: Readonly<Record<string, readonly [keyof typeof MOUNT_OPTIONS, string]>> = {
  ro: ["read-only", "on"],
  rw: ["read-only", "off"],
  allow_other: ["allow-other", "on"],
  default_permissions: ["default-permissions", "on"],
  writeback_cache: ["kernel-writeback-cache", "on"],
  "writeback-cache": ["kernel-writeback-cache", "on"],
};

/** The defaults alone. */
export function defaultMountOptions(): MountOptions {
  return parseMountOptions(new Map()).options;
}

/**
 * Reads the edge's options out of a list of `-o` pairs; an option without value is on. Throws UserError for a
 * bad value. `rest` holds, in their order, the pairs that mean nothing to an edge.
 */
export function parseMountOptions(given: ReadonlyMap<string, string | undefined>): {
  options: MountOptions;
  rest: Map<string, string | undefined>;
} {
  const values: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(MOUNT_OPTIONS)) values[key] = option.default;
  const seen = new Set<string>();
  const rest = new Map<string, string | undefined>();
  for (const [name, text] of given) {
    const spelled = text === undefined ? SPELLINGS[name] : undefined;
    const key = spelled?.[0] ?? optionKey(MOUNT_OPTIONS, name.replaceAll("_", "-"));
    if (key === undefined) {
      rest.set(name, text);
      continue;
    }
    const spec: OptionSpec<unknown> = MOUNT_OPTIONS[key as keyof typeof MOUNT_OPTIONS];
    const value = spec.parse(spelled?.[1] ?? text ?? "on");
    if (value instanceof Bad) throw new UserError(`mount: option ${name}: "${text ?? ""}" ${value.why}`);
    values[key] = value;
    seen.add(key);
  }
  return { options: { ...(values as OptionValues<typeof MOUNT_OPTIONS>), given: seen }, rest };
}

/** direct-io-mode in one of its three meanings. */
export function directIoMode(options: MountOptions): "auto" | "all" | "none" {
  switch (options["direct-io-mode"]) {
    case "auto":
      return "auto";
    case "enable":
    case "on":
    case "yes":
    case "true":
      return "all";
    default:
      return "none";
  }
}
