/**
 * The rows: ways to the same data. Base is a directory on a brick's own disk, Direct the library in this
 * process, FUSE a mount by another process. The volume's rows share one directory, and so the same files.
 */

import { join } from "node:path";
import type { Volume } from "../../api/volume.ts";
import type { LoadFile } from "../../compare/generator.ts";
import { BASE, DIRECT, FUSE, FUSE_NATIVE } from "../../compare/results.ts";
import { O_CREAT, O_DIRECT, O_RDWR, O_TRUNC, O_WRONLY } from "../../core/open-flags.ts";
import { unlink } from "../../os/files.ts";
import { LocalFile } from "../../os/local-file.ts";
import { Mounted } from "./mounted.ts";
import type { Subject } from "./subject.ts";

/** A row that is up. */
export interface Station {
  /** Where programs reach the files; undefined where only the library does. */
  readonly directory?: string;
  /** A file that is there already, or is made, for unbuffered requests. */
  open(name: string): Promise<OpenLoadFile>;
  /** A new, empty file for buffered writes. */
  create(name: string): Promise<OpenLoadFile>;
  remove(name: string): Promise<void>;
  stop(): Promise<void>;
}

export interface OpenLoadFile extends LoadFile {
  fsync(): Promise<void>;
  close(): Promise<void>;
}

export interface Row {
  readonly id: string;
  readonly title: string;
  /** Base, or one of the volume's. */
  readonly isVolume: boolean;
  start(signal: AbortSignal): Promise<Station>;
}

const DIRECT_FLAGS = O_RDWR | O_CREAT | O_DIRECT;
const NEW_FLAGS = O_WRONLY | O_CREAT | O_TRUNC;
const MODE = 0o600;

/** A plain directory. */
export function baseRow(directory: string): Row {
  return { id: BASE, title: "Base", isVolume: false, start: async () => atPath(directory, async () => {}) };
}

/** The library, in `directory` of the volume. */
export function directRow(subject: Subject, directory: string): Row {
  return {
    id: DIRECT,
    title: "Direct",
    isVolume: true,
    start: async (signal) => inVolume(await subject.open(signal), directory),
  };
}

/** A mount at a directory below `scratch`. */
export function mountRow(
  subject: Subject,
  directory: string,
  edge: "dev-fuse" | "fuse-native",
  where: { readonly mountpoint: string; readonly logFile: string },
): Row {
  return {
    id: edge === "dev-fuse" ? FUSE : FUSE_NATIVE,
    title: edge === "dev-fuse" ? "FUSE" : "FUSE (fuse-native)",
    isVolume: true,
    start: async (signal) => {
      const mounted = await Mounted.start({ source: subject.mountSource, edge, ...where }, signal);
      return atPath(join(where.mountpoint, directory), () => mounted.stop());
    },
  };
}

function atPath(directory: string, stop: () => Promise<void>): Station {
  return {
    directory,
    open: (name) => LocalFile.open(join(directory, name), DIRECT_FLAGS, MODE),
    create: (name) => LocalFile.open(join(directory, name), NEW_FLAGS, MODE),
    remove: (name) => unlink(join(directory, name)),
    stop,
  };
}

function inVolume(volume: Volume, directory: string): Station {
  return {
    open: (name) => volume.open(`${directory}/${name}`, DIRECT_FLAGS, MODE),
    create: (name) => volume.open(`${directory}/${name}`, NEW_FLAGS, MODE),
    remove: (name) => volume.unlink(`${directory}/${name}`),
    stop: () => volume.close(),
  };
}
