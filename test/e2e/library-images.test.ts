/**
 * QEMU's calls on the direct path: QEMU cannot load the library, so the same calls are made through it on a
 * sharded replica 3 with the virt profile, and qemu-img judges the images on a mount of the same volume.
 */

import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type File, flags, openVolume, type Volume } from "../../src/api/index.ts";
import { ImageModel, randomRequests } from "../support/image-model.ts";
import { Lab } from "../support/peers.ts";
import { Prng } from "../support/prng.ts";
import { Replica } from "../support/replica.ts";
import { virtVolfile } from "../support/replica-volfiles.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { until } from "../support/wait.ts";

const KIB = 1024;
const MIB = 1 << 20;
const BLOCK = 4 * MIB;
/** Bytes of a request when an image is copied, and how many of them are in flight. */
const CHUNK = 256 * KIB;
const DEPTH = 16;
const { O_CREAT, O_DIRECT, O_RDWR } = flags;

const lab = new Lab("library-images");
let volume: Volume;
let mountpoint: string;
beforeAll(async () => {
  const { name, volumeId, bricks } = await Replica.three(lab, "mortar");
  const layers = { name, volumeId, copies: bricks, shardBlockSize: "4MB" };
  const volfile = lab.writeFile("virt.vol", virtVolfile(layers));
  volume = await openVolume(volfile);
  ({ mountpoint } = await lab.mount("mortar", volfile));
});
afterAll(async () => {
  await volume?.close();
  await lab.close();
});

function qemuImg(...args: string[]): Promise<string> {
  return lab.processes.run("qemu-img", args);
}

/** Where qemu-img sees data: beginning and length. */
async function mapOf(image: string): Promise<[number, number][]> {
  const map = JSON.parse(await qemuImg("map", "--output", "json", "-f", "raw", image)) as {
    start: number;
    length: number;
    data: boolean;
  }[];
  return joined(map.filter(({ data }) => data).map(({ start, length }) => [start, length]));
}

async function extentsOf(file: File): Promise<[number, number][]> {
  const data: [number, number][] = [];
  for await (const { offset, size, isData } of file.extents()) if (isData) data.push([offset, size]);
  return joined(data);
}

/** Ranges that touch are one, wherever blocks end. */
function joined(ranges: readonly [number, number][]): [number, number][] {
  const out: [number, number][] = [];
  for (const [start, length] of ranges) {
    const last = out.at(-1);
    if (last !== undefined && last[0] + last[1] === start) last[1] += length;
    else out.push([start, length]);
  }
  return out;
}

/** Copies the data of an image and none of its holes. */
async function convert(from: File, to: File): Promise<void> {
  const { size } = await from.stat();
  await to.truncate(size);
  for await (const { offset, size: length, isData } of from.extents()) {
    if (!isData) continue;
    let at = offset;
    for await (const chunk of from.chunks({ start: offset, end: offset + length, size: CHUNK })) {
      await to.write(at, chunk.data);
      at += chunk.size;
      chunk.release();
    }
  }
  await to.fsync();
}

/** Writes a local image, many requests at a time. */
async function copyIn(content: Buffer, name: string): Promise<void> {
  await using file = await volume.open(name, O_CREAT | O_RDWR);
  for (let at = 0; at < content.length; at += DEPTH * CHUNK) {
    const batch = Array.from({ length: DEPTH }, (_, index) => at + index * CHUNK);
    const inside = batch.filter((offset) => offset < content.length);
    await Promise.all(inside.map((offset) => file.write(offset, content.subarray(offset, offset + CHUNK))));
  }
  await file.fdatasync();
}

