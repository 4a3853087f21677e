import { describe, expect, it } from "vitest";
import { defaultMountOptions, directIoMode, MOUNT_OPTIONS, parseMountOptions } from "../../mount/options.ts";
import { UserError } from "../../src/core/errors.ts";

const parse = (...pairs: [string, (string | undefined)?][]) =>
  parseMountOptions(new Map(pairs.map(([k, v]) => [k, v])));

describe("mount options", () => {
  it("have GlusterFS' defaults", () => {
    const options = defaultMountOptions();
    expect(options["attribute-timeout"]).toBe(1);
    expect(options["entry-timeout"]).toBe(1);
    expect(options["negative-timeout"]).toBe(0);
    expect(options["background-qlen"]).toBe(64);
    expect(directIoMode(options)).toBe("auto");
    expect(options.given.size).toBe(0);
  });

  it.each(Object.entries(MOUNT_OPTIONS))("%s is described in a sentence", (_key, { describe: text }) => {
    expect(text).toMatch(/^[A-Z].*\.$/s);
  });

  it.each([
    ["attribute-timeout", "0.5", 0.5],
    ["attribute_timeout", "600", 600],
    ["kernel-writeback-cache", undefined, true],
    ["use-readdirp", "no", false],
    ["acl", undefined, true],
    ["subdir-mount", "/a/b", "/a/b"],
    ["passthrough", undefined, "on"],
    ["passthrough", "no", "off"],
    ["passthrough", "read", "read"],
    ["kernel-writeback-window", "32MB", 32 << 20],
  ])("read %s=%s", (key, text, value) => {
    const { options, rest } = parse([key, text]);
    expect(options[key.replaceAll("_", "-") as keyof typeof options]).toEqual(value);
    expect(options.given.has(key.replaceAll("_", "-"))).toBe(true);
    expect(rest.size).toBe(0);
  });

  it.each([
    ["ro", "read-only", true],
    ["rw", "read-only", false],
    ["allow_other", "allow-other", true],
    ["writeback-cache", "kernel-writeback-cache", true],
  ])("know mount(8)'s %s", (word, key, value) => {
    expect(parse([word]).options[key as "read-only"]).toBe(value);
  });

  it.each([
    ["attribute-timeout", "soon", /"soon" is not a number of seconds/],
    ["background-qlen", "0", /whole number from 1 to 65535/],
    ["direct-io-mode", "maybe", /is none of/],
    ["subdir-mount", "/a/../b", /absolute path/],
    ["acl", "perhaps", /neither on/],
    ["passthrough", "write", /none of on, read, off/],
    ["kernel-writeback-window", "64KB", /4MB/],
    ["kernel-writeback-window", "much", /not a size/],
  ])("refuse %s=%s in one line that names it", (key, text, why) => {
    expect(() => parse([key, text])).toThrow(UserError);
    expect(() => parse([key, text])).toThrow(why);
    expect(() => parse([key, text])).toThrow(`mount: option ${key}: `);
  });

  it("give back what is not theirs, in order", () => {
    const { rest } = parse(["log-level", "INFO"], ["acl"], ["x-systemd.automount"]);
    expect([...rest]).toEqual([
      ["log-level", "INFO"],
      ["x-systemd.automount", undefined],
    ]);
  });
});
