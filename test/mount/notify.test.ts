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
  it("INVAL_INODE names the node and all of its pages, or none", async () => {
    notifier.invalidateInode(2 ** 33 + 1, true);
    notifier.invalidateInode(7, false);
    const out = await written();
    expect(out).toHaveLength(80);
    expect([out.readUInt32LE(0), out.readInt32LE(4), out.readBigUInt64LE(8)]).toEqual([40, 2, 0n]);
    const fields = (at: number) => [0, 8, 16].map((field) => out.readBigInt64LE(at + field));
    expect(fields(16)).toEqual([2n ** 33n + 1n, 0n, 0n]);
    expect(fields(56)).toEqual([7n, -1n, 0n]);
  });

  it("INVAL_ENTRY and DELETE carry the name as bytes with a NUL", async () => {
    notifier.invalidateEntry(5, "ü");
    notifier.deleteEntry(5, 9, "gone");
    const out = await written();
    expect(out).toHaveLength(35 + 45);
    expect([out.readUInt32LE(0), out.readInt32LE(4)]).toEqual([35, 3]);
    expect([out.readBigUInt64LE(16), out.readUInt32LE(24), out.readUInt32LE(28)]).toEqual([5n, 2, 0]);
    expect(out.subarray(32, 35)).toEqual(Buffer.from("ü\0"));
    const second = out.subarray(35);
    expect([second.readUInt32LE(0), second.readInt32LE(4)]).toEqual([45, 6]);
    expect([second.readBigUInt64LE(16), second.readBigUInt64LE(24)]).toEqual([5n, 9n]);
    expect(second.readUInt32LE(32)).toBe(4);
    expect(second.subarray(40)).toEqual(Buffer.from("gone\0"));
  });

  it("are written one after the other, whole and in order", async () => {
    for (let node = 0; node < 100; node++) notifier.invalidateInode(node, true);
    expect(notifier.pending).toBe(100);
    const out = await written();
    const nodes = Array.from({ length: 100 }, (_, index) => Number(out.readBigUInt64LE(index * 40 + 16)));
    expect(nodes).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });

  it("stop when the mount ends", async () => {
    notifier.invalidateInode(1, true);
    notifier.invalidateInode(2, true);
    notifier.close();
    notifier.invalidateInode(3, true);
    expect((await written()).length).toBeLessThanOrEqual(40);
  });
});
