import { describe, expect, it } from "vitest";
import { UserError } from "../../src/core/errors.ts";
import * as o from "../../src/core/options.ts";

const table = {
  "filter-O_DIRECT": o.bool({ default: false, describe: "d", volumeKey: "network.remote-dio" }),
  "shard-block-size": o.size({ default: 64 << 20, min: 4 << 20, describe: "d" }),
  "ping-timeout": o.time({ default: 42, max: 1013, describe: "d" }),
  "event-threads": o.int({ default: 2, min: 1, max: 32, describe: "d" }),
  reserve: o.percentOrSize({ default: { percent: 1 }, describe: "d" }),
  policy: o.choice(["none", "size", "mtime"], { default: "none", describe: "d" }),
  mask: o.mode({ default: 0o777, describe: "d" }),
  directory: o.path({ default: "", describe: "d", aliases: ["dir"] }),
  allow: o.addresses({ default: ["*"], describe: "d" }),
} as const satisfies o.OptionTable;

const parse = (given: Record<string, string>): o.OptionValues<typeof table> =>
  o.parseOptions(table, new Map(Object.entries(given)), {
    who: 'volume "v"',
    whoOf: () => 'x.vol:7: volume "v"',
  }).values;

describe("options", () => {
  it("have their defaults", () => {
    expect(parse({})["shard-block-size"]).toBe(64 << 20);
  });

  it.each([
    ["filter-O_DIRECT", "Enable", true],
    ["filter-O_DIRECT", "0", false],
    ["shard-block-size", "8MB", 8 << 20],
    ["shard-block-size", "4.5mb", 4.5 * 2 ** 20],
    ["ping-timeout", "2min", 120],
    ["event-threads", "0x10", 16],
    ["event-threads", "017", 15],
    ["reserve", "5%", { percent: 5 }],
    ["reserve", "10GB", { bytes: 10 * 2 ** 30 }],
    ["policy", "MTIME", "mtime"],
    ["mask", "0750", 0o750],
    ["mask", "488", 0o750],
    ["mask", "0", 0],
    ["allow", "10.0.0.*, host", ["10.0.0.*", "host"]],
  ])("read %s %s", (key, text, value) => {
    expect(parse({ [key]: text })[key as keyof typeof table]).toEqual(value);
  });

  it.each([
    ["filter-O_DIRECT", "maybe", /neither on .* nor off/],
    ["shard-block-size", "3KB", /"3KB" is below the minimum 4MB/],
    ["shard-block-size", "-1", /not a size/],
    ["ping-timeout", "5000", /above the maximum 1013/],
    ["event-threads", "3.5", /not a whole number/],
    ["reserve", "101%", /above the maximum 100/],
    ["policy", "biggest", /none of none, size, mtime/],
    ["mask", "01777", /"01777" is above the maximum 0777$/],
    ["mask", "770", /"770" is above the maximum 0777; octal numbers begin with 0: 0770$/],
    ["mask", "-1", /below the minimum 0000$/],
    ["mask", "0778", /not a whole number: with a 0/],
    ["directory", "a/b", /not an absolute path/],
    ["directory", "/a/../b", /'\.\.'/],
    ["allow", " , ", /empty list/],
  ])("refuse %s %s in one line that names it", (key, text, why) => {
    expect(() => parse({ [key]: text })).toThrow(UserError);
    expect(() => parse({ [key]: text })).toThrow(why);
    expect(() => parse({ [key]: text })).toThrow(`x.vol:7: volume "v": option ${key}:`);
  });

  it("know aliases and give unknown keys back", () => {
    const { values, unknown } = o.parseOptions(
      table,
      new Map([
        ["dir", "/b"],
        ["nope", "1"],
      ]),
      { who: "v" },
    );
    expect(values.directory).toBe("/b");
    expect(unknown).toEqual(["nope"]);
  });

  it("print sizes as people write them", () => {
    expect(o.formatSize(64 << 20)).toBe("64MB");
    expect(o.formatSize(1000)).toBe("1000");
  });

  it("print permissions as people write them", () => {
    expect([0, 0o20, 0o750, 0o777].map(o.formatMode)).toEqual(["0000", "0020", "0750", "0777"]);
  });
});
