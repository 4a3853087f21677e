/**
 * What this edge cannot do, next to the code that refuses it: mount options that libfuse 2 or fuse-native has
 * no way for, and the translation of those it has into libfuse's own. Nothing here does I/O.
 *
 * A request that cannot be done is refused, never faked: fallocate, SEEK_HOLE and copy_file_range get the
 * kernel's answer for "not supported" and byte-range and flock locks stay on this host, because the package
 * has no such operations.
 */

import { UserError } from "../../src/core/errors.ts";
import { directIoMode, type MountOptions } from "../options.ts";

/** libfuse 2.9 reads requests into 132 KiB; a larger max_write is silently cut. */
const MAX_WRITE_BYTES = 128 * 1024;

/** Options that are refused when they are switched on, and why. */
const REFUSED: readonly (readonly [keyof MountOptions, string])[] = [
  ["allow-other", "it does not learn who calls, so every other user would act as the one who mounted"],
  ["kernel-writeback-cache", "libfuse 2 has no such mode"],
  ["acl", "it does not learn who calls, so bricks cannot check permissions"],
  ["selinux", "it has no labels"],
  ["capability", "it has no file capabilities"],
];

/**
 * The libfuse options of a mount.
 * @param source what mount(8) shows as the device
 * @throws UserError for an option that was asked for and cannot be had
 */
export function libfuseOptions(source: string, options: MountOptions): string[] {
  for (const [name, why] of REFUSED) {
    if (options.given.has(name) && options[name] === true) {
      throw new UserError(`mount: edge fuse-native: option ${name}: ${why}; use --edge dev-fuse`);
    }
  }
  const maxWriteBytes = Math.min(options["max-write"] * 1024, MAX_WRITE_BYTES);
  return [
    `fsname=${optionText(source)}`,
    "subtype=mortar",
    "big_writes",
    "use_ino",
    `max_write=${maxWriteBytes}`,
    `attr_timeout=${options["attribute-timeout"]}`,
    `entry_timeout=${options["entry-timeout"]}`,
    `negative_timeout=${options["negative-timeout"]}`,
    `max_background=${options["background-qlen"]}`,
    `congestion_threshold=${options["congestion-threshold"] || Math.ceil((options["background-qlen"] * 3) / 4)}`,
    ...(options["default-permissions"] ? ["default_permissions"] : []),
    ...(directIoMode(options) === "all" ? ["direct_io"] : cacheOptions(options)),
    ...(options["read-only"] ? ["ro"] : []),
    ...(options.nonempty ? ["nonempty"] : []),
  ];
}

/** auto_cache keeps pages only while size and mtime stay; kernel_cache keeps them whatever others do. */
function cacheOptions(options: MountOptions): string[] {
  if (!options["fopen-keep-cache"]) return [];
  return [options["auto-invalidation"] ? "auto_cache" : "kernel_cache"];
}

/** A comma would end the option. */
function optionText(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll(",", "\\,");
}
