/** The shell script that starts the command line finds the loader wherever npm has put it. */

import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";

const SCRIPT = fileURLToPath(new URL("../../src/cli/mortar", import.meta.url));

let directory = "";
beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), "mortar-launcher-")));
});
afterEach(() => rmSync(directory, { recursive: true }));

function install(root: string): string {
  const script = join(directory, root, "src/cli/mortar");
  mkdirSync(dirname(script), { recursive: true });
  copyFileSync(SCRIPT, script);
  return script;
}

/** An empty loader in that directory of packages; gives how node is told to use it. */
function loaderIn(modules: string): string {
  const path = join(directory, modules, "tsx/dist/esm/index.mjs");
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, "");
  return `--import file://${path} `;
}

/** What would be run. */
function run(script: string): string {
  const env = { ...process.env, MORTAR_NODE: "echo" };
  const { stdout, stderr } = spawnSync(script, ["--version"], { env, encoding: "utf8" });
  return stdout + stderr;
}

it("in its own packages, also through a symbolic link", () => {
  const script = install("clone");
  const loader = loaderIn("clone/node_modules");
  const link = join(directory, "link");
  symlinkSync(script, link);
  for (const path of [script, link]) expect(run(path)).toContain(loader);
});

it("among the packages of the program that depends on it", () => {
  const script = install("program/node_modules/mortar");
  const beside = loaderIn("program/node_modules");
  expect(run(script)).toContain(beside);
  const own = loaderIn("program/node_modules/mortar/node_modules");
  expect(run(script)).toContain(own);
});

it("and nowhere else: what is missing is said in one line", () => {
  const script = install("clones/mortar");
  loaderIn("clones");
  const root = join(directory, "clones/mortar");
  const line = `mortar: npm packages are missing in ${root}: run \`npm start\` or \`npm ci\` there\n`;
  expect(run(script)).toBe(line);
});
