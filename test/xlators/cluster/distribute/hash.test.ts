/** The hash of names, against values of GlusterFS' own function (spec translators.md 6.1). */

import { describe, expect, it } from "vitest";
import { daviesMeyer, NameHash } from "../../../../xlators/cluster/distribute/hash.ts";

const hash = new NameHash([/^\.(.+)\.[^.]+$/]);

describe("the hash of a name", () => {
  const known: readonly [name: string, value: string][] = [
    ["a", "3a17e4e6"],
    ["file1", "a787fa82"],
    ["disk0.img", "78fd14f7"],
    ["0123456789abcdef", "6ecb5ada"],
    ["0123456789abcdefg", "7f5d9903"],
    ["be318638-e8a0-4c6d-977d-7a937aa84806.12", "a6f93bb5"],
    ["é.img", "1721f511"],
    ["vm-100-disk-1.qcow2", "27a96e98"],
  ];
  it.each(known)("of %s is %s", (name, value) => {
    expect(hash.of(name).toString(16).padStart(8, "0")).toBe(value);
  });

  it("takes bytes, not characters: a name that is no UTF-8 hashes as its bytes", () => {
    expect(hash.of("\udcff.img")).toBe(daviesMeyer(Buffer.from([0xff, 0x2e, 0x69, 0x6d, 0x67])));
  });

  it("of a temporary name of rsync is that of the name it will have", () => {
    expect(hash.of(".disk0.img.Xy12ab")).toBe(hash.of("disk0.img"));
    expect(hash.of(".hidden")).not.toBe(hash.of("hidden"));
    expect(hash.of("..x")).toBe(daviesMeyer(Buffer.from("..x")));
  });

  it("tries an extra pattern first, and names as they are without patterns", () => {
    const both = new NameHash([/^(.+)~$/, /^\.(.+)\.[^.]+$/]);
    expect(both.of("disk0.img~")).toBe(hash.of("disk0.img"));
    expect(both.of(".disk0.img.abc")).toBe(hash.of("disk0.img"));
    expect(new NameHash([]).of(".disk0.img.abc")).toBe(daviesMeyer(Buffer.from(".disk0.img.abc")));
  });
});
