/**
 * The four kinds of process of a volume: bricks and mounts of Mortar and of GlusterFS 10.3, started alike, so
 * that a test is written once and run on every pairing.
 *
 * A Lab is one test file's temporary directory, processes, mounts and file agents; `close` takes all of it
 * away, whatever state it is in, and so does a guardian (guardian.sh) when the tests' process is killed.
 */

import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type FileAgent, startFileAgent } from "./file-agent.ts";
import { Guardian } from "./guardian.ts";
import { getXattr, setXattr } from "./libc.ts";
import { mountAt, unmountBelow } from "./mounts.ts";
import { freePort } from "./ports.ts";
import { Processes, type Running } from "./processes.ts";
import { type Address, brickVolfile, type CopyOf, clientVolfile } from "./volfiles.ts";
import { until } from "./wait.ts";

export const MAKES = ["mortar", "glusterfs"] as const;
export type Make = (typeof MAKES)[number];

/** The repository. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** The command as it is installed, and as the tests run it (build.ts). */
export const INSTALLED_MORTAR = join(ROOT, "src/cli/mortar");
export const MORTAR = process.env["MORTAR_TEST_LAUNCHER"] ?? INSTALLED_MORTAR;

export const LOOPBACK = "127.0.0.1";
const START_DEADLINE_MS = 30_000;

export interface Brick {
  readonly make: Make;
  readonly directory: string;
  readonly address: Address;
  readonly volfile: string;
  process: Running;
  readonly logFile: string;
}

export interface Mount {
  readonly make: Make;
  readonly mountpoint: string;
  process: Running;
  readonly logFile: string;
}

export class Lab {
  readonly directory: string;
  readonly processes = new Processes();
  readonly #guardian: Guardian;
  #names = 0;
  readonly #onExit = (): void => unmountBelow(this.directory);

