/**
 * Sets a fresh clone up, then runs one of the project's jobs: `node src/cli/setup.mjs start|test|bench|sim
 * [ARGUMENTS]`.
 *
 * Plain Node without packages, because it runs before there are any. npm packages come by `npm ci` when they
 * are missing or older than package-lock.json; Debian packages by apt-get when this is root on Debian and
 * they are missing. MORTAR_NO_APT=1 forbids the latter: what is missing is named instead.
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const NODE_OLDEST = [20, 19];

/** Debian packages by job, and what each is for. */
const PACKAGES = {
  start: { fuse3: "mounting without root", "qemu-utils": "qemu-img on the mount" },
  bench: {
    fio: "the loads",
    libfuse2: "the fuse-native edge",
    "glusterfs-server": "the peer (--peers)",
    "glusterfs-client": "the peer (--peers)",
  },
  test: {
    "glusterfs-server": "the peer's bricks",
    "glusterfs-client": "the peer's mounts",
    "qemu-utils": "images on the mount",
    "qemu-system-x86": "image locks",
    "qemu-block-extra": "gluster:// in QEMU",
    fio: "data checks",
    fuse3: "mounting without root",
    libfuse2: "the fuse-native edge",
    attr: "xattrs of bricks",
    git: "a repository on the mount",
    python3: "byte-range locks",
    iproute2: "refused addresses",
    e2fsprogs: "small file systems",
    strace: "counting system calls",
  },
};

const JOBS = {
  start: (args) => [join(ROOT, "src", "cli", "mortar"), ["start", ...args]],
  bench: (args) => [process.execPath, ["--import", "tsx", join(ROOT, "bench", "run.ts"), ...args]],
  test: (args) => [process.execPath, [join(ROOT, "test", "run.mjs"), ...args]],
  sim: (args) => [process.execPath, ["--import", "tsx", join(ROOT, "test", "sim", "main.ts"), ...args]],
};

function fail(message) {
  process.stderr.write(`mortar: ${message}\n`);
  process.exit(1);
}

function run(command, args, what) {
  process.stderr.write(`mortar: ${what} ...\n`);
  const result = spawnSync(command, args, {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    maxBuffer: 1 << 26,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  if (result.status === 0) return;
  const output = `${result.stdout ?? ""}${result.stderr ?? ""}`.trim().split("\n").slice(-12).join("\n");
  fail(
    `${what}: \`${[command, ...args].join(" ")}\` failed${result.error ? `: ${result.error.message}` : ""}\n${output}`,
  );
}

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > NODE_OLDEST[0] || (major === NODE_OLDEST[0] && minor >= NODE_OLDEST[1])) return;
  fail(`Node ${process.versions.node} is too old: Mortar needs ${NODE_OLDEST.join(".")} or newer`);
}

function npmPackages() {
  const lock = readFileSync(join(ROOT, "package-lock.json"), "utf8");
  const stamp = join(ROOT, "node_modules", ".mortar-lock");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  run("npm", ["ci", "--no-audit", "--no-fund"], "installing npm packages");
  writeFileSync(stamp, lock);
}

function onDebian() {
  return existsSync("/etc/debian_version") && spawnSync("dpkg-query", ["--version"]).status === 0;
}

function missingPackages(wanted) {
  return Object.keys(wanted).filter((name) => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholder.
    const query = spawnSync("dpkg-query", ["-W", "-f", "${db:Status-Status}", name], { encoding: "utf8" });
    return query.stdout !== "installed";
  });
}

function debianPackages(wanted) {
  if (!onDebian()) {
    process.stderr.write(
      `mortar: not a Debian system: install by hand what is missing of ${Object.keys(wanted).join(", ")}\n`,
    );
    return;
  }
  const missing = missingPackages(wanted);
  if (missing.length === 0) return;
  const list = missing.map((name) => `${name} (${wanted[name]})`).join(", ");
  if (process.env.MORTAR_NO_APT === "1" || process.getuid() !== 0) {
    const why = process.getuid() === 0 ? "MORTAR_NO_APT=1" : "not root";
    process.stderr.write(`mortar: missing Debian packages, not installed (${why}): ${list}\n`);
    return;
  }
  run("apt-get", ["update", "-qq"], "reading Debian's package lists");
  run("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...missing], `installing ${list}`);
}

const [job, ...args] = process.argv.slice(2);
if (!Object.hasOwn(JOBS, job ?? "")) fail(`setup: "${job ?? ""}" is no job: start, test, bench or sim`);
checkNode();
npmPackages();
debianPackages(PACKAGES[job] ?? {});
const [command, commandArgs] = JOBS[job](args);
const child = spawn(command, commandArgs, {
  cwd: ROOT,
  stdio: "inherit",
  env: { ...process.env, UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? "64" },
});
// The job hears the terminal's signals itself; those sent to this process alone are passed on.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
  process.on(signal, () => process.stdin.isTTY || child.kill(signal));
child.on("error", (error) => fail(`${job}: cannot run: ${error.message}`));
child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 143)));
