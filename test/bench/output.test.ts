/** Directories of a run that cannot be written are told of before anything is started. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** A tenth of what the shortest run takes. */
const AT_ONCE_MS = 20_000;

const directory = mkdtempSync(join(tmpdir(), "mortar-bench-output-"));
const file = join(directory, "file");
writeFileSync(file, "");
afterAll(() => rmSync(directory, { recursive: true }));

it.each([
  ["--output", []],
  ["--output", ["--trials", "switches"]],
  ["--dir", ["--output", directory]],
  ["--profile", ["--output", directory]],
])("%s that is a file, with %j", (option, more) => {
  const args = ["--import", "tsx", "bench/run.ts", "--quick", option, file, ...more];
  const timeout = AT_ONCE_MS;
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: ROOT,
    encoding: "utf8",
    timeout,
  });
  const line = `bench: ${option} "${file}": is no directory; name one, or one to be made\n`;
  expect([status, stdout, stderr]).toEqual([1, "", line]);
  expect(readdirSync(directory)).toEqual(["file"]);
});
