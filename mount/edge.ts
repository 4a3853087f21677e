/**
 * The one interface that both FUSE edges meet: a started graph becomes a directory, until somebody unmounts
 * it.
 */

import type { Env } from "../src/core/env.ts";
import { UserError } from "../src/core/errors.ts";
import type { FopMeter } from "../src/core/fop-meter.ts";
import type { Dump, XlatorBase } from "../src/core/xlator.ts";
import type { MountOptions } from "./options.ts";

export const EDGE_KINDS = ["auto", "dev-fuse", "fuse-native"] as const;
export type EdgeKind = (typeof EDGE_KINDS)[number];

export interface EdgeRequest {
  /** Top of a graph that is up. The edge adds itself to its parents and removes itself at the end. */
  readonly top: XlatorBase;
  /** An existing, empty directory. */
  readonly mountpoint: string;
  /** What mount(8) shows as the device, e.g. `host:/volume`. */
  readonly source: string;
  readonly options: MountOptions;
  readonly env: Env;
  /** Counts and times what the kernel asks. */
  readonly meter?: FopMeter;
}

export interface Edge {
  readonly kind: Exclude<EdgeKind, "auto">;
  /** Absolute, symbolic links resolved. */
  readonly mountpoint: string;
  /**
   * Resolves when nothing is mounted any more: `unmount` ended, or somebody else unmounted it. Never rejects.
   */
  readonly closed: Promise<void>;
  /** What a statedump shows of it: inodes that the kernel holds, open handles. */
  dump(): Dump;
  /**
   * Unmounts and resolves when the kernel let go and every request was answered. A busy mount is detached:
   * its name is gone, and files that are still open fail from then on.
   */
  unmount(): Promise<void>;
}

/**
 * Mounts; resolves when the mount point shows the volume. Rejects with UserError when the machine does not
 * let us.
 */
export async function startEdge(kind: EdgeKind, request: EdgeRequest): Promise<Edge> {
  const chosen = kind === "auto" ? (process.platform === "linux" ? "dev-fuse" : "fuse-native") : kind;
  if (chosen === "dev-fuse") {
    if (process.platform !== "linux")
      throw new UserError(
        `mount: edge dev-fuse: needs Linux, this is ${process.platform}; use --edge fuse-native`,
      );
    // Loaded on demand: each edge brings native code that the other must not need.
    const { startDevFuse } = await import("./dev-fuse/edge.ts");
    return startDevFuse(request);
  }
  const { startFuseNative } = await import("./fuse-native/edge.ts");
  return startFuseNative(request);
}
