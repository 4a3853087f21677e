/**
 * Distributed volumes as an administrator of GlusterFS makes them: Mortar and a client of GlusterFS
 * mounted at once. The same work leaves the same bricks, byte for byte of layouts and linkto files,
 * whoever does it; both may work on the same names at the same time; each finds what the other put
 * elsewhere, and heals directories.
 */

import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GlusterVolume, type VolumeKind } from "../support/glusterd.ts";
import { getXattr, listXattrs } from "../support/libc.ts";
import { Lab, type Mount } from "../support/peers.ts";
import { until } from "../support/wait.ts";

const ROUNDS = 8;
/** A client of GlusterFS trusts what it knows of a name for a second. */
const SEEN_DEADLINE_MS = 20_000;
/** What a brick of GlusterFS keeps for itself, with gfids and volume names in it. */
const OF_THIS_LAYER = /^(trusted\.glusterfs\.dht|user\.)/;

const lab = new Lab("distribute-glusterd");
const HOOK_TIMEOUT_MS = 120_000;
const cleanup: (() => Promise<unknown>)[] = [];

/** Mounts go before their volumes, or a client would wait for a volume that is no more. */
async function cleanUp(): Promise<void> {
  for (const step of cleanup.splice(0).reverse()) await step();
}
afterAll(() => lab.close(), HOOK_TIMEOUT_MS);

interface Pair {
  readonly volume: GlusterVolume;
  readonly mount: Mount;
  readonly ours: string;
  readonly theirs: string;
}

async function mountBoth(kind: VolumeKind): Promise<Pair> {
  const volume = await GlusterVolume.create(lab, kind);
  cleanup.push(() => volume.remove());
  const mount = await lab.mount("mortar", volume.source);
  cleanup.push(() => lab.unmount(mount));
  const theirs = lab.makeDirectory("theirs");
  const options = "attribute-timeout=0,entry-timeout=0";
  await lab.processes.run("mount", ["-t", "glusterfs", "-o", options, volume.source, theirs]);
  cleanup.push(() => lab.processes.run("umount", [theirs]));
  return { volume, mount, ours: mount.mountpoint, theirs };
}

function shell(directory: string, script: string): Promise<string> {
  return lab.processes.run("sh", ["-ec", `cd ${directory}\n${script}`]);
}

/** Every kind of change of names, all of them where the hashes of names say. */
const WORK = `
mkdir w w/s w/ä
for i in $(seq 16); do echo "m$i" > w/f$i; done
for i in $(seq 16); do mv w/f$i w/g$i; done
ln w/g1 w/l1
ln w/g2 w/s/l2
ln -s nowhere w/symlink
mkfifo w/fifo
for i in $(seq 6); do mv w/g$i w/g$((i + 10)); done
mv w/s w/t
mkdir -p w/ä/q/r
chmod 710 w/t
chown 3:4 w/ä
setfattr -n user.key -v value w/t
rm w/g14
mkdir w/gone
rmdir w/gone
`;

/** One line for each name on each brick: type, mode, owner, links, size, and the xattrs of distribute. */
function describeBricks(volume: GlusterVolume): string[] {
  const lines: string[] = [];
  const walk = (brick: number, path: string): void => {
    const full = join(volume.bricks[brick]!, path);
    const { mode, uid, gid, nlink, size } = lstatSync(full);
    const isDirectory = (mode & 0o170000) === 0o040000;
    const xattrs = listXattrs(full)
      .filter((name) => OF_THIS_LAYER.test(name))
      .map((name) => `${name}=${getXattr(full, name).toString("hex")}`)
      .sort();
    const plain = isDirectory ? "" : ` ${nlink} ${size}`;
    lines.push(`${brick} ${path} ${mode.toString(8)} ${uid}:${gid}${plain} ${xattrs.join(" ")}`);
    if (!isDirectory) return;
    for (const name of readdirSync(full).sort()) walk(brick, join(path, name));
  };
  for (const brick of volume.bricks.keys()) walk(brick, "w");
  return lines;
}

