import { describe, expect, it } from "vitest";
import {
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECT,
  O_DIRECTORY,
  O_DSYNC,
  O_EXCL,
  O_NOATIME,
  O_NOFOLLOW,
  O_RDWR,
  O_SYNC,
  O_TRUNC,
  O_WRONLY,
} from "../../src/core/open-flags.ts";
import * as values from "../../src/rpc/wire-values.ts";

const O_PATH = 0o10000000;

describe("open flags", () => {
  it.each([
    ["an exclusive create", O_RDWR | O_EXCL, 0o202],
    ["everything that both sides know", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o3101],
    ["direct I/O", O_RDWR | O_DIRECT, 0o40002],
    ["lookups", O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC, 0o3600000],
  ])("%s are the same on the wire", (_what, linux, wire) => {
    expect(values.toWireFlags(linux)).toBe(wire);
    expect(values.fromWireFlags(wire)).toBe(linux);
  });

  it("fold both kinds of sync into one bit, which means the stronger", () => {
    expect(values.toWireFlags(O_RDWR | O_SYNC)).toBe(0o10002);
    expect(values.toWireFlags(O_RDWR | O_DSYNC)).toBe(0o10002);
    expect(values.fromWireFlags(0o10002)).toBe(O_RDWR | O_SYNC);
  });

  it("drop what the other side has no bit for", () => {
    expect(values.toWireFlags(O_RDWR | O_PATH)).toBe(O_RDWR);
    expect(values.fromWireFlags(0x7f000000 | O_RDWR)).toBe(O_RDWR);
  });
});

describe("named values", () => {
  it.each([
    ["lockType", values.lockTypeNumber, values.lockTypeOf, ["rdlck", "wrlck", "unlck"]],
    ["lkCommand", values.lkCommandNumber, values.lkCommandOf, ["getlk", "setlk", "setlkw"]],
    ["entrylkCommand", values.entrylkCommandNumber, values.entrylkCommandOf, ["lock", "unlock", "lock-nb"]],
    ["seekWhat", values.seekWhatNumber, values.seekWhatOf, ["data", "hole"]],
  ])("%s: count from zero", (_what, number, name, names) => {
    for (const [i, text] of names.entries()) {
      expect((number as (text: string) => number)(text)).toBe(i);
      expect(name(i)).toBe(text);
    }
    expect(name(names.length)).toBeUndefined();
    expect(name(0xffffffff)).toBeUndefined();
  });
});
