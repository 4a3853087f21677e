/**
 * Args and replies of fops as one line of text, for traces: objects by what tells them apart, bytes by their
 * number.
 */

import { Dict } from "../../src/core/dict.ts";
import { gfidText } from "../../src/core/gfid.ts";
import type { Iatt } from "../../src/core/iatt.ts";
import { Fd, Inode } from "../../src/core/inode.ts";

/** `key=value` for every field that is set. */
export function describe(fields: object): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${describeValue(value)}`)
    .join(" ");
}

function describeValue(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value !== "object" || value === null) return String(value);
  if (value instanceof Inode) return value.linked ? gfidText(value.gfid) : "new";
  if (value instanceof Fd) return `fd(${describeValue(value.inode)})`;
  if (value instanceof Dict) return `{${[...value.keys()].join(" ")}}`;
  if (Buffer.isBuffer(value)) return `${value.length} bytes`;
  if (Array.isArray(value)) return describeList(value);
  if ("gfid" in value && "nlink" in value) return describeIatt(value as Iatt);
  return `(${describe(value)})`;
}

function describeList(list: readonly unknown[]): string {
  if (list.every((item) => Buffer.isBuffer(item)))
    return `${list.reduce((sum, part) => sum + part.length, 0)} bytes`;
  return `${list.length} items`;
}

function describeIatt(iatt: Iatt): string {
  const { gfid, mode, nlink, size } = iatt;
  return `${gfidText(gfid)} mode ${mode.toString(8)} links ${nlink} size ${size}`;
}
