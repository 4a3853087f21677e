/** The package as npm packs it: a program that is checked strictly, libraries included, finds its types. */

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** What a program brings along itself: README says so. */
const PROGRAMS_OWN = ["@types/node", "undici-types"];

const PROGRAM = [
  `import { allocate, flags, openVolume } ${'from "mortar"'};`,
  'await using volume = await openVolume("gluster://server/volume");',
  'await using image = await volume.open("/vm1.raw", flags.O_RDWR | flags.O_DIRECT);',
  "const block: Buffer = allocate(4096);",
  "await image.write(0, block);",
  "const read = await image.readVector(0, 1 << 20);",
  "read.release();",
  "let held = 0;",
  "for await (const { size, isData } of image.extents()) held += isData ? size : 0;",
  "export { held };",
].join("\n");

const CONFIG = {
  compilerOptions: {
    strict: true,
    skipLibCheck: false,
    noEmit: true,
    module: "nodenext",
    target: "es2022",
    lib: ["es2023", "esnext.disposable"],
    types: ["node"],
    allowImportingTsExtensions: true,
    // Packages are found as they lie in the program's own directory.
    preserveSymlinks: true,
  },
  files: ["program.ts"],
};

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "mortar-package-"));
  const packed = join(directory, "node_modules/mortar");
  mkdirSync(packed, { recursive: true });
  const out = execFileSync("npm", ["pack", ROOT, "--silent", "--ignore-scripts"], {
    cwd: directory,
    encoding: "utf8",
  });
  const archive = join(directory, out.trim().split("\n").at(-1)!);
  execFileSync("tar", ["-xzf", archive, "-C", packed, "--strip-components=1"]);
  const { dependencies } = JSON.parse(readFileSync(join(packed, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  for (const name of [...Object.keys(dependencies), ...PROGRAMS_OWN]) {
    const place = join(directory, "node_modules", name);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(join(ROOT, "node_modules", name), place);
  }
  writeFileSync(join(directory, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(CONFIG));
  writeFileSync(join(directory, "program.ts"), PROGRAM);
});
afterAll(() => rmSync(directory, { recursive: true }));

it("is clean under tsc --strict without skipLibCheck, with no types but those of its dependencies", () => {
  const tsc = join(ROOT, "node_modules/.bin/tsc");
  const { stdout, status } = spawnSync(tsc, ["-p", directory], { encoding: "utf8" });
  expect(stdout).toBe("");
  expect(status).toBe(0);
});
