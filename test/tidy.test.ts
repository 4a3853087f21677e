/**
 * The rules of the tree that no compiler checks: which way imports point, who may touch the outside world,
 * sizes, widths, header comments, words. Each failure says what to do about it.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = resolve(import.meta.dirname, "..");
const FOLDERS = ["src", "mount", "xlators", "test", "bench"];
const WIDTH_MAX = 110;
const LINES_MAX = 800;
const HEADER_LINES_MAX = 14;

interface Import {
  readonly line: number;
  /** As written. */
  readonly specifier: string;
  /** Path from the root for files of the project, else undefined. */
  readonly path: string | undefined;
  /** Gone at run time. */
  readonly typeOnly: boolean;
}

interface SourceFile {
  readonly path: string;
  readonly lines: readonly string[];
  readonly imports: readonly Import[];
}

const files: readonly SourceFile[] = FOLDERS.flatMap((folder) => list(folder)).map(readSource);
const byPath = new Map(files.map((file) => [file.path, file]));
const production = files.filter(({ path }) => !path.startsWith("test/") && !path.startsWith("bench/"));

function list(folder: string): string[] {
  const entries = readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && /\.(ts|mjs)$/.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .filter((path) => !path.endsWith(".d.ts") && !path.includes("/fixtures/"));
}

function readSource(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), "utf8");
  const imports: Import[] = [];
  const pattern =
    /^(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)|^\} from "([^"]+)"/gm;
  for (const match of text.matchAll(pattern)) {
    const specifier = match[2] ?? match[3] ?? match[4]!;
    const line = text.slice(0, match.index).split("\n").length;
    const isType =
      match[1] !== undefined || text[match.index - 1] === ":" || /import\("[^"]+"\)\./.test(match[0]);
    const local = specifier.startsWith(".");
    const target = local ? normalize(join(dirname(path), specifier)) : undefined;
    imports.push({ line, specifier, path: target, typeOnly: isType });
  }
  return { path, lines: text.split("\n"), imports };
}

/** One message a violation: `path:line: what; what to do`. An empty list is what is wanted. */
function complaints(
  check: (file: SourceFile, complain: (line: number, what: string) => void) => void,
  of = files,
) {
  const found: string[] = [];
  for (const file of of) check(file, (line, what) => found.push(`${file.path}:${line}: ${what}`));
  return found;
}

/**
 * The part of the tree a file belongs to. A translator is a file, together with the folder of its name if
 * there is one; in a folder without such a file, the folder. Both ends of the wire are one part, and so are
 * the debug translators.
 */
function partOf(path: string): string {
  const [top, second, third = ""] = path.split("/");
  if (top === "src") return `src/${second}`;
  if (top !== "xlators") return top!;
  if (third === "") return path;
  if (second === "protocol" || second === "debug") return `xlators/${second}`;
  return `xlators/${second}/${third.replace(/\.ts$/, "")}`;
}

const CORE = "src/core";
const REGISTRY = ["xlators/registry.ts", "xlators/pass-through.ts"];

/** Whom a part may import besides itself. */
function mayImport(part: string): (target: string) => boolean {
  const among =
    (...parts: string[]) =>
    (target: string) =>
      parts.includes(target);
  switch (part) {
    case CORE:
      return () => false;
    case "src/os":
    case "src/graph":
    case "src/compare":
      return among(CORE);
    case "src/rpc":
      return among(CORE, "src/os");
    case "xlators/protocol":
      return among(CORE, "src/os", "src/rpc");
    case "xlators/storage/posix":
    case "xlators/features/index":
      return among(CORE, "src/os");
    case "xlators/registry.ts":
      return (target) => target === CORE || target.startsWith("xlators/");
    case "src/api":
      return among(CORE, "src/os", "src/graph", "src/rpc", ...REGISTRY);
    case "src/process":
      return (target) =>
        among(CORE, "src/graph", "src/api", "src/control")(target) || target.startsWith("xlators/");
    case "src/control":
      return among(CORE, "src/graph", "src/api", "xlators/registry.ts");
    case "mount":
      return among(CORE, "src/os", "src/graph");
    case "src/cli":
    case "test":
    case "bench":
      return () => true;
    default:
      return among(CORE);
  }
}