  constructor(name: string, parent: string = tmpdir()) {
    this.directory = mkdtempSync(join(parent, `mortar-${name}-`));
    process.on("exit", this.#onExit);
    this.#guardian = new Guardian(this.processes.mark, this.directory);
  }

  /** A path in the lab that nobody has yet. */
  path(name: string): string {
    return join(this.directory, `${++this.#names}-${name}`);
  }

  /** A new empty directory. */
  makeDirectory(name: string): string {
    const path = this.path(name);
    mkdirSync(path);
    return path;
  }

  /** A new file, e.g. a volfile. */
  writeFile(name: string, text: string): string {
    const path = this.path(name);
    writeFileSync(path, text);
    return path;
  }

  agent(options?: { timeoutMs?: number }): FileAgent {
    return startFileAgent(this.processes, options);
  }

  /** A brick directory as `gluster volume create` leaves it. */
  makeBrickDirectory(name: string, volumeId: string = randomUUID()): string {
    const directory = this.makeDirectory(name);
    setXattr(directory, "trusted.glusterfs.volume-id", Buffer.from(volumeId.replaceAll("-", ""), "hex"));
    return directory;
  }

  /** Starts a brick on a free port (or the one given) and waits until it listens. */
  async startBrick(
    make: Make,
    directory: string,
    options: {
      address?: Address;
      volumeId?: string;
      posix?: readonly string[];
      server?: readonly string[];
      copyOf?: CopyOf;
    } = {},
  ): Promise<Brick> {
    const address = options.address ?? { host: LOOPBACK, port: await freePort() };
    const volumeId = options.volumeId ?? readVolumeId(directory);
    const text = brickVolfile({
      directory,
      volumeId,
      address,
      ...(options.posix ? { posix: options.posix } : {}),
      ...(options.server ? { server: options.server } : {}),
      ...(options.copyOf ? { copyOf: options.copyOf } : {}),
    });
    const brick = {
      make,
      directory,
      address,
      volfile: this.writeFile("brick.vol", text),
      logFile: this.path(`${make}-brick.log`),
    };
    return this.#launch(brick);
  }

  /** Starts a brick that has ended again: same volfile, same port. */
  async restartBrick(brick: Brick): Promise<void> {
    brick.process = (await this.#launch(brick)).process;
  }

  async #launch(brick: Omit<Brick, "process">): Promise<Brick> {
    const { make, volfile, logFile, address } = brick;
    const running =
      make === "mortar"
        ? this.processes.start(MORTAR, ["brick", volfile, "--log-file", logFile])
        : this.processes.start("glusterfsd", ["-N", "-f", volfile, "-l", logFile]);
    await until(
      `${make} brick listens`,
      () => {
        if (running.exit !== undefined) throw new Error(`brick ended: ${running.output}\n${tail(logFile)}`);
        return canConnect(address);
      },
      { deadlineMs: START_DEADLINE_MS, detail: () => `${running.output}\n${tail(logFile)}` },
    );
    return { ...brick, process: running };
  }

  /**
   * Mounts a brick by TCP, without kernel caches of names and attributes, and waits until the mount answers.
   */
  async mountBrick(
    make: Make,
    brick: Brick,
    client: readonly string[] = [],
    options: { mountpoint?: string; options?: readonly string[] } = {},
  ): Promise<Mount> {
    const text = clientVolfile({ directory: brick.directory, address: brick.address, client });
    return this.mount(make, this.writeFile("client.vol", text), options);
  }

  /** Mounts a volfile (or, for Mortar, any SOURCE) on a new directory. */
  async mount(
    make: Make,
    source: string,
    {
      mountpoint = this.makeDirectory("mnt"),
      options = [] as readonly string[],
      env = {} as Readonly<Record<string, string>>,
    } = {},
  ): Promise<Mount> {
    const logFile = this.path(`${make}-mount.log`);
    const noCache = ["attribute-timeout=0", "entry-timeout=0"];
    const running =
      make === "mortar"
        ? this.processes.start(
            MORTAR,
            [
              ...["mount", source, mountpoint, "--foreground", "--log-file", logFile],
              ...["-o", [...noCache, ...options].join(",")],
            ],
            { env },
          )
        : this.processes.start("glusterfs", [
            ...["-N", "-f", source, "-l", logFile],
            ...[...noCache, ...options].map((option) => `--${option}`),
            mountpoint,
          ]);
    await until(
      `${make} mounts ${source}`,
      async () => {
        if (running.exit !== undefined) throw new Error(`mount ended: ${running.output}\n${tail(logFile)}`);
        // The entry stands before the first lookup can be answered, so ask for the root too.
        if (mountAt(mountpoint) === undefined) return false;
        return (await this.processes.tryRun("stat", ["-f", mountpoint], { timeoutMs: 10_000 })).code === 0;
      },
      { deadlineMs: START_DEADLINE_MS, detail: () => `${running.output}\n${tail(logFile)}` },
    );
    return { make, mountpoint, process: running, logFile };
  }

  /** Unmounts as an administrator does, and waits for the end of the mount's process. */
  async unmount(mount: Mount): Promise<void> {
    await this.processes.run("umount", [mount.mountpoint]);
    await until(`${mount.make} mount process ends`, () => mount.process.exit !== undefined, {
      detail: () => `${mount.process.output}\n${tail(mount.logFile)}`,
    });
  }

  /** Takes a mount away whose process has died, if it left one. */
  async dropMount(mount: Mount): Promise<void> {
    unmountBelow(mount.mountpoint);
    await mount.process.exited;
  }

  async close(): Promise<void> {
    process.off("exit", this.#onExit);
    unmountBelow(this.directory);
    await this.processes.killAll();
    // A guard process may unmount late; nothing is mounted below when the tree is removed.
    unmountBelow(this.directory);
    rmSync(this.directory, { recursive: true, force: true });
    this.#guardian.dismiss();
  }
}

/** Whether somebody listens there. */
export function canConnect(address: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

/** The last lines of a log, for messages. */
export function tail(logFile: string, lines = 20): string {
  try {
    return readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  } catch {
    return `(no ${logFile})`;
  }
}

/** The volume a brick directory belongs to, as text. */
export function readVolumeId(directory: string): string {
  const hex = getXattr(directory, "trusted.glusterfs.volume-id").toString("hex");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
