/**
 * The rows: ways to reach a directory, each started as a user would start it, by its own processes, all with
 * their data below one directory of one file system.
 *
 * Every row passes O_DIRECT down to its brick; `isDirectAtBrick` proves it on the running processes, since a
 * brick that serves from its page cache would win without doing the work.
 */

import { randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../src/core/errors.ts";
import { setXattr } from "../test/support/libc.ts";
import { mountAt } from "../test/support/mounts.ts";
import { directFilesBelow } from "../test/support/open-files.ts";
import { canConnect, tail } from "../test/support/peers.ts";
import { freePort } from "../test/support/ports.ts";
import type { Processes, Running } from "../test/support/processes.ts";
import { type ReplicaVolfile, replicaVolfile, virtVolfile } from "../test/support/replica-volfiles.ts";
import { type BrickVolfile, brickVolfile, clientVolfile, embeddedVolfile } from "../test/support/volfiles.ts";
import { until } from "../test/support/wait.ts";
import type { Peer } from "./peer.ts";

const MORTAR = fileURLToPath(new URL("../src/cli/mortar", import.meta.url));
const START_DEADLINE_MS = 60_000;

/**
 * Of one brick, of three copies, and of three sharded copies with the options for virtual machines; `-one`:
 * with one process for all bricks.
 */
export type PeerKind = "single" | "replica" | "replica-one" | "virt" | "virt-one";

/** Where rows live and what they share. */
export interface Site {
  readonly processes: Processes;
  /** An empty directory on the file system that is measured. */
  readonly directory: string;
  /** Volumes of GlusterFS, started before the rows that need them. */
  readonly peers: Readonly<Partial<Record<PeerKind, Peer>>>;
  /** More environment for Mortar's processes, e.g. to profile them. */
  readonly mortarEnv: Readonly<Record<string, string>>;
}

/** A row that is up. */
export interface Station {
  /** Where the loads run. */
  readonly directory: string;
  /**
   * The process that does the disk's work and the directory it does it in; undefined for the bare directory.
   */
  readonly brick?: { readonly pid: number; readonly directory: string };
  /** Unmounts and ends the row's processes in the order an administrator would. */
  stop(): Promise<void>;
}

export interface Row {
  readonly id: string;
  readonly title: string;
  /** The volume of GlusterFS that it needs. */
  readonly needsPeer?: PeerKind;
  /** The row of GlusterFS that does the same work. */
  readonly peer: string;
  start(site: Site): Promise<Station>;
}

export const BASE_ROW = "base";
export const PEER_ROW = "glusterfs";
export const REPLICA_PEER_ROW = "replica-glusterfs";
export const REPLICA_ONE_PEER_ROW = "replica-glusterfs-one";
export const VIRT_PEER_ROW = "virt-glusterfs";
export const VIRT_ONE_PEER_ROW = "virt-glusterfs-one";

const WRITEBACK = ["-o", "kernel-writeback-cache=on"];

export const ROWS: readonly Row[] = [
  { id: BASE_ROW, title: "base directory", peer: PEER_ROW, start: startBase },
  {
    id: "embedded",
    title: "Mortar, embedded brick, dev-fuse",
    peer: PEER_ROW,
    start: (site) => startEmbedded(site, "dev-fuse"),
  },
  {
    id: "embedded-requests",
    title: "Mortar, embedded brick, dev-fuse, passthrough=off",
    peer: PEER_ROW,
    start: (site) => startEmbedded(site, "dev-fuse", ["-o", "passthrough=off"]),
  },
  {
    id: "fuse-native",
    title: "Mortar, embedded brick, fuse-native",
    peer: PEER_ROW,
    start: (site) => startEmbedded(site, "fuse-native"),
  },
  { id: "tcp", title: "Mortar over TCP to a Mortar brick", peer: PEER_ROW, start: startTcp },
  {
    id: PEER_ROW,
    title: "GlusterFS FUSE, its own brick",
    needsPeer: "single",
    peer: PEER_ROW,
    start: (site) => startGlusterfs(site, "single"),
  },
  {
    id: "mixed",
    title: "Mortar FUSE, that GlusterFS brick",
    needsPeer: "single",
    peer: PEER_ROW,
    start: (site) => startMixed(site, "single"),
  },
  {
    id: "replica-embedded",
    title: "Mortar, embedded replica 3",
    peer: REPLICA_PEER_ROW,
    start: startEmbeddedReplica,
  },
  {
    id: "replica-tcp",
    title: "Mortar over TCP to three Mortar bricks",
    peer: REPLICA_PEER_ROW,
    start: (site) => startTcpReplica(site, { row: "replica-tcp", volfile: replicaVolfile }),
  },
  {
    id: "replica-one",
    title: "Mortar over TCP to three Mortar bricks in one process",
    peer: REPLICA_PEER_ROW,
    start: (site) => startTcpReplica(site, { row: "replica-one", volfile: replicaVolfile, together: true }),
  },
  {
    id: REPLICA_PEER_ROW,
    title: "GlusterFS FUSE, its replica 3",
    needsPeer: "replica",
    peer: REPLICA_PEER_ROW,
    start: (site) => startGlusterfs(site, "replica"),
  },
  {
    id: REPLICA_ONE_PEER_ROW,
    title: "GlusterFS FUSE, its replica 3 with cluster.brick-multiplex",
    needsPeer: "replica-one",
    peer: REPLICA_PEER_ROW,
    start: (site) => startGlusterfs(site, "replica-one"),
  },
  {
    id: "replica-mixed",
    title: "Mortar FUSE, that GlusterFS replica 3",
    needsPeer: "replica",
    peer: REPLICA_PEER_ROW,
    start: (site) => startMixed(site, "replica"),
  },
  {
    id: "virt-tcp",
    title: "Mortar, sharded replica 3 with the virt profile, over TCP",
    peer: VIRT_PEER_ROW,
    start: (site) => startTcpReplica(site, { row: "virt-tcp", volfile: virtVolfile }),
  },
  {
    id: "virt-one",
    title: "Mortar, sharded replica 3 with the virt profile, over TCP, bricks in one process",
    peer: VIRT_PEER_ROW,
    start: (site) => startTcpReplica(site, { row: "virt-one", volfile: virtVolfile, together: true }),
  },
  {
    id: "virt-writeback",
    title: "Mortar, that row, bricks in one process, with kernel-writeback-cache=on",
    peer: VIRT_PEER_ROW,
    start: (site) =>
      startTcpReplica(site, {
        row: "virt-writeback",
        volfile: virtVolfile,
        together: true,
        args: WRITEBACK,
      }),
  },
  {
    id: VIRT_PEER_ROW,
    title: "GlusterFS FUSE, its sharded replica 3 with group virt",
    needsPeer: "virt",
    peer: VIRT_PEER_ROW,
    start: (site) => startGlusterfs(site, "virt"),
  },
  {
    id: VIRT_ONE_PEER_ROW,
    title: "GlusterFS FUSE, its sharded replica 3 with group virt and cluster.brick-multiplex",
    needsPeer: "virt-one",
    peer: VIRT_PEER_ROW,
    start: (site) => startGlusterfs(site, "virt-one"),
  },
  {
    id: "virt-mixed",
    title: "Mortar FUSE, that GlusterFS volume with group virt",
    needsPeer: "virt",
    peer: VIRT_PEER_ROW,
    start: (site) => startMixed(site, "virt"),
  },
];

/** Copies of the replicated rows. */
const COPIES = 3;

async function startBase(site: Site): Promise<Station> {
  return { directory: makeDirectory(site, "base"), stop: async () => {} };
}

async function startEmbedded(
  site: Site,
  edge: "dev-fuse" | "fuse-native",
  args: readonly string[] = [],
): Promise<Station> {
  const name = [edge, ...args].join("-").replaceAll("=", "-");
  const brick = makeDirectory(site, `${name}-brick`);
  const volfile = writeText(site, `${name}.vol`, embeddedVolfile(brick));
  const mount = await mountMortar(site, name, volfile, ["--edge", edge, ...args]);
  return {
    directory: mount.mountpoint,
    brick: { pid: mount.running.pid, directory: brick },
    stop: () => unmount(site, mount),
  };
}

/** `mortar start`, as a user would, but with whole files, as the peer has them. */
async function startEmbeddedReplica(site: Site): Promise<Station> {
  const data = makeDirectory(site, "replica-data");
  const mountpoint = makeDirectory(site, "replica-embedded-mnt");
  const log = join(site.directory, "replica-embedded.log");
  const args = ["start", "--data", data, "--mount", mountpoint, "--shard", "off", "--log-file", log];
  const running = site.processes.start(MORTAR, args, { env: site.mortarEnv });
  await ready(site, { running, mountpoint, log });
  return {
    directory: mountpoint,
    brick: { pid: running.pid, directory: join(data, "brick-0") },
    stop: async () => void (await running.stop("SIGINT")),
  };
}

async function startTcp(site: Site): Promise<Station> {
  const bricks = await startBricks(site, [await newBrick(site, "tcp-brick", { volumeId: randomUUID() })]);
  return overTcp(site, "tcp", writeText(site, "tcp.vol", clientVolfile(bricks[0]!)), bricks);
}

interface TcpReplica {
  readonly row: string;
  readonly volfile: (volume: ReplicaVolfile) => string;
  /** One process for all bricks. */
  readonly together?: true;
  /** More arguments of the mount. */
  readonly args?: readonly string[];
}

async function startTcpReplica(
  site: Site,
  { row, volfile, together, args = [] }: TcpReplica,
): Promise<Station> {
  const volume = { volumeId: randomUUID(), copyOf: { name: "replica", arbiter: false } };
  const files: BrickFile[] = [];
  for (let copy = 0; copy < COPIES; copy++) files.push(await newBrick(site, `${row}-brick-${copy}`, volume));
  const bricks: TcpBrick[] = [];
  if (together) bricks.push(...(await startBricks(site, files)));
  else for (const file of files) bricks.push(...(await startBricks(site, [file])));
  const text = volfile({ name: volume.copyOf.name, volumeId: volume.volumeId, copies: bricks });
  return overTcp(site, row, writeText(site, `${row}.vol`, text), bricks, args);
}

/** A brick that is not started yet. */
interface BrickFile {
  readonly volfile: string;
  readonly directory: string;
  readonly address: { readonly host: string; readonly port: number };
}

type TcpBrick = BrickFile & { readonly running: Running };

/** An empty brick: it wants to find the volume's id, as `gluster volume create` leaves it. */
async function newBrick(
  site: Site,
  name: string,
  volume: Pick<BrickVolfile, "volumeId" | "copyOf">,
): Promise<BrickFile> {
  const directory = makeDirectory(site, name);
  const id = Buffer.from(volume.volumeId.replaceAll("-", ""), "hex");
  setXattr(directory, "trusted.glusterfs.volume-id", id);
  if (volume.copyOf) mkdirSync(join(directory, ".glusterfs", "indices"), { recursive: true, mode: 0o600 });
  const address = { host: "127.0.0.1", port: await freePort() };
  const volfile = writeText(site, `${name}.vol`, brickVolfile({ ...volume, directory, address }));
  return { volfile, directory, address };
}

/** A process of Mortar that serves bricks; resolves when it listens for all. */
async function startBricks(site: Site, files: readonly BrickFile[]): Promise<TcpBrick[]> {
  const volfiles = files.map(({ volfile }) => volfile);
  const log = `${volfiles[0]}.log`;
  const running = site.processes.start(MORTAR, ["brick", ...volfiles, "--log-file", log], {
    env: site.mortarEnv,
  });
  for (const { address } of files)
    await until("Mortar's brick listens", () => !failed(running, log) && canConnect(address), {
      deadlineMs: START_DEADLINE_MS,
      detail: () => tail(log),
    });
  return files.map((file) => ({ ...file, running }));
}

async function overTcp(
  site: Site,
  name: string,
  volfile: string,
  bricks: readonly TcpBrick[],
  args: readonly string[] = [],
): Promise<Station> {
  const mount = await mountMortar(site, name, volfile, ["--edge", "dev-fuse", ...args]);
  const [first] = bricks;
  return {
    directory: mount.mountpoint,
    brick: { pid: first!.running.pid, directory: first!.directory },
    stop: async () => {
      await unmount(site, mount);
      for (const running of new Set(bricks.map((brick) => brick.running))) await running.stop();
    },
  };
}

async function startGlusterfs(site: Site, kind: PeerKind): Promise<Station> {
  const peer = needPeer(site, kind);
  const mountpoint = makeDirectory(site, `glusterfs-${kind}-mnt`);
  const log = join(site.directory, `glusterfs-${kind}.log`);
  const running = site.processes.start("glusterfs", [
    ...["-N", "-l", log, `--volfile-server=${peer.host}`, `--volfile-id=${peer.name}`, mountpoint],
  ]);
  await ready(site, { running, mountpoint, log });
  return onPeer(peer, makeSubdirectory(mountpoint, "glusterfs"), () =>
    unmount(site, { running, mountpoint, log }),
  );
}

async function startMixed(site: Site, kind: PeerKind): Promise<Station> {
  const peer = needPeer(site, kind);
  const mount = await mountMortar(site, `mixed-${kind}`, peer.source, ["--edge", "dev-fuse"]);
  return onPeer(peer, makeSubdirectory(mount.mountpoint, "mixed"), () => unmount(site, mount));
}

async function onPeer(peer: Peer, directory: string, stop: () => Promise<void>): Promise<Station> {
  const [first] = peer.brickDirectories;
  return { directory, brick: { pid: await peer.brickPid(), directory: first! }, stop };
}

function needPeer(site: Site, kind: PeerKind): Peer {
  const peer = site.peers[kind];
  if (peer === undefined) throw new Error("this row needs a GlusterFS volume: run with --peers");
  return peer;
}

/** A mount that runs, and where. */
interface Mounted {
  readonly running: Running;
  readonly mountpoint: string;
  readonly log: string;
}

async function mountMortar(site: Site, name: string, source: string, args: string[]): Promise<Mounted> {
  const mountpoint = makeDirectory(site, `${name}-mnt`);
  const log = join(site.directory, `${name}.log`);
  const running = site.processes.start(
    MORTAR,
    ["mount", source, mountpoint, "--foreground", "--log-file", log, ...args],
    { env: site.mortarEnv },
  );
  const mounted = { running, mountpoint, log };
  await ready(site, mounted);
  return mounted;
}

/** Waits until the mount stands and answers; asked by a child, as a mount may hang whoever touches it. */
async function ready(site: Site, { running, mountpoint, log }: Mounted): Promise<void> {
  await until(
    `${mountpoint} is mounted`,
    async () => {
      if (failed(running, log) || mountAt(mountpoint) === undefined) return false;
      return (await site.processes.tryRun("stat", ["-f", mountpoint], { timeoutMs: 10_000 })).code === 0;
    },
    { deadlineMs: START_DEADLINE_MS, detail: () => tail(log) },
  );
}

function failed(running: Running, log: string): false {
  if (running.exit !== undefined) throw new UserError(`bench: ended early: ${running.output}\n${tail(log)}`);
  return false;
}

async function unmount(site: Site, { running, mountpoint, log }: Mounted): Promise<void> {
  await site.processes.run("umount", [mountpoint]);
  await until(`the process of ${mountpoint} ends`, () => running.exit !== undefined, {
    deadlineMs: START_DEADLINE_MS,
    detail: () => tail(log),
  });
}

/**
 * Whether a file opened with O_DIRECT on a station is open with O_DIRECT at its brick too, by the brick
 * process's own fdinfo.
 */
export async function isDirectAtBrick(site: Site, station: Station): Promise<boolean | undefined> {
  const { brick } = station;
  if (brick === undefined) return undefined;
  const path = join(station.directory, "direct.probe");
  const script = `const fs = require("node:fs"); const c = fs.constants;
    fs.openSync(${JSON.stringify(path)}, c.O_RDWR | c.O_CREAT | c.O_DIRECT, 0o600);
    process.stdout.write("open"); process.stdin.resume();`;
  const holder = site.processes.start(process.execPath, ["-e", script], { interactive: true });
  let opened = false;
  holder.child.stdout?.once("data", () => {
    opened = true;
  });
  await until("the probe file is open", () => opened || holder.exit !== undefined);
  const direct = directFilesBelow(brick.pid, brick.directory) > 0;
  await holder.kill();
  await site.processes.run("rm", ["-f", path]);
  return direct;
}

function makeDirectory(site: Site, name: string): string {
  const path = join(site.directory, name);
  mkdirSync(path);
  return path;
}

/** A directory on a mount that answers; not of this process, so a synchronous call is safe. */
function makeSubdirectory(mountpoint: string, name: string): string {
  const path = join(mountpoint, name);
  mkdirSync(path);
  return path;
}

function writeText(site: Site, name: string, text: string): string {
  const path = join(site.directory, name);
  writeFileSync(path, text);
  return path;
}