const SHOW =
  'find w | LC_ALL=C sort; for f in $(find w -type f | LC_ALL=C sort); do echo "$f: $(cat $f)"; done';

async function sameWork({ volume, ours, theirs }: Pair): Promise<void> {
  const bricks: string[][] = [];
  const shown: string[] = [];
  for (const [worker, witness] of [
    [ours, theirs],
    [theirs, ours],
  ] as const) {
    await shell(worker, WORK);
    bricks.push(describeBricks(volume));
    shown.push(await shell(witness, SHOW));
    await shell(witness, "rm -r w");
    expect(volume.bricks.flatMap((brick) => readdirSync(brick)).filter((name) => name === "w")).toEqual([]);
  }
  expect(bricks[0]).toEqual(bricks[1]);
  expect(shown[0]).toEqual(shown[1]);
}

/** Both clients fight for the same few names. */
async function together({ volume, ours, theirs }: Pair): Promise<void> {
  await shell(ours, "mkdir both");
  await until("the other client sees the directory", async () =>
    (await shell(theirs, "ls")).includes("both"),
  );
  const fight = (who: string): string => `
for i in $(seq ${ROUNDS}); do
  echo ${who} > both/${who}$i 2>/dev/null || true
  mv both/${who}$i both/file$((i % 3)) 2>/dev/null || true
  mkdir both/d$((i % 3)) 2>/dev/null || true
  echo x > both/d$((i % 3))/${who} 2>/dev/null || true
  mv both/file$((i % 3)) both/file$(((i + 1) % 3)) 2>/dev/null || true
  rm -r both/d$(((i + 2) % 3)) 2>/dev/null || true
done`;
  await Promise.all([shell(ours, fight("ours")), shell(theirs, fight("theirs"))]);
  const seen = async (place: string): Promise<string> =>
    shell(place, "find both | LC_ALL=C sort; cat /dev/null $(find both -type f | LC_ALL=C sort)");
  const final = await seen(ours);
  await expect.poll(() => seen(theirs), { timeout: SEEN_DEADLINE_MS }).toBe(final);
  const names = (await shell(ours, "ls both")).trim().split("\n");
  expect(new Set(names).size).toBe(names.length);
  const copies = volume.bricks.length === 6 ? 3 : 1;
  for (const name of names.filter((one) => one.startsWith("file")))
    expect(bricksWithData(volume, join("both", name)), name).toHaveLength(copies);
  await shell(theirs, "rm -r both");
}

/** Bricks that have the data of a file, not a linkto file. */
function bricksWithData(volume: GlusterVolume, path: string): number[] {
  return [...volume.bricks.keys()].filter((index) => {
    try {
      return lstatSync(join(volume.bricks[index]!, path)).size > 0;
    } catch {
      return false;
    }
  });
}

