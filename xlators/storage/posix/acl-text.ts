/**
 * ACLs as text, for the virtual xattrs `glusterfs.posix.acl` and `glusterfs.posix.default_acl` (spec wire.md
 * 9.3): the short form of libacl with numeric ids, e.g. `u::rwx,u:1000:r-x,g::r-x,m::r-x,o::r--`.
 *
 * Pure. The bytes are those of the xattrs system.posix_acl_*: u32 version 2, then `u16 tag, u16 perm, u32 id`
 * in the order of tags and ids, all little-endian (acl(5)).
 */

const VERSION = 2;
const NO_ID = 0xffffffff;
const TAGS: readonly (readonly [tag: number, letter: string, word: string, named: boolean])[] = [
  [0x01, "u", "user", false],
  [0x02, "u", "user", true],
  [0x04, "g", "group", false],
  [0x08, "g", "group", true],
  [0x10, "m", "mask", false],
  [0x20, "o", "other", false],
];
const USER_OBJECT = 0x01;
const GROUP_OBJECT = 0x04;
const OTHER = 0x20;

interface Entry {
  readonly tag: number;
  readonly perm: number;
  readonly id: number;
}

/** Text of an ACL xattr; undefined when the bytes are none. */
export function aclToText(bytes: Buffer): string | undefined {
  if (bytes.length < 4 || (bytes.length - 4) % 8 !== 0 || bytes.readUInt32LE(0) !== VERSION) return undefined;
  const out: string[] = [];
  for (let at = 4; at < bytes.length; at += 8) {
    const kind = TAGS.find(([tag]) => tag === bytes.readUInt16LE(at));
    if (!kind) return undefined;
    const id = kind[3] ? String(bytes.readUInt32LE(at + 4)) : "";
    out.push(`${kind[1]}:${id}:${permissions(bytes.readUInt16LE(at + 2))}`);
  }
  return out.join(",");
}

/** What a file without an access ACL has: its mode. */
export function modeToText(mode: number): string {
  return `u::${permissions(mode >> 6)},g::${permissions(mode >> 3)},o::${permissions(mode)}`;
}

/** The xattr for a text, in libacl's long or short form; undefined when it is malformed or incomplete. */
export function aclFromText(text: string): Buffer | undefined {
  const entries: Entry[] = [];
  for (const line of text.replace(/\0+$/, "").split(/[,\n]/)) {
    const entry = parseEntry(line.trim());
    if (!entry) return undefined;
    entries.push(entry);
  }
  const tags = new Set(entries.map(({ tag }) => tag));
  if (![USER_OBJECT, GROUP_OBJECT, OTHER].every((tag) => tags.has(tag))) return undefined;
  entries.sort((a, b) => a.tag - b.tag || a.id - b.id);
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(VERSION, 0);
  entries.forEach(({ tag, perm, id }, index) => {
    const at = 4 + index * 8;
    bytes.writeUInt16LE(tag, at);
    bytes.writeUInt16LE(perm, at + 2);
    bytes.writeUInt32LE(id, at + 4);
  });
  return bytes;
}

function parseEntry(text: string): Entry | undefined {
  const match = /^([a-z]+):(\d*):(?:([r-])([w-])([x-])|([0-7]))$/.exec(text);
  if (!match) return undefined;
  const [, name, id, read, write, execute, digit] = match;
  const named = id !== "";
  const kind = TAGS.find(
    ([, letter, word, isNamed]) => (name === letter || name === word) && isNamed === named,
  );
  if (!kind) return undefined;
  const spelled = (read === "r" ? 4 : 0) + (write === "w" ? 2 : 0) + (execute === "x" ? 1 : 0);
  const perm = digit === undefined ? spelled : Number(digit);
  return { tag: kind[0], perm, id: named ? Number(id) : NO_ID };
}

function permissions(bits: number): string {
  return `${bits & 4 ? "r" : "-"}${bits & 2 ? "w" : "-"}${bits & 1 ? "x" : "-"}`;
}
