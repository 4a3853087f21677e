/** performance/write-behind: what of the kernel's page cache is acknowledged, and kept where it is. */

import { describe, expect, it } from "vitest";
import type { Fd } from "../../../../src/core/inode.ts";
import type { Lease } from "../../../../src/core/iovec.ts";
import { settle } from "../../../support/fake-env.ts";
import { KIB, type Rig, rig, watch } from "./rig.ts";

function filled(size: number): Buffer {
  return Buffer.alloc(size, "x");
}

/** Counts what is on loan. */
class Lender {
  leases = 0;

  lend(): Lease {
    this.leases++;
    return { release: () => void this.leases-- };
  }
}

/** The `n`th MiB of the file, or the beginning of it, out of the kernel's cache. */
function write({ top, session }: Rig, fd: Fd, n: number, cached: Lender, size = 1 << 20) {
  return top.writev(session.call, { fd, data: [filled(size)], offset: n << 20, flags: 0, cached });
}

describe("a large write of what the kernel's cache holds", () => {
  it("is for much more than the window, without a copy", async () => {
    await using r = await rig();
    const { session, delays, top } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    const lender = new Lender();
    const writes = Array.from({ length: 20 }, (_, n) => watch(write(r, fd, n, lender)));
    await settle();
    expect(writes.map(({ state }) => state)).toEqual([
      ...new Array(16).fill("done"),
      ...new Array(4).fill("pending"),
    ]);
    expect(lender.leases).toBe(16);
    // Not all of them leave at once, and room is for who waits longest.
    expect(r.writes()).toEqual([]);
    expect(hold.count).toBe(8);
    hold.release();
    await settle();
    expect(writes.map(({ state }) => state).slice(15)).toEqual([
      "done",
      "done",
      "pending",
      "pending",
      "pending",
    ]);
    expect([lender.leases, hold.count]).toEqual([16, 8]);
    delays.unhold(hold);
    for (const { promise } of writes) await promise;
    expect(r.writes()).toEqual(writes.map((_, n) => `${n << 20}+${1 << 20}`));
    await top.fsync(session.call, { fd, datasync: false });
    expect(lender.leases).toBe(0);
    // What is not large is copied, to be gathered.
    const small = watch(write(r, fd, 30, lender, 64 * KIB));
    await settle();
    expect([small.state, lender.leases]).toEqual(["done", 0]);
    await session.end();
  });

  it("waits for loans of its own file alone: others may keep theirs", async () => {
    await using r = await rig();
    const { session, errors, host } = r;
    host.loans.bytesMax = 2 << 20;
    const stuck = await session.create("stuck");
    const fd = await session.create("f");
    const lender = new Lender();
    errors.failWhere((fop, _call, args) =>
      fop === "writev" && (args as { fd: Fd }).fd === stuck ? "ENOSPC" : undefined,
    );
    for (const n of [0, 1]) await write(r, stuck, n, lender);
    await settle();
    expect(lender.leases).toBe(2);
    const writes = [0, 1, 2, 3].map((n) => watch(write(r, fd, n, lender)));
    await settle();
    expect(writes.map(({ state }) => state)).toEqual(new Array(4).fill("done"));
    errors.failWhere(() => undefined);
    await session.end();
    expect(lender.leases).toBe(0);
  });

  it("that waits for a loan fails as what it waits for did", async () => {
    await using r = await rig();
    const { session, delays, errors, top, host } = r;
    host.loans.bytesMax = 2 << 20;
    const fd = await session.create("f");
    const lender = new Lender();
    const hold = delays.hold("writev");
    const writes = [0, 1, 2, 3].map((n) => watch(write(r, fd, n, lender)));
    await settle();
    expect(writes.map(({ state }) => state)).toEqual(["done", "done", "pending", "pending"]);
    let isFull = true;
    errors.failWhere((fop) => (fop === "writev" && isFull ? "ENOSPC" : undefined));
    delays.unhold(hold);
    await settle();
    expect(writes.map(({ state }) => state)).toEqual(["done", "done", "failed", "failed"]);
    expect(writes[3]!.error).toMatchObject({ code: "ENOSPC" });
    isFull = false;
    await top.fsync(session.call, { fd, datasync: false });
    expect(lender.leases).toBe(0);
    expect(await session.read(fd, 0, 4 << 20)).toHaveLength(2 << 20);
    await session.end();
  });

  it("keeps the loan until it is written, however often it fails", async () => {
    await using r = await rig();
    const { session, errors, top } = r;
    const fd = await session.create("f");
    const lender = new Lender();
    const sync = () => top.fsync(session.call, { fd, datasync: false });
    let isFull = true;
    errors.failWhere((fop) => (fop === "writev" && isFull ? "ENOSPC" : undefined));
    await top.writev(session.call, { fd, data: [filled(256 * KIB)], offset: 0, flags: 0, cached: lender });
    await expect(sync()).rejects.toMatchObject({ code: "ENOSPC" });
    expect(lender.leases).toBe(1);
    isFull = false;
    await sync();
    expect(lender.leases).toBe(0);
    expect(await session.read(fd, 0, 512 * KIB)).toEqual(filled(256 * KIB));
    await session.end();
  });
});
