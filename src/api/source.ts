/**
 * SOURCE: where a volume's graph comes from, in one word of a command line.
 *
 *   PATH                                            a volfile, or the data directory of `mortar start`
 *   HOST:/VOLUME[/DIR]                              the volfile of a GlusterFS server, as mount.glusterfs
 *   names it gluster[+tcp]://[HOST[:PORT]]/VOLUME[/DIR]      the same, as QEMU names it
 *   gluster+unix:///VOLUME[/DIR]?socket=PATH        the same over glusterd's unix socket
 *
 * IPv6 addresses stand in brackets. rdma is refused: GlusterFS removed it in release 8. DIR becomes the root
 * of the mount.
 */

import { existsSync } from "node:fs";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import { UserError } from "../core/errors.ts";

/** Port of glusterd's management service. */
export const GLUSTERD_PORT = 24007;

/** File in the data directory of an embedded volume that lets other processes use it while it runs. */
export const EMBEDDED_CLIENT_VOLFILE = "client.vol";

/** File in the data directory that says which volume it is. */
export const EMBEDDED_STATE = "volume.json";

export interface VolfileSource {
  readonly kind: "volfile";
  readonly path: string;
}

export interface ServerSource {
  readonly kind: "server";
  readonly server: ServerAddress;
  /** Volume name, or another volfile key like `snaps/SNAPSHOT/VOLUME`. */
  readonly volume: string;
  /** `/` or a directory of the volume, without a slash at the end. */
  readonly directory: string;
}

export type ServerAddress =
  | { readonly transport: "tcp"; readonly host: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

export type Source = VolfileSource | ServerSource;

const SCHEME = /^gluster(?:\+([a-z0-9]+))?:\/\//;

/** Reads a SOURCE. Throws UserError that says what is wrong with it. */
export function parseSource(text: string): Source {
  const scheme = SCHEME.exec(text);
  if (scheme) return parseUri(text, scheme[1] ?? "tcp");
  if (/^[a-z0-9+.-]+:\/\//i.test(text))
    throw refusal(text, "unknown scheme; a URL begins with gluster://, gluster+tcp:// or gluster+unix://");
  if (text === "") throw new UserError('source "": is empty; give a volfile or HOST:/VOLUME');
  if (/^\.{0,2}\//.test(text) || existsSync(text)) return { kind: "volfile", path: volfileAt(text) };
  return parseHostAndVolume(text) ?? { kind: "volfile", path: text };
}

/** Of a directory, what `mortar start` left there for other processes. */
function volfileAt(path: string): string {
  const inside = join(path, EMBEDDED_CLIENT_VOLFILE);
  return existsSync(inside) ? inside : path;
}

/** The way mount(8) and logs show it. */
export function sourceText(source: Source): string {
  if (source.kind === "volfile") return source.path;
  const { server, volume } = source;
  const directory = source.directory === "/" ? "" : source.directory;
  if (server.transport === "unix") return `unix:${server.path}:/${volume}${directory}`;
  const host = isIPv6(server.host) ? `[${server.host}]` : server.host;
  return `${host}${server.port === GLUSTERD_PORT ? "" : `:${server.port}`}:/${volume}${directory}`;
}

function refusal(text: string, why: string): UserError {
  return new UserError(`source "${text}": ${why}`);
}

function parseUri(text: string, transport: string): ServerSource {
  if (transport === "rdma")
    throw refusal(
      text,
      "rdma is not supported: GlusterFS removed that transport in release 8; use gluster+tcp",
    );
  if (transport !== "tcp" && transport !== "unix")
    throw refusal(text, `unknown transport "${transport}"; use tcp or unix`);
  const rest = text.slice(text.indexOf("://") + 3);
  const match = /^([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/.exec(rest);
  if (!match) throw refusal(text, 'a "#" part means nothing here');
  const [, authority = "", path = "", query = ""] = match;
  const { volume, directory } = volumeAndDirectory(text, decode(text, path));
  const socket = socketOf(text, query);
  if (transport === "unix") {
    if (authority !== "")
      throw refusal(text, "gluster+unix takes no host; write gluster+unix:///VOLUME?socket=PATH");
    if (socket === undefined) throw refusal(text, "gluster+unix needs ?socket=PATH, the socket of glusterd");
    return { kind: "server", server: { transport, path: socket }, volume, directory };
  }
  if (socket !== undefined) throw refusal(text, "socket= goes with gluster+unix only");
  const { host, port } = hostAndPort(text, authority);
  return { kind: "server", server: { transport, host, port }, volume, directory };
}

/** `?socket=PATH`, the only parameter there is. */
function socketOf(text: string, query: string): string | undefined {
  if (query === "") return undefined;
  let socket: string | undefined;
  for (const part of query.split("&")) {
    const [key = "", ...value] = part.split("=");
    if (key !== "socket") throw refusal(text, `unknown parameter "${key}"; there is only socket=PATH`);
    if (socket !== undefined) throw refusal(text, "socket= is given twice");
    socket = decode(text, value.join("="));
  }
  if (!socket?.startsWith("/")) throw refusal(text, "socket= needs an absolute path");
  return socket;
}

function hostAndPort(text: string, authority: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d*))?$/.exec(authority);
  if (!match) throw refusal(text, `"${authority}" is no HOST[:PORT]; an IPv6 address stands in brackets`);
  const [, v6, name, digits] = match;
  const port = digits ? Number(digits) : 0;
  if (port > 65535) throw refusal(text, `port ${digits} is above 65535`);
  if (v6 !== undefined && !isIPv6(v6)) throw refusal(text, `"${v6}" is no IPv6 address`);
  return { host: v6 ?? (name || "localhost"), port: port || GLUSTERD_PORT };
}

/** `HOST:/VOLUME[/DIR]`; undefined when the text is not of that form and so names a file. */
function parseHostAndVolume(text: string): ServerSource | undefined {
  const match = /^(?:\[([^\]]*)\]|([^/[\]]+?)):(\/?[^/:][^:]*)$/.exec(text);
  if (!match) return undefined;
  const [, v6, name, path] = match;
  if (v6 !== undefined && !isIPv6(v6)) throw refusal(text, `"${v6}" is no IPv6 address`);
  if (name?.includes(":") && !isIPv6(name))
    throw refusal(text, `"${name}" is no host; a port goes into gluster://HOST:PORT/VOLUME`);
  const { volume, directory } = volumeAndDirectory(text, path!);
  const host = v6 ?? name!;
  return { kind: "server", server: { transport: "tcp", host, port: GLUSTERD_PORT }, volume, directory };
}

function volumeAndDirectory(text: string, path: string): { volume: string; directory: string } {
  const parts = path.split("/").filter((part) => part !== "");
  if (parts.includes("..")) throw refusal(text, 'has ".." in it');
  // A snapshot's volfile key has three parts; nothing else has more than one.
  const keyParts = parts[0] === "snaps" && parts.length >= 3 ? 3 : 1;
  const names = parts.slice(0, keyParts);
  if (names.length === 0) throw refusal(text, "the volume's name is missing");
  const bad = names.find((name) => !/^[A-Za-z0-9_.-]+$/.test(name));
  if (bad !== undefined) throw refusal(text, `"${bad}" cannot be a volume's name`);
  return { volume: names.join("/"), directory: `/${parts.slice(keyParts).join("/")}` };
}

function decode(text: string, part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw refusal(text, `"${part}" has a "%" that begins no code`);
  }
}
