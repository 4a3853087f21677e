/**
 * The `-o` list of a mount: what mount.glusterfs takes, sorted into what the edge does (mount/options.ts),
 * what this command does, what the kernel does, what is ignored and what is refused. Nothing is dropped
 * without a word.
 *
 * Sources: translators.md 10.2; GlusterFS xlators/mount/fuse/utils/mount.glusterfs.in.
 */

import { type MountOptions, parseMountOptions } from "../../mount/options.ts";
import { parseXlatorOption, type XlatorOption } from "../api/open.ts";
import { GLUSTERD_PORT, type ServerAddress, type ServerSource, type Source } from "../api/source.ts";
import { readProfile } from "../control/profiles.ts";
import { UserError } from "../core/errors.ts";
import { type LogThreshold, parseLogLevel } from "../process/logging.ts";

/** What becomes of an option that is not the edge's. */
type Rule =
  /** This command does it. */
  | { readonly does: "apply"; readonly describe: string }
  /** A flag of the mount that the kernel keeps; set after mounting. */
  | { readonly does: "kernel" }
  /** Means something to mount(8), fstab or nobody: no line. */
  | { readonly does: "quiet" }
  /** Has no meaning here; one warning line. */
  | { readonly does: "warn"; readonly why: string }
  /** Leaving it out would break a promise; an error. */
  | { readonly does: "refuse"; readonly why: string };

const QUIET: Rule = { does: "quiet" };
const KERNEL: Rule = { does: "kernel" };

function apply(describe: string): Rule {
  return { does: "apply", describe };
}
function warn(why: string): Rule {
  return { does: "warn", why };
}
function refuse(why: string): Rule {
  return { does: "refuse", why };
}

const NO_C_PROCESS = "tunes a part of the C client that Mortar does not have";
const NO_REPLICATE = "chooses among replicas, and Mortar does not replicate yet";
const NOT_HANDLED = "FUSE mounts have no such mode";

/** Every other option that mount.glusterfs or mount(8) may bring, in groups. */
export const OTHER_OPTIONS: Readonly<Record<string, Rule>> = {
  "backup-volfile-servers": apply(
    "HOST[:HOST...] to ask for the volfile when the first one does not answer.",
  ),
  "backupvolfile-server": apply("One such host."),
  "fetch-attempts": apply("Rounds through the servers before giving up (default 1)."),
  "log-file": apply("Where to log; as --log-file."),
  "log-level": apply("What to log; as --log-level."),
  "oom-score-adj": apply("-1000 to 1000: whom the kernel kills first when memory runs out."),
  "process-name": apply("Shown by ps."),
  profile: apply("Options to set together: virt or virt-2013; as `mortar set MOUNTPOINT group NAME`."),
  "server-port": apply("Port of glusterd (default 24007)."),
  transport: apply("tcp or unix: which client volfile to ask for."),
  "volume-id": apply("Volfile key to ask for instead of the volume's name."),
  "volume-name": apply("Section of the volfile to stand at the top."),
  "xlator-option": apply(
    "PATTERN.KEY=VALUE: sets an option of all volumes whose names match; may be repeated.",
  ),

  ...Object.fromEntries(
    ["atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime"]
      .concat(["lazyatime", "nolazyatime", "dev", "nodev", "exec", "noexec", "suid", "nosuid"])
      .map((name) => [name, KERNEL] as const),
  ),

  ...Object.fromEntries(
    ["_netdev", "auto", "noauto", "comment", "defaults", "group", "nogroup", "nofail", "owner", "noowner"]
      .concat(["user", "nouser", "users", "nousers", "helper", "uhelper", "resolve-gids", "auto_unmount"])
      .map((name) => [name, QUIET] as const),
  ),

  ...Object.fromEntries(
    ["async", "sync", "dirsync", "mand", "nomand", "silent", "loud", "iversion", "noiversion"].map(
      (name) => [name, warn(NOT_HANDLED)] as const,
    ),
  ),
  ...Object.fromEntries(
    ["dump-fuse", "event-history", "fuse-dev-eperm-ratelimit-ns", "fuse-flush-handle-interrupt"]
      .concat(["global-threading", "io-engine", "invalidate-limit", "localtime-logging", "mem-accounting"])
      .concat(["reader-thread-count", "volfile-check"])
      .map((name) => [name, warn(NO_C_PROCESS)] as const),
  ),
  "halo-max-latency": warn(NO_REPLICATE),
  "halo-max-replicas": warn(NO_REPLICATE),
  "halo-min-replicas": warn(NO_REPLICATE),
  "attr-times-granularity": warn("times are kept to the nanosecond"),

  "aux-gfid-mount": refuse("the virtual directory .gfid is not built in Mortar"),
  context: refuse("SELinux mount contexts are not built in Mortar"),
  defcontext: refuse("SELinux mount contexts are not built in Mortar"),
  "enable-ino32": refuse("inode numbers have 64 bits; a 32-bit program would see two files as one"),
  fscontext: refuse("SELinux mount contexts are not built in Mortar"),
  "fuse-mountopts": refuse("give the options themselves in -o"),
  "no-root-squash": refuse("calls do not carry the mark that bricks let pass root by"),
  "root-squash": refuse("what root may do is set by the volume (server.root-squash)"),
  rootcontext: refuse("SELinux mount contexts are not built in Mortar"),
  "thin-client": refuse("gfproxy volumes are not built in Mortar"),
  worm: refuse("files that must not change could be changed"),
};

