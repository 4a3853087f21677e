/**
 * Volfiles: text to sections and back (spec translators.md 1.1; GlusterFS libglusterfs/src/graph.l and
 * graph.y).
 *
 * The parser knows the grammar only: words, quotes, comments, the order inside a section. Names are linked by
 * `graph.ts`. Every error is a UserError that begins with `file:line:`.
 *
 * Two deliberate differences. Backticks are refused: GlusterFS runs what is between them by the shell. A
 * section of nothing but a type is taken, where GlusterFS wants at least one option or subvolume.
 */

import { UserError } from "../core/errors.ts";

export interface VolfileOption {
  readonly key: string;
  readonly value: string;
  readonly line: number;
}

export interface VolfileReference {
  readonly name: string;
  readonly line: number;
}

/** One `volume ... end-volume`. Lines are counted from 1; 0 stands for a section made by code. */
export interface VolfileSection {
  readonly name: string;
  readonly line: number;
  readonly type: string;
  readonly typeLine: number;
  /** As written. When a key is repeated the last one counts. */
  readonly options: readonly VolfileOption[];
  readonly subvolumes: readonly VolfileReference[];
}

export interface Volfile {
  /** For messages: a path, or where the text came from. */
  readonly fileName: string;
  /** In file order: children before their parents. */
  readonly sections: readonly VolfileSection[];
}

type Keyword = "volume" | "type" | "option" | "subvolumes" | "end-volume";
const KEYWORDS: ReadonlyMap<string, Keyword> = new Map([
  ["volume", "volume"],
  ["type", "type"],
  ["option", "option"],
  ["subvolumes", "subvolumes"],
  ["subvolumeS", "subvolumes"],
  ["end-volume", "end-volume"],
]);

interface Token {
  readonly text: string;
  readonly keyword: Keyword | undefined;
  readonly line: number;
}

/** Parses a whole volfile. `fileName` is only for messages. */
export function parseVolfile(text: string, fileName: string): Volfile {
  const tokens = new Lexer(text, fileName).tokens();
  return { fileName, sections: new Parser(tokens, fileName, text).sections() };
}

/**
 * Prints a volfile that parses back to the same sections; options indented, one empty line between sections.
 */
export function printVolfile(volfile: Volfile): string {
  return volfile.sections.map(printSection).join("\n");
}

/** A section built by code, with no lines to point at. */
export function volfileSection(
  name: string,
  type: string,
  options: Readonly<Record<string, string>> = {},
  subvolumes: readonly string[] = [],
): VolfileSection {
  return {
    name,
    line: 0,
    type,
    typeLine: 0,
    options: Object.entries(options).map(([key, value]) => ({ key, value, line: 0 })),
    subvolumes: subvolumes.map((child) => ({ name: child, line: 0 })),
  };
}

/** The volfile with options of one section set or replaced. */
export function withOptions(
  volfile: Volfile,
  name: string,
  options: Readonly<Record<string, string>>,
): Volfile {
  const sections = volfile.sections.map((section) =>
    section.name === name ? withSectionOptions(section, options) : section,
  );
  return { ...volfile, sections };
}

function withSectionOptions(
  section: VolfileSection,
  options: Readonly<Record<string, string>>,
): VolfileSection {
  const kept = section.options.filter((option) => !Object.hasOwn(options, option.key));
  const added = Object.entries(options).map(([key, value]) => ({ key, value, line: 0 }));
  return { ...section, options: [...kept, ...added] };
}

function printSection(section: VolfileSection): string {
  const lines = [`volume ${printWord(section.name)}`, `    type ${printWord(section.type)}`];
  for (const { key, value } of section.options)
    lines.push(`    option ${printWord(key)} ${printWord(value)}`);
  if (section.subvolumes.length > 0)
    lines.push(`    subvolumes ${section.subvolumes.map((child) => printWord(child.name)).join(" ")}`);
  lines.push("end-volume", "");
  return lines.join("\n");
}

