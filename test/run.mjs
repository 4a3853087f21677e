/**
 * `npm test`: types, lint, then every test, each kind once. Ends with a plain line `N passed, N failed, N
 * skipped`; the exit code is 0 only when everything passed. `npm test -- unit` (or conformance, e2e) runs one
 * kind.
 */

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const bin = (name) => join(ROOT, "node_modules", ".bin", name);

const wanted = process.argv.slice(2);
const steps = [
  ["types", bin("tsc"), ["--noEmit"]],
  ["lint", bin("biome"), ["check", "--diagnostic-level=warn", "--error-on-warnings"]],
  ["tests", bin("vitest"), ["run", ...wanted.flatMap((project) => ["--project", project])]],
];

let failed = false;
for (const [name, command, args] of steps) {
  const started = Date.now();
  const { status, signal } = spawnSync(command, args, { cwd: ROOT, stdio: "inherit" });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (status !== 0) {
    failed = true;
    process.stdout.write(`${name}: failed after ${seconds} s${signal ? ` (${signal})` : ""}\n`);
    if (name !== "tests") process.stdout.write("0 passed, 1 failed, 0 skipped\n");
    break;
  }
  if (name !== "tests") process.stdout.write(`${name}: ok (${seconds} s)\n`);
}
process.exit(failed ? 1 : 0);