/** All that a mount's `-o` said. */
export interface ParsedMountOptions {
  readonly edge: MountOptions;
  readonly kernelFlags: readonly string[];
  readonly backupHosts: readonly string[];
  readonly fetchAttempts: number;
  readonly logFile: string | undefined;
  readonly logLevel: LogThreshold | undefined;
  readonly oomScoreAdj: number | undefined;
  readonly processName: string | undefined;
  readonly profile: string | undefined;
  readonly serverPort: number | undefined;
  readonly transport: "tcp" | "unix" | undefined;
  readonly volumeId: string | undefined;
  readonly volumeName: string | undefined;
  readonly xlatorOptions: readonly XlatorOption[];
  /** One line for each option without a meaning here. */
  readonly warnings: readonly string[];
}

/**
 * Reads `a,b=c` lists, later ones after earlier ones. Throws UserError for unknown options and bad values.
 */
export function parseOptionLists(lists: readonly string[]): ParsedMountOptions {
  const xlatorOptions: XlatorOption[] = [];
  const given = new Map<string, string | undefined>();
  for (const [key, value] of lists.flatMap(splitList)) {
    if (key === "xlator-option") xlatorOptions.push(parseXlatorOption(value ?? ""));
    else given.set(key, value);
  }
  const { options: edge, rest } = parseMountOptions(given);
  const warnings: string[] = [];
  const kernelFlags: string[] = [];
  for (const [key, value] of rest) {
    const rule = ruleOf(key, value);
    if (rule.does === "refuse") throw new UserError(`mount: option ${key}: refused: ${rule.why}`);
    if (rule.does === "warn") warnings.push(`mount: option ${key} is ignored: ${rule.why}`);
    if (rule.does === "kernel") kernelFlags.push(key);
    if (rule.does === "apply" && (value === undefined || value === ""))
      throw new UserError(`mount: option ${key}: a value is missing: ${rule.describe}`);
  }
  return { edge, kernelFlags, xlatorOptions, warnings, ...applied(rest) };
}