function printWord(word: string): string {
  if (/^[^ \t\r\n"\\#`][^ \t\r\n"\\`]*$/.test(word) && !KEYWORDS.has(word)) return word;
  if (/[\n\0]/.test(word))
    throw new UserError(`volfile: ${JSON.stringify(word)}: a line break or NUL cannot be written`);
  return `"${word.replace(/["\\`]/g, "\\$&")}"`;
}

const WORD = /[^ \t\r\n"\\]+/y;

/** Splits text into words, quoted words and keywords. */
class Lexer {
  readonly #text: string;
  readonly #fileName: string;
  #at = 0;
  #line = 1;

  constructor(text: string, fileName: string) {
    this.#text = text;
    this.#fileName = fileName;
  }

  tokens(): Token[] {
    this.#refuseBackticks();
    const tokens: Token[] = [];
    while (this.#at < this.#text.length) {
      const character = this.#text[this.#at]!;
      if (character === "\n") this.#line++;
      if (/[ \t\r\n]/.test(character)) this.#at++;
      else if (character === "#") this.#skipComment();
      else if (character === '"') tokens.push(this.#quoted());
      else tokens.push(this.#word());
    }
    return tokens;
  }

  /** GlusterFS replaces `...` before it looks at anything else, so comments and quotes protect nobody. */
  #refuseBackticks(): void {
    const found = /(?<!\\)`/.exec(this.#text);
    if (!found) return;
    this.#line += this.#text.slice(0, found.index).split("\n").length - 1;
    this.#fail("backticks are refused: Mortar runs no shell commands from volfiles; write the value itself");
  }

  #skipComment(): void {
    const end = this.#text.indexOf("\n", this.#at);
    this.#at = end < 0 ? this.#text.length : end;
  }

  #quoted(): Token {
    let word = "";
    for (let at = this.#at + 1; ; at++) {
      const character = this.#text[at];
      if (character === undefined || character === "\n") this.#fail("the closing quote is missing");
      if (character === '"') {
        this.#at = at + 1;
        return { text: word, keyword: undefined, line: this.#line };
      }
      if (character === "\\") {
        const escaped = this.#text[++at];
        if (escaped === undefined || escaped === "\n") this.#fail("the closing quote is missing");
        word += escaped;
      } else word += character;
    }
  }

  #word(): Token {
    WORD.lastIndex = this.#at;
    const text = WORD.exec(this.#text)?.[0] ?? "";
    if (text === "") this.#fail("a backslash may only stand inside quotes");
    if (text.includes("\0")) this.#fail("a NUL byte: this is not a volfile");
    this.#at += text.length;
    return { text, keyword: KEYWORDS.get(text), line: this.#line };
  }

  #fail(why: string): never {
    throw new UserError(`${this.#fileName}:${this.#line}: ${why}`);
  }
}

interface OpenSection {
  readonly name: string;
  readonly line: number;
  type?: Token;
  readonly options: VolfileOption[];
  subvolumes?: VolfileReference[];
}

/** Puts tokens together to sections. */
class Parser {
  readonly #tokens: readonly Token[];
  readonly #fileName: string;
  readonly #lastLine: number;
  #next = 0;

  constructor(tokens: readonly Token[], fileName: string, text: string) {
    this.#tokens = tokens;
    this.#fileName = fileName;
    this.#lastLine = text.trimEnd().split("\n").length;
  }

  sections(): VolfileSection[] {
    const sections: VolfileSection[] = [];
    while (this.#next < this.#tokens.length) sections.push(this.#section());
    if (sections.length === 0) throw new UserError(`${this.#fileName}: there is no volume in it`);
    return sections;
  }

  #section(): VolfileSection {
    const begin = this.#tokens[this.#next++]!;
    if (begin.keyword !== "volume") this.#fail(begin.line, `"${begin.text}" where "volume NAME" must begin`);
    const name = this.#takeWord(begin.line, '"volume" needs a name');
    if (name.text === "") this.#fail(name.line, "a volume's name is empty");
    const section: OpenSection = { name: name.text, line: begin.line, options: [] };
    while (this.#statement(section));
    const { type } = section;
    if (!type) return this.#fail(section.line, `volume "${section.name}": "type" is missing`);
    return {
      name: section.name,
      line: section.line,
      type: type.text,
      typeLine: type.line,
      options: section.options,
      subvolumes: section.subvolumes ?? [],
    };
  }

  /** One line of a section; false at its end. */
  #statement(section: OpenSection): boolean {
    const who = `volume "${section.name}"`;
    const token = this.#tokens[this.#next++];
    if (!token) return this.#fail(this.#lastLine, `${who}: "end-volume" is missing`);
    switch (token.keyword) {
      case "end-volume":
        return false;
      case "type":
        if (section.type) this.#fail(token.line, `${who}: a second "type"`);
        if (section.options.length > 0 || section.subvolumes)
          this.#fail(token.line, `${who}: "type" must come before options and subvolumes`);
        section.type = this.#takeWord(token.line, `${who}: "type" needs a type like storage/posix`);
        return true;
      case "option": {
        const key = this.#takeWord(token.line, `${who}: "option" needs a key and a value`);
        const value = this.#takeWord(token.line, `${who}: option ${key.text} has no value`);
        section.options.push({ key: key.text, value: value.text, line: token.line });
        return true;
      }
      case "subvolumes": {
        if (section.subvolumes) this.#fail(token.line, `${who}: a second "subvolumes"`);
        const first = this.#takeWord(token.line, `${who}: "subvolumes" needs at least one name`);
        section.subvolumes = [{ name: first.text, line: first.line }];
        for (let word = this.#tokens[this.#next]; word && !word.keyword; word = this.#tokens[++this.#next])
          section.subvolumes.push({ name: word.text, line: word.line });
        return true;
      }
      case "volume":
        return this.#fail(token.line, `${who}: "end-volume" is missing before the next "volume"`);
      case undefined:
        return this.#fail(
          token.line,
          `${who}: "${token.text}" where "type", "option", "subvolumes" or "end-volume" must stand`,
        );
    }
  }

  #takeWord(line: number, why: string): Token {
    const token = this.#tokens[this.#next];
    if (!token) return this.#fail(line, why);
    if (token.keyword)
      this.#fail(line, `${why} (the keyword "${token.text}" follows; quote it if it is meant as a word)`);
    this.#next++;
    return token;
  }

  #fail(line: number, why: string): never {
    throw new UserError(`${this.#fileName}:${line}: ${why}`);
  }
}
