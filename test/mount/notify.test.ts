import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Notifier } from "../../mount/dev-fuse/notify.ts";
import { MemoryLog } from "../support/fake-env.ts";
import { until } from "../support/wait.ts";

let directory: string;
let fd: number;
let notifier: Notifier;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mortar-notify-"));
  fd = openSync(join(directory, "device"), "w");
  notifier = new Notifier(fd, new MemoryLog());
});
afterEach(() => {
  notifier.close();
  closeSync(fd);
  rmSync(directory, { recursive: true });
});

/** What the kernel would have read. */
async function written(): Promise<Buffer> {
  await until("all is written", () => notifier.pending === 0);
  return readFileSync(join(directory, "device"));
}

describe("notifications", () => {
  it("INVAL_INODE names the node and all of its pages", async () => {
    notifier.invalidateInode(2 ** 33 + 1);
    const out = await written();
    expect(out).toHaveLength(40);
    expect([out.readUInt32LE(0), out.readInt32LE(4), out.readBigUInt64LE(8)]).toEqual([40, 2, 0n]);
    expect([16, 24, 32].map((at) => out.readBigInt64LE(at))).toEqual([2n ** 33n + 1n, 0n, 0n]);
  });

  it("INVAL_ENTRY carries the name as bytes with a NUL", async () => {
    notifier.invalidateEntry(5, "ü");
    const out = await written();
    expect(out).toHaveLength(35);
    expect([out.readUInt32LE(0), out.readInt32LE(4)]).toEqual([35, 3]);
    expect([out.readBigUInt64LE(16), out.readUInt32LE(24), out.readUInt32LE(28)]).toEqual([5n, 2, 0]);
    expect(out.subarray(32)).toEqual(Buffer.from("ü\0"));
  });

  it("are written one after the other, whole and in order", async () => {
    for (let node = 0; node < 100; node++) notifier.invalidateInode(node);
    expect(notifier.pending).toBe(100);
    const out = await written();
    const nodes = Array.from({ length: 100 }, (_, index) => Number(out.readBigUInt64LE(index * 40 + 16)));
    expect(nodes).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });

  it("stop when the mount ends", async () => {
    notifier.invalidateInode(1);
    notifier.invalidateInode(2);
    notifier.close();
    notifier.invalidateInode(3);
    expect((await written()).length).toBeLessThanOrEqual(40);
  });
});