describe("raw images", () => {
  it.each([
    ["of any size", 0, 1],
    ["of whole sectors with O_DIRECT", O_DIRECT, 4096],
  ])("keep what random requests %s leave, forty in flight", async (title, direct, unit) => {
    const prng = new Prng(unit);
    const name = `random-${unit}.raw`;
    await using file = await volume.open(`/${name}`, O_CREAT | O_RDWR | direct);
    const model = new ImageModel();
    for (let batch = 0; batch < 4; batch++) {
      await model.apply(file, randomRequests(prng, { count: 40, end: 14 * MIB, border: BLOCK, unit }));
      if (batch % 2 === 1) await model.resize(file, prng.int(1, 3) * BLOCK + prng.int(-2, 2) * 4096);
    }
    await file.fdatasync();
    const local = lab.writeFile(name, "");
    writeFileSync(local, model.content);
    expectSameBytes(readFileSync(join(mountpoint, name)), model.content, title);
    await qemuImg("compare", "-q", "-f", "raw", "-F", "raw", local, join(mountpoint, name));
  });

  it("keep their holes when they are converted, grow and shrink", async () => {
    await using from = await volume.open("/from.raw", O_CREAT | O_RDWR);
    await from.truncate(20 * MIB);
    await Promise.all([
      from.write(64 * KIB, pattern(64 * KIB)),
      from.write(BLOCK - 128 * KIB, pattern(256 * KIB)),
      from.write(17 * MIB, pattern(3 * MIB)),
    ]);
    await from.discard(18 * MIB, 64 * KIB);
    await from.zerofill(3 * BLOCK - 4096, 8192);
    await from.fsync();
    const [data, image] = [await extentsOf(from), join(mountpoint, "from.raw")];
    expect(data).toEqual(await mapOf(image));
    expect(data).toContainEqual([BLOCK - 128 * KIB, 256 * KIB]);
    expect(data).not.toContainEqual([17 * MIB, 3 * MIB]);
    await using to = await volume.open("/to.raw", O_CREAT | O_RDWR);
    await convert(from, to);
    const copy = join(mountpoint, "to.raw");
    await qemuImg("compare", "-q", "-f", "raw", "-F", "raw", image, copy);
    expect((await to.stat()).blocks).toBeLessThanOrEqual((await from.stat()).blocks);
    await to.truncate(30 * MIB);
    expect(JSON.parse(await qemuImg("info", "--output", "json", "-f", "raw", copy))).toMatchObject({
      "virtual-size": 30 * MIB,
    });
    await qemuImg("compare", "-q", "-f", "raw", "-F", "raw", image, copy);
    await to.truncate(BLOCK + 1000);
    expectSameBytes(readFileSync(copy), readFileSync(image).subarray(0, BLOCK + 1000), "shrunk");
    await to.truncate(2 * BLOCK);
    expectSameBytes(await to.read(BLOCK + 1000, BLOCK), Buffer.alloc(BLOCK - 1000), "grown again");
  });
});

describe("a qcow2 image", () => {
  it("that the library copied in is whole for QEMU, and what QEMU writes to it is whole when it is copied out", async () => {
    const [local, out] = [lab.path("local.qcow2"), lab.path("out.qcow2")];
    await qemuImg("create", "-q", "-f", "qcow2", local, "64M");
    const writes = ["-c", "write -P 1 0 3M", "-c", "write -P 2 20000k 70k", "-c", "write -P 3 63M 1M"];
    await lab.processes.run("qemu-io", ["-f", "qcow2", ...writes, local]);
    await copyIn(readFileSync(local), "/image.qcow2");
    const image = join(mountpoint, "image.qcow2");
    await qemuImg("check", "-q", "-f", "qcow2", image);
    await qemuImg("compare", "-q", "-f", "qcow2", "-F", "qcow2", local, image);
    const more = ["-c", "write -P 4 30M 5M", "-c", "discard 0 1M", "-c", "write -z 2M 100k"];
    await lab.processes.run("qemu-io", ["-f", "qcow2", "-t", "none", ...more, image]);
    await using file = await volume.open("/image.qcow2", O_RDWR);
    const { size } = statSync(image);
    // md-cache may keep the size from before for a second, as the one of any other client.
    await until("the library sees how far QEMU wrote", async () => (await file.stat()).size === size);
    writeFileSync(out, await file.read(0, size));
    await qemuImg("check", "-q", "-f", "qcow2", out);
    await qemuImg("compare", "-q", "-f", "qcow2", "-F", "qcow2", out, image);
  });
});