/** The source with what the options change about it: port, volfile key, transport's volfile. */
export function adjustSource(source: Source, options: ParsedMountOptions): Source {
  const { serverPort, volumeId, transport } = options;
  if (source.kind !== "server") return source;
  const { server } = source;
  const port = serverPort !== undefined && server.transport === "tcp" ? { port: serverPort } : {};
  const name = volumeId ?? source.volume;
  // glusterd keeps one client volfile for each transport of a volume, named VOLUME.TRANSPORT.
  const volume = transport === undefined ? name : `${name}.${transport}`;
  return { ...source, server: { ...server, ...port }, volume };
}

/** Where else to ask for the volfile. */
export function backupServers(source: ServerSource, options: ParsedMountOptions): ServerAddress[] {
  const port = source.server.transport === "tcp" ? source.server.port : GLUSTERD_PORT;
  return options.backupHosts.map((host) => ({ transport: "tcp", host, port }));
}

function splitList(list: string): [string, string | undefined][] {
  return list
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map((part) => {
      const at = part.indexOf("=");
      return at < 0 ? [part, undefined] : [part.slice(0, at), part.slice(at + 1)];
    });
}

function ruleOf(key: string, value: string | undefined): Rule {
  if (key.startsWith("x-")) return QUIET;
  const rule = Object.hasOwn(OTHER_OPTIONS, key) ? OTHER_OPTIONS[key] : undefined;
  if (!rule)
    throw new UserError(`mount: option ${key}: unknown; \`mortar mount --help\` lists the known ones`);
  const off = /^(no|off|disable|false|0)$/i.test(value ?? "");
  // Both say what Mortar does anyway: root is not exempted from squashing.
  if (key === "root-squash" && !off) return QUIET;
  if (key !== "root-squash" && rule.does === "refuse" && off) return QUIET;
  return rule;
}

function applied(
  rest: ReadonlyMap<string, string | undefined>,
): Omit<ParsedMountOptions, "edge" | "kernelFlags" | "xlatorOptions" | "warnings"> {
  const logLevel = rest.get("log-level");
  const hosts = [
    rest.get("backupvolfile-server") ?? "",
    ...splitHosts(rest.get("backup-volfile-servers") ?? ""),
  ];
  return {
    backupHosts: hosts.filter((host) => host !== ""),
    fetchAttempts: wholeNumber(rest, "fetch-attempts", 1, 1000) ?? 1,
    logFile: rest.get("log-file"),
    logLevel: logLevel === undefined ? undefined : parseLogLevel(logLevel),
    oomScoreAdj: wholeNumber(rest, "oom-score-adj", -1000, 1000),
    processName: rest.get("process-name"),
    profile: profileOf(rest.get("profile")),
    serverPort: wholeNumber(rest, "server-port", 1, 65535),
    transport: transportOf(rest.get("transport")),
    volumeId: rest.get("volume-id"),
    volumeName: rest.get("volume-name"),
  };
}

/** Looked at before anything is started, so that an unknown one is told at once. */
function profileOf(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  try {
    readProfile(name);
  } catch (error) {
    throw new UserError(`mount: option ${(error as Error).message}`, { cause: error });
  }
  return name;
}

/** `a:b:[::1]` to its hosts. */
function splitHosts(text: string): string[] {
  return [...text.matchAll(/\[([^\]]*)\]|[^:]+/g)].map((match) => match[1] ?? match[0]);
}

function transportOf(text: string | undefined): "tcp" | "unix" | undefined {
  switch (text) {
    case undefined:
    case "socket":
      return undefined;
    case "tcp":
    case "unix":
      return text;
    case "rdma":
      throw new UserError(
        "mount: option transport: rdma: GlusterFS removed that transport in release 8; use tcp",
      );
    default:
      throw new UserError(`mount: option transport: "${text}" is neither tcp nor unix`);
  }
}

function wholeNumber(
  rest: ReadonlyMap<string, string | undefined>,
  key: string,
  min: number,
  max: number,
): number | undefined {
  const text = rest.get(key);
  if (text === undefined) return undefined;
  const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new UserError(`mount: option ${key}: "${text}" is not a whole number from ${min} to ${max}`);
}