describe("imports", () => {
  it("point one way", () => {
    const found = complaints((file, complain) => {
      const part = partOf(file.path);
      const allowed = mayImport(part);
      for (const { path, line } of file.imports) {
        if (path === undefined) continue;
        const target = partOf(path);
        if (target !== part && !allowed(target))
          complain(line, `${part} must not import ${target}; move what is shared down, into src/core`);
      }
    });
    expect(found).toEqual([]);
  });

  it("have their suffix and lead to a file", () => {
    const found = complaints((file, complain) => {
      for (const { path, specifier, line } of file.imports)
        if (path !== undefined && !existsSync(join(ROOT, path)))
          complain(line, `"${specifier}" is no file; write the name with its .ts`);
    });
    expect(found).toEqual([]);
  });

  it("have no cycles at run time", () => {
    const done = new Set<string>();
    const found: string[] = [];
    const walk = (path: string, trail: readonly string[]): void => {
      const at = trail.indexOf(path);
      if (at >= 0)
        found.push(`${[...trail.slice(at), path].join(" -> ")}; move what both need into a third file`);
      if (at >= 0 || done.has(path)) return;
      for (const { path: target, typeOnly } of byPath.get(path)?.imports ?? [])
        if (target !== undefined && !typeOnly) walk(target, [...trail, path]);
      done.add(path);
    };
    for (const { path } of files) walk(path, []);
    expect(found).toEqual([]);
  });

  it("use packages that package.json names", () => {
    const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const known = { ...manifest.dependencies, ...manifest.devDependencies };
    const runtime = new Set(Object.keys(manifest.dependencies));
    const found = complaints((file, complain) => {
      for (const { path, specifier, line } of file.imports) {
        if (path !== undefined || specifier.startsWith("node:")) continue;
        const name = specifier
          .split("/")
          .slice(0, specifier.startsWith("@") ? 2 : 1)
          .join("/");
        if (!Object.hasOwn(known, name)) complain(line, `"${name}" is not in package.json`);
        else if (production.includes(file) && !runtime.has(name))
          complain(line, `"${name}" is a development dependency; production code must not need it`);
      }
    });
    expect(found).toEqual([]);
  });
});

describe("the outside world", () => {
  /** Where each way out of the process may be used, as beginnings of paths. */
  const WAYS: readonly (readonly [what: RegExp, places: readonly string[], remedy: string])[] = [
    [
      /^node:(fs|fs\/promises)$/,
      ["src/os/", "src/rpc/transport-tcp.ts", "src/api/", "src/process/", "src/cli/", "mount/"].concat([
        "src/compare/machine.ts",
        "xlators/storage/posix/",
        "src/control/",
      ]),
      "file systems are for storage/posix, src/os, unix sockets, the edges and the mains",
    ],
    [
      /^node:(net|dgram|tls|dns.*)$/,
      ["src/os/", "src/rpc/transport-tcp.ts", "src/control/socket.ts"],
      "sockets are for rpc/transport-tcp.ts and the control socket",
    ],
    [
      /^node:(child_process|cluster|worker_threads)$/,
      ["src/cli/", "mount/", "src/process/", "src/compare/machine.ts"],
      "processes are for the mains and the edges",
    ],
    [/^koffi$/, ["src/os/", "mount/"], "native calls are for src/os and the edges"],
  ];

  it("is met in few places", () => {
    const found = complaints((file, complain) => {
      for (const { specifier, line, typeOnly } of file.imports)
        for (const [what, places, remedy] of WAYS)
          if (
            !typeOnly &&
            what.test(specifier) &&
            !places.some((place) => file.path.startsWith(place)) &&
            !isAddressOnly(file, line)
          )
            complain(line, `"${specifier}": ${remedy}`);
    }, production);
    expect(found).toEqual([]);
  });

  it("has its clock and its randomness in Env", () => {
    const direct = /\b(Date\.now|new Date\(\)|Math\.random|performance\.now|setTimeout|setInterval)\b/;
    // Of a socket setTimeout is a method.
    const places = ["src/core/env-node.ts", "src/os/", "src/cli/", "mount/", "src/core/gfid.ts"].concat([
      "src/control/socket.ts",
    ]);
    const found = complaints((file, complain) => {
      if (places.some((place) => file.path.startsWith(place))) return;
      for (const [index, line] of file.lines.entries())
        if (direct.test(code(line)))
          complain(index + 1, "time and chance come from Env, so that tests can set them");
    }, production);
    expect(found).toEqual([]);
  });

  /** `isIP` and its kind only look at text. */
  function isAddressOnly(file: SourceFile, line: number): boolean {
    return /^import \{ (isIP|isIPv4|isIPv6|BlockList)(, (isIP|isIPv4|isIPv6|BlockList))* \} from "node:net";$/.test(
      file.lines[line - 1]!,
    );
  }
});

