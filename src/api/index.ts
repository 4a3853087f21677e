/** The library: open a volume by its SOURCE and use files by path, in this process, without FUSE. */

export type { Env } from "../core/env.ts";
export { nodeEnv } from "../core/env-node.ts";
export { type ErrnoName, FopError, UserError } from "../core/errors.ts";
export type { DirentPlus, Statfs } from "../core/fops.ts";
export { type Gfid, gfidText } from "../core/gfid.ts";
export { type Iatt, isDir, isRegular } from "../core/iatt.ts";
export type { IoVec } from "../core/iovec.ts";
export { type LogFields, type Logger, type LogLevel, SILENT } from "../core/log.ts";
export * as flags from "../core/open-flags.ts";
export { alignedBuffer as allocate } from "../os/memory.ts";
export type { Extent } from "./extents.ts";
export type { ChunkOptions, File, LockOptions, LockRange } from "./file.ts";
export { type OpenOptions, openVolume, type XlatorOption } from "./open.ts";
export type { ReadResult } from "./read-result.ts";
export type { Source } from "./source.ts";
export type { Time, Times } from "./times.ts";
export { type Identity, type ReaddirOptions, Volume } from "./volume.ts";