describe("a volume that glusterd distributes over three bricks", () => {
  let pair: Pair;
  beforeAll(async () => {
    pair = await mountBoth("distribute 3");
  }, HOOK_TIMEOUT_MS);
  afterAll(cleanUp, HOOK_TIMEOUT_MS);

  it("has the same bricks after the same work, whichever client does it", () => sameWork(pair));

  it("is shared by both clients at the same time, on the same names", () => together(pair));

  it("DHT-08: a directory changed with a brick down, or deleted on one, is whole again", async () => {
    const { volume, ours, theirs } = pair;
    await shell(ours, "mkdir w w/a w/b; for i in $(seq 9); do echo $i > w/a/f$i; done");
    const owners = new Map(
      [...volume.bricks.entries()].map(([index, brick]) => [ownerOf(brick, "w/a"), index]),
    );
    const mds = owners.get(true)!;
    const away = [0, 1, 2].find((index) => index !== mds)!;
    await volume.killBrick(away);
    await until(
      "the mount has noticed",
      async () => (await shell(ours, "chown 7:8 w/a; stat -c %u w/a")) === "7\n",
    );
    await volume.startBricks();
    await until("the brick that returns has the owner", async () => {
      await shell(ours, "ls w w/a");
      return volume.bricks.every((brick) => lstatSync(join(brick, "w/a")).uid === 7);
    });
    rmSync(join(volume.bricks[away]!, "w/b"), { recursive: true });
    const list = (place: string): Promise<string> => shell(place, "ls w w/a w/b");
    // A directory that the kernel still knows is not looked up again.
    await until("the directory is on all bricks again", async () => {
      await list(ours);
      return volume.bricks.every((brick) => existsSync(join(brick, "w/b")));
    });
    const seen = await list(ours);
    expect(seen.split("\n").filter((line) => /^f\d$/.test(line))).toHaveLength(9);
    // Their client tries to connect again every three seconds.
    await expect.poll(() => list(theirs), { timeout: SEEN_DEADLINE_MS }).toBe(seen);
  });
});

describe("a volume over two small bricks", () => {
  afterAll(cleanUp, HOOK_TIMEOUT_MS);

  it("DHT-05: a name of a full brick goes to another one, with a linkto file both follow", async () => {
    const bricks = [0, 1].map(() => lab.makeDirectory("small-brick"));
    for (const brick of bricks) {
      await lab.processes.run("mount", ["-t", "tmpfs", "-o", "size=25m", "tmpfs", brick]);
      cleanup.push(() => lab.processes.run("umount", [brick]));
    }
    const volume = await GlusterVolume.create(lab, "distribute 2", bricks);
    cleanup.push(() => volume.remove());
    await volume.setAll(["cluster.min-free-disk 40%"]);
    const mount = await lab.mount("mortar", volume.source);
    cleanup.push(() => lab.unmount(mount));
    const ours = mount.mountpoint;
    await shell(ours, "for i in $(seq 20); do : > probe$i; done");
    const onFirst = readdirSync(bricks[0]!).filter((name) => name.startsWith("probe"));
    const [filled, ...names] = onFirst;
    await shell(ours, `dd if=/dev/zero of=${filled} bs=1M count=17 status=none; rm ${names.join(" ")}`);
    await until("the first brick counts as full", async () => {
      await shell(ours, `rm -f ${names.join(" ")}; echo content > ${names[0]}`);
      return lstatSync(join(bricks[0]!, names[0]!)).size === 0;
    });
    await shell(ours, names.map((name) => `echo content > ${name}`).join("\n"));
    for (const name of names) {
      expect((lstatSync(join(bricks[0]!, name)).mode & 0o7777).toString(8)).toBe("1000");
      expect(readFileSync(join(bricks[1]!, name), "utf8")).toBe("content\n");
    }
    const child = `${volume.name}-client-0`;
    await shell(ours, `echo placed > "here@${volume.name}-dht:${child}"`);
    expect(readFileSync(join(bricks[0]!, "here"), "utf8")).toBe("placed\n");
    const theirs = lab.makeDirectory("theirs");
    await lab.processes.run("mount", ["-t", "glusterfs", volume.source, theirs]);
    cleanup.push(() => lab.processes.run("umount", [theirs]));
    expect(await shell(theirs, `cat ${names[0]} here; ls | sort`)).toBe(
      await shell(ours, `cat ${names[0]} here; ls | sort`),
    );
  });
});

/** Whether a brick owns the metadata of a directory. */
function ownerOf(brick: string, path: string): boolean {
  return listXattrs(join(brick, path)).includes("trusted.glusterfs.dht.mds");
}

describe("a volume that glusterd distributes over two replica sets", () => {
  afterAll(cleanUp, HOOK_TIMEOUT_MS);

  it("has the same bricks after the same work, whichever client does it", async () => {
    await sameWork(await mountBoth("two replica 3"));
  });
});