describe("files", () => {
  it(`have at most ${LINES_MAX} lines`, () => {
    const found = complaints((file, complain) => {
      if (file.lines.length > LINES_MAX)
        complain(LINES_MAX, `${file.lines.length} lines; find the second noun and give it a file of its own`);
    });
    expect(found).toEqual([]);
  });

  it(`have lines of at most ${WIDTH_MAX} columns`, () => {
    const found = complaints((file, complain) => {
      for (const [index, line] of file.lines.entries())
        if (line.length > WIDTH_MAX && !isUnbreakable(line))
          complain(index + 1, `${line.length} columns; break the line`);
    });
    expect(found).toEqual([]);
  });

  it("begin with a comment that says what they are for", () => {
    const found = complaints((file, complain) => {
      const first = file.lines[0]?.startsWith("#!") ? 1 : 0;
      if (/\.test\.ts$/.test(file.path) && !file.lines[first]?.startsWith("/**")) return;
      if (!file.lines[first]?.startsWith("/**"))
        return complain(1, "begin with /** what this file is for */");
      const length = file.lines.findIndex((line) => line.includes("*/")) - first + 1;
      if (length > HEADER_LINES_MAX)
        complain(1, `a header of ${length} lines; say it in ${HEADER_LINES_MAX - 2}`);
    });
    expect(found).toEqual([]);
  });

  /** The formatter cannot break a long text or pattern, and neither should a person. */
  function isUnbreakable(line: string): boolean {
    const isComment = /^\s*(\*|\/\/|\/\*)/.test(line);
    return !isComment && /(["'`/])(?:(?!\1).){50,}/.test(line);
  }
});

describe("words", () => {
  const BANNED: readonly (readonly [RegExp, string])[] = [
    [/\b(TODO|FIXME|XXX|HACK)\b/, "do it now, or write it into an issue"],
    [/^\s*(\*|\/\/).*\b(for now|temporary hack|quick fix)\b/i, "say what holds, and why"],
    [/@ts-(ignore|nocheck)/, "make the types right"],
    [/\bconsole\.(log|error|warn)/, "use the log, or process.stdout in a command"],
    [/^\s*\/\/\s*[-=*#]{4,}/, "no banners"],
    [/^\s*(export )?(const )?enum\s/, "use an `as const` table"],
    [/^\s*(export )?namespace\s/, "use a module"],
    [/^export default /, "name the export"],
  ];
  /** Where tools want a default export, and where the words themselves are the subject. */
  const EXCEPT = ["test/tidy.test.ts", "test/support/reporter.ts", "vitest.config.ts"];

  it("are ones that help", () => {
    const found = complaints((file, complain) => {
      if (EXCEPT.includes(file.path)) return;
      for (const [index, line] of file.lines.entries())
        for (const [banned, remedy] of BANNED)
          if (banned.test(line)) complain(index + 1, `"${banned.exec(line)?.[0].trim()}": ${remedy}`);
    });
    expect(found).toEqual([]);
  });
});

/** A line without its comment and without the insides of its strings. */
function code(line: string): string {
  if (/^\s*(\*|\/\*)/.test(line)) return "";
  return line
    .replace(/(["'`])(?:\\.|(?!\1).)*\1/g, '""')
    .replace(/\/\/.*$/, "")
    .replace(/\/\*.*?\*\//g, "");
}
