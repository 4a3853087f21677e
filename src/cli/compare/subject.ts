/**
 * The volume that is compared: how the library and a mount each reach it, which of its bricks lie on this
 * machine, and whether one process at a time is all that it takes.
 */

import { existsSync, statSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname, networkInterfaces } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { openVolume } from "../../api/open.ts";
import { parseSource, type Source, sourceText } from "../../api/source.ts";
import type { Volume } from "../../api/volume.ts";
import { nodeEnv } from "../../core/env-node.ts";
import { toFopError, UserError } from "../../core/errors.ts";
import { SILENT } from "../../core/log.ts";
import type { Graph } from "../../graph/graph.ts";
import { dataDirectoryOf, dataDirectoryVolfile } from "../../process/embedded-use.ts";
import { reason } from "../files/words.ts";

/** Where a brick's data is when it is on this machine. */
const BRICK_TYPE = "storage/posix";
const CLIENT_TYPE = "protocol/client";
/** Directory of a brick that no client sees. */
const HIDDEN = ".glusterfs";

export class Subject {
  /** As the user wrote it. */
  readonly text: string;
  readonly #source: Source;
  readonly #knownBrick: string | undefined;

  private constructor(text: string, source: Source, knownBrick: string | undefined) {
    this.text = text;
    this.#source = source;
    this.#knownBrick = knownBrick;
  }

  /** `scratch` is a directory for a volfile, if one has to be written. Rejects with UserError. */
  static async of(text: string, scratch: string): Promise<Subject> {
    const source = parseSource(text);
    const data = dataDirectoryOf(source);
    if (data === undefined) return new Subject(text, source, undefined);
    const { text: volfile, brick } = await dataDirectoryVolfile(data);
    const path = join(scratch, "embedded.vol");
    await writeFile(path, volfile, { mode: 0o600 });
    return new Subject(text, { kind: "volfile", path }, brick);
  }

  /** What `mortar mount` takes. */
  get mountSource(): string {
    return this.#source.kind === "volfile" ? this.#source.path : this.text;
  }

  get title(): string {
    return this.#source.kind === "volfile" ? this.text : sourceText(this.#source);
  }

  open(signal: AbortSignal): Promise<Volume> {
    return openVolume(this.#source, { env: nodeEnv(SILENT), signal });
  }

  /** Directories of bricks on this machine. */
  localBricks(graph: Graph): string[] {
    const found = graph.nodes.flatMap(({ section }) => {
      const option = (key: string) => section.options.find((one) => one.key === key)?.value;
      if (section.type === BRICK_TYPE) return [option("directory")];
      const host = option("remote-host");
      return section.type === CLIENT_TYPE && host !== undefined && isThisHost(host)
        ? [option("remote-subvolume")]
        : [];
    });
    const bricks = [...found, this.#knownBrick].filter((path) => path !== undefined && isBrick(path));
    return [...new Set(bricks as string[])];
  }
}

/** Whether the bricks are in the graph itself: then one process at a time can have the volume. */
export function isExclusive(graph: Graph): boolean {
  return graph.nodes.some(({ section }) => section.type === BRICK_TYPE);
}

/** A new directory on the file system of a brick that is no part of the volume. Rejects with UserError. */
export async function directoryBeside(brick: string): Promise<string> {
  const parent = dirname(brick);
  // A brick that is a disk of its own has room for what clients never see.
  return makeDirectory(isSameDisk(parent, brick) ? parent : join(brick, HIDDEN));
}

export function isSameDisk(one: string, other: string): boolean {
  return statSync(one).dev === statSync(other).dev;
}

/** Rejects with UserError. */
export async function makeDirectory(parent: string): Promise<string> {
  try {
    return await mkdtemp(join(parent, "mortar-compare-"));
  } catch (error) {
    const why = reason(toFopError(error));
    throw new UserError(
      `compare: base "${parent}": cannot make a directory there: ${why}; --base names another`,
    );
  }
}

export async function removeDirectory(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

function isBrick(path: string): boolean {
  return isAbsolute(path) && existsSync(join(path, HIDDEN));
}

function isThisHost(host: string): boolean {
  const own = Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).map(({ address }) => address),
  );
  return ["localhost", hostname(), ...own].includes(host);
}
