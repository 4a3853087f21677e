/**
 * Before the end-to-end tests: Mortar and the file agent as few files of JavaScript, made from the sources by
 * the compiler that tsx uses, in a directory that goes with the run.
 *
 * A process starts four times as fast from them, and the tests start hundreds; and a run is of one state of
 * the sources, whatever is edited meanwhile. MORTAR_TEST_LAUNCHER, set by this and read by peers.ts, names
 * the command; when it is set beforehand (to src/cli/mortar) that one is used and nothing is built. Tests of
 * the launcher itself use the one of the sources.
 */

import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { Guardian } from "./guardian.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Files that the sources find beside themselves. */
const BESIDE = ["mount/dev-fuse/guard.sh"];
const PROFILES = "src/control/profiles";

/** As src/cli/mortar, without the loader. */
const LAUNCHER = `#!/bin/sh
self=$(readlink -f -- "$0") || exit 1
: "\${UV_THREADPOOL_SIZE:=64}"
export UV_THREADPOOL_SIZE
exec "\${MORTAR_NODE:-node}" --max-semi-space-size=2 --heap-growing-percent=40 --always-sparkplug "\${self%/mortar}/main.js" "$@"
`;

/** At the top of each file; the name is one that nobody else takes. */
const REQUIRE =
  'import { createRequire as requireOf } from "node:module"; const require = requireOf(import.meta.url);';

let built: string | undefined;
let guardian: Guardian | undefined;

export async function setup(): Promise<void> {
  if (process.env["MORTAR_TEST_LAUNCHER"] !== undefined) return;
  const directory = mkdtempSync(join(tmpdir(), "mortar-build-"));
  built = directory;
  // Nobody has this mark: each test file has a guardian for what it starts.
  guardian = new Guardian(`MORTAR_TEST_BUILD=${directory}`, directory);
  // A run that is broken off ends without teardown.
  process.once("exit", teardown);
  // Some tests run it as another user.
  chmodSync(directory, 0o755);
  const outdir = join(directory, "src", "cli");
  mkdirSync(outdir, { recursive: true });
  await build({
    entryPoints: [join(ROOT, "src/cli/main.ts"), join(ROOT, "test/support/file-agent-main.ts")],
    entryNames: "[name]",
    outdir,
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    target: `node${process.versions.node}`,
    // With packages, but for native ones: to load them file by file is a quarter of what a start costs.
    external: ["koffi", "fuse-native", "node-gyp-build"],
    // For packages that are CommonJS: what they take from Node.
    banner: { js: REQUIRE },
    // As tsx does, so that a trace says the same.
    keepNames: true,
    logLevel: "warning",
  });
  for (const path of BESIDE) copyFileSync(join(ROOT, path), join(outdir, path.split("/").at(-1)!));
  cpSync(join(ROOT, PROFILES), join(outdir, "profiles"), { recursive: true });
  copyFileSync(join(ROOT, "package.json"), join(directory, "package.json"));
  symlinkSync(join(ROOT, "node_modules"), join(directory, "node_modules"));
  const launcher = join(outdir, "mortar");
  writeFileSync(launcher, LAUNCHER, { mode: 0o755 });
  process.env["MORTAR_TEST_LAUNCHER"] = launcher;
}

export function teardown(): void {
  if (built === undefined) return;
  rmSync(built, { recursive: true, force: true });
  built = undefined;
  guardian?.dismiss();
}
