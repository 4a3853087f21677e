/**
 * The volfile grammar (spec translators.md 1.1): what parses, what does not and on which line, and printing.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseVolfile, printVolfile, volfileSection, withOptions } from "../../src/graph/volfile.ts";

function parse(text: string) {
  return parseVolfile(text, "x.vol").sections.map(({ name, type, options, subvolumes }) => ({
    name,
    type,
    options: options.map(({ key, value }) => [key, value]),
    subvolumes: subvolumes.map((child) => child.name),
  }));
}

describe("volfile parser", () => {
  it("reads sections with options before and after subvolumes", () => {
    const text = `volume a
    type storage/posix
    option directory /b
end-volume
volume b
  type debug/io-stats
  option one 1
  subvolumes a
  option two "2 and more"
end-volume`;
    expect(parse(text)).toEqual([
      { name: "a", type: "storage/posix", options: [["directory", "/b"]], subvolumes: [] },
      {
        name: "b",
        type: "debug/io-stats",
        options: [
          ["one", "1"],
          ["two", "2 and more"],
        ],
        subvolumes: ["a"],
      },
    ]);
  });

  it("takes line breaks, tabs and carriage returns as blanks", () => {
    expect(parse("volume\ta\r\ntype\n x/y option\nk\nv end-volume")).toEqual([
      { name: "a", type: "x/y", options: [["k", "v"]], subvolumes: [] },
    ]);
  });

  it("ends comments at the line's end and lets '#' stand inside a word", () => {
    expect(parse('# volume b\nvolume a # type y\ntype x#1\noption k "#v"#c end-volume\nend-volume')).toEqual([
      { name: "a", type: "x#1", options: [["k", "#v"]], subvolumes: [] },
    ]);
  });

  it("takes the character after a backslash in quotes as it is, keywords too", () => {
    expect(parse(String.raw`volume "type" type "a\"b\\c\d" end-volume`)).toEqual([
      { name: "type", type: 'a"b\\cd', options: [], subvolumes: [] },
    ]);
  });

  it("takes subvolumeS and an escaped backtick", () => {
    expect(parse('volume a type x end-volume volume b type "\\`" subvolumeS a end-volume')).toEqual([
      { name: "a", type: "x", options: [], subvolumes: [] },
      { name: "b", type: "`", options: [], subvolumes: ["a"] },
    ]);
  });

  it("keeps a repeated option in its place, so that the last one counts", () => {
    expect(parse("volume a type x option k 1 option k 2 end-volume")[0]!.options).toEqual([
      ["k", "1"],
      ["k", "2"],
    ]);
  });

  it("knows the line of every part", () => {
    const [section] = parseVolfile(
      "\nvolume a\n type x\n\n option k v\n subvolumes b\n  c\nend-volume",
      "x.vol",
    ).sections;
    expect(section).toMatchObject({ line: 2, typeLine: 3 });
    expect(section!.options[0]!.line).toBe(5);
    expect(section!.subvolumes.map((child) => child.line)).toEqual([6, 7]);
  });
});

describe("volfile errors", () => {
  const cases: readonly [what: string, text: string, message: RegExp][] = [
    ["an empty file", " # nothing\n", /^x\.vol: there is no volume in it$/],
    [
      "text outside of a volume",
      "volume a\ntype x\nend-volume\nfoo",
      /^x\.vol:4: "foo" where "volume NAME" must begin$/,
    ],
    ["a volume without a name", "volume\ntype x\nend-volume", /^x\.vol:1: "volume" needs a name/],
    ["a missing type", "volume a\noption k v\nend-volume", /^x\.vol:1: volume "a": "type" is missing$/],
    [
      "a type after an option",
      "volume a\noption k v\ntype x\nend-volume",
      /^x\.vol:3: .*"type" must come before/,
    ],
    ["a second type", "volume a\ntype x\ntype y\nend-volume", /^x\.vol:3: .*a second "type"$/],
    ["a type without its word", "volume a\ntype\nend-volume", /^x\.vol:2: .*"type" needs a type/],
    [
      "an option without a value",
      "volume a\ntype x\noption k\nend-volume",
      /^x\.vol:3: .*option k has no value/,
    ],
    [
      "an option without a key",
      "volume a\ntype x\noption\nend-volume",
      /^x\.vol:3: .*needs a key and a value/,
    ],
    ["empty subvolumes", "volume a\ntype x\nsubvolumes\nend-volume", /^x\.vol:3: .*at least one name/],
    [
      "second subvolumes",
      "volume a\ntype x\nsubvolumes b\nsubvolumes c\nend-volume",
      /^x\.vol:4: .*a second "subvolumes"$/,
    ],
    ["a missing end", "volume a\ntype x\n\n", /^x\.vol:2: volume "a": "end-volume" is missing$/],
    [
      "a missing end before the next volume",
      "volume a\ntype x\nvolume b",
      /^x\.vol:3: volume "a": "end-volume" is missing/,
    ],
    ["a word out of place", "volume a\ntype x y\nend-volume", /^x\.vol:2: volume "a": "y" where/],
    ["an upper-case keyword", "Volume a\ntype x\nend-volume", /^x\.vol:1: "Volume" where/],
    ["an open quote", 'volume a\ntype "x\nend-volume', /^x\.vol:2: the closing quote is missing$/],
    ["a backslash outside of quotes", "volume a\ntype x\\y\nend-volume", /^x\.vol:2: a backslash/],
    ["backticks", "volume a\ntype x\noption k `date`\nend-volume", /^x\.vol:3: backticks are refused/],
    ["backticks in a comment", "# `date`\nvolume a\ntype x\nend-volume", /^x\.vol:1: backticks are refused/],
    ["a binary file", "volume a\ntype x\u0000\nend-volume", /^x\.vol:2: a NUL byte/],
    ["an empty name", 'volume ""\ntype x\nend-volume', /^x\.vol:1: a volume's name is empty$/],
  ];
  it.each(cases)("names the line of %s", (_what, text, message) => {
    expect(() => parseVolfile(text, "x.vol")).toThrow(message);
  });

  it("throws nothing but UserError, whatever the text", () => {
    const pieces = fc.constantFrom(
      "volume",
      "type",
      "option",
      "subvolumes",
      "end-volume",
      '"',
      "\\",
      "#",
      "\n",
      "a",
      " ",
      "`",
      "\0",
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
        try {
          parseVolfile(parts.join(""), "x.vol");
        } catch (error) {
          expect((error as Error).name).toBe("UserError");
        }
      }),
      { seed: 1, numRuns: 2000 },
    );
  });
});

describe("volfile printer", () => {
  const word = fc.string({ minLength: 1, maxLength: 12, unit: fc.constantFrom(...'ab/#"\\` \t\r-é') });
  const keyword = fc.constantFrom("volume", "type", "option", "subvolumes", "subvolumeS", "end-volume");
  const anyWord = fc.oneof(word, keyword);

  it("prints what parses back to the same sections", () => {
    const section = fc.record({
      name: anyWord,
      type: anyWord,
      options: fc.array(fc.tuple(anyWord, anyWord)),
      subvolumes: fc.array(anyWord, { maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(section, { minLength: 1, maxLength: 4 }), (sections) => {
        const volfile = {
          fileName: "x",
          sections: sections.map(({ name, type, options, subvolumes }) => ({
            ...volfileSection(name, type, {}, subvolumes),
            options: options.map(([key, value]) => ({ key, value, line: 0 })),
          })),
        };
        expect(parse(printVolfile(volfile))).toEqual(sections);
      }),
      { seed: 2 },
    );
  });

  it("refuses words that the grammar cannot say", () => {
    const volfile = { fileName: "x", sections: [volfileSection("a", "b", { k: "one\ntwo" })] };
    expect(() => printVolfile(volfile)).toThrow(/line break/);
  });

  it("prints an option set from outside instead of the old one", () => {
    const volfile = parseVolfile("volume a type x option k 1 option k 2 option l 3 end-volume", "x");
    expect(printVolfile(withOptions(volfile, "a", { k: "9" }))).toBe(
      "volume a\n    type x\n    option l 3\n    option k 9\nend-volume\n",
    );
  });
});
