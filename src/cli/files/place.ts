/**
 * Where an argument of `cp`, `ls` and their like points: a file of a volume, a local one, or a stream.
 *
 *   gluster[+tcp]://HOST[:PORT]/VOLUME/PATH, gluster+unix:///VOLUME/PATH?socket=S    a server's volume
 *   HOST:/VOLUME/PATH                                                                the same
 *   VOLFILE:/PATH, DATADIR:/PATH      a volfile here, or the data directory of `mortar start`
 *   -                                 standard input or output, where a command takes it
 * Anything else is local for `cp`, and a volfile or data directory, at its root, for the others.
 */

import { existsSync } from "node:fs";
import { parseSource, type Source } from "../../api/source.ts";
import { UserError } from "../../core/errors.ts";

export interface VolumePlace {
  readonly kind: "volume";
  /** As the user wrote it. */
  readonly text: string;
  /** The volume, without the path. */
  readonly source: Source;
  /** Absolute within the volume, without a slash at the end. */
  readonly path: string;
  /** A slash at the end said that this is a directory. */
  readonly mustBeDirectory: boolean;
}

export interface LocalPlace {
  readonly kind: "local";
  readonly text: string;
  readonly path: string;
  readonly mustBeDirectory: boolean;
}

export interface StreamPlace {
  readonly kind: "stream";
  readonly text: "-";
}

export type Place = VolumePlace | LocalPlace | StreamPlace;

/** For commands that take local files too. Throws UserError. */
export function parsePlace(text: string): Place {
  if (text === "-") return { kind: "stream", text };
  return (
    volumePlace(text) ?? { kind: "local", text, path: trimmed(text), mustBeDirectory: text.endsWith("/") }
  );
}

/** For commands on volumes alone. Throws UserError. */
export function parseVolumePlace(text: string): VolumePlace {
  return (
    volumePlace(text) ?? {
      kind: "volume",
      text,
      source: parseSource(text),
      path: "/",
      mustBeDirectory: false,
    }
  );
}

function volumePlace(text: string): VolumePlace | undefined {
  const mustBeDirectory = text.endsWith("/");
  const inside = splitVolfile(text);
  if (inside)
    return {
      kind: "volume",
      text,
      source: parseSource(inside.volfile),
      path: trimmed(inside.path),
      mustBeDirectory,
    };
  if (text === "") throw new UserError('"": is no name of a file');
  if (!/^[a-z0-9+.-]+:\/\//i.test(text) && existsSync(text)) return undefined;
  const source = parseSource(text);
  if (source.kind === "volfile") return undefined;
  return {
    kind: "volume",
    text,
    source: { ...source, directory: "/" },
    path: source.directory,
    mustBeDirectory,
  };
}

/** `VOLFILE:/PATH`, where the volfile or data directory exists: a host is never called like one by chance. */
function splitVolfile(text: string): { volfile: string; path: string } | undefined {
  for (let at = text.indexOf(":"); at > 0; at = text.indexOf(":", at + 1)) {
    const rest = text.slice(at + 1);
    const volfile = text.slice(0, at);
    if ((rest === "" || (rest.startsWith("/") && !rest.startsWith("//"))) && existsSync(volfile))
      return { volfile, path: rest === "" ? "/" : rest };
  }
  return undefined;
}

function trimmed(path: string): string {
  return path.replace(/(?<=.)\/+$/, "");
}
