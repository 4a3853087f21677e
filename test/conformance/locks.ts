/**
 * Locks of two clients, as qemu, flock and fcntl use them, and as replicas do (spec translators.md 9,
 * qemu-fio-needs.md 2.3).
 */

import { expect } from "vitest";
import type { Fd } from "../../src/core/inode.ts";
import type { Session } from "../support/session.ts";
import { until } from "../support/wait.ts";
import { outcome, type Subject } from "./suite.ts";

const DOMAIN = "vol-replicate-0";

/** The same file, opened by each of two clients. */
async function both(a: Session, b: Session): Promise<[Fd, Fd]> {
  const fd = await a.create("f");
  return [fd, await b.open(await b.inode("f"))];
}

async function getlk(session: Session, fd: Fd, byte: number): Promise<string> {
  return (await session.lk(fd, "getlk", "wrlck", byte, 1)).flock.type;
}

/** Whether a promise has settled, without waiting for it. */
function watch(work: Promise<unknown>): { state: string } {
  const seen = { state: "waiting" };
  void outcome(work).then((code) => (seen.state = code));
  return seen;
}

export const locks: Subject = {
  name: "locks",
  cases: [
    {
      name: "a write lock excludes the other client, read locks share",
      needs: ["locks"],
      async run({ a, b }) {
        const [mine, theirs] = await both(a, b);
        await a.lk(mine, "setlk", "rdlck", 0, 0);
        await b.lk(theirs, "setlk", "rdlck", 0, 0);
        expect(await outcome(b.lk(theirs, "setlk", "wrlck", 10, 10))).toBe("EAGAIN");
        await a.lk(mine, "setlk", "unlck", 0, 0);
        await b.lk(theirs, "setlk", "wrlck", 10, 10);
        expect(await outcome(a.lk(mine, "setlk", "rdlck", 0, 0))).toBe("EAGAIN");
        await a.lk(mine, "setlk", "rdlck", 0, 10);
      },
    },
    {
      name: "a waiting lock is granted when the other client unlocks",
      needs: ["locks"],
      async run({ a, b }) {
        const [mine, theirs] = await both(a, b);
        await a.lk(mine, "setlk", "wrlck", 0, 0);
        const waiting = watch(b.lk(theirs, "setlkw", "wrlck", 5, 5));
        await b.size(theirs);
        expect(waiting.state).toBe("waiting");
        await a.lk(mine, "setlk", "unlck", 0, 0);
        await until("the waiting lock", () => waiting.state === "ok");
      },
    },
    {
      name: "qemu's order: read locks on single bytes, conflicts found by asking for a write lock",
      needs: ["locks"],
      async run({ a, b }) {
        const [mine, theirs] = await both(a, b);
        for (const byte of [100, 101, 201]) await a.lk(mine, "setlk", "rdlck", byte, 1);
        for (const byte of [200, 201, 101]) expect(await getlk(a, mine, byte)).toBe("unlck");
        // A second writer shares nothing: it may take its own locks, and must then see the others'.
        await b.lk(theirs, "setlk", "rdlck", 101, 1);
        expect(await getlk(b, theirs, 201)).toBe("rdlck");
        expect(await getlk(b, theirs, 200)).toBe("unlck");
        const { flock } = await b.lk(theirs, "getlk", "wrlck", 201, 1);
        expect([flock.start, flock.len]).toEqual([201n, 1n]);
      },
    },
    {
      name: "two open files of one client are two owners, and releasing one keeps the other's locks",
      needs: ["locks"],
      async run({ a, b }) {
        const [first, theirs] = await both(a, b);
        const other = a.as({ owner: "second-open-file" });
        const second = await other.open(await a.inode("f"));
        await a.lk(first, "setlk", "rdlck", 100, 1);
        await other.lk(second, "setlk", "rdlck", 100, 1);
        await a.release(first);
        expect(await getlk(b, theirs, 100)).toBe("rdlck");
        await other.release(second);
        await until("the locks to go with their fds", async () => (await getlk(b, theirs, 100)) === "unlck");
      },
    },
    {
      name: "close drops the owner's locks",
      needs: ["locks"],
      async run({ a, b }) {
        const [mine, theirs] = await both(a, b);
        await a.lk(mine, "setlk", "wrlck", 0, 0);
        await a.top.flush(a.call, { fd: mine });
        await b.lk(theirs, "setlk", "wrlck", 0, 0);
      },
    },
    {
      name: "a wait ends with EINTR when its caller gives up",
      needs: ["locks"],
      async run({ a, b }) {
        const [mine, theirs] = await both(a, b);
        await a.lk(mine, "setlk", "wrlck", 0, 0);
        const giveUp = new AbortController();
        const waiting = watch(b.lk(theirs, "setlkw", "wrlck", 0, 0, { signal: giveUp.signal }));
        await b.size(theirs);
        giveUp.abort();
        await until("the wait to end", () => waiting.state === "EINTR");
        await a.lk(mine, "setlk", "unlck", 0, 0);
        await until("nobody to hold the lock", async () => (await getlk(a, mine, 0)) === "unlck");
      },
    },
    {
      name: "inodelk excludes within its domain, by range, and grants who waits",
      needs: ["locks"],
      async run({ a, b }) {
        await a.create("f");
        const [mine, theirs] = [await a.inode("f"), await b.inode("f")];
        await a.inodelk(mine, DOMAIN, "setlk", "wrlck", 0n, 10n);
        expect(await outcome(b.inodelk(theirs, DOMAIN, "setlk", "wrlck", 9n, 1n))).toBe("EAGAIN");
        await b.inodelk(theirs, DOMAIN, "setlk", "wrlck", 10n, 1n);
        await b.inodelk(theirs, `${DOMAIN}:self-heal`, "setlk", "wrlck");
        const waiting = watch(b.inodelk(theirs, DOMAIN, "setlkw", "wrlck", 0n, 5n));
        await a.inodelk(mine, DOMAIN, "setlk", "unlck", 0n, 10n);
        await until("the waiting inodelk", () => waiting.state === "ok");
        expect(await outcome(a.inodelk(mine, DOMAIN, "setlk", "unlck", 0n, 10n))).toBe("EINVAL");
      },
    },
    {
      name: "entrylk excludes by name, and a lock on all names excludes everybody else's",
      needs: ["locks"],
      async run({ a, b }) {
        await a.entrylk(a.root, DOMAIN, "lock-nb", "n");
        expect(await outcome(b.entrylk(b.root, DOMAIN, "lock-nb", "n"))).toBe("EAGAIN");
        await b.entrylk(b.root, DOMAIN, "lock-nb", "m");
        expect(await outcome(a.entrylk(a.root, DOMAIN, "lock-nb", undefined))).toBe("EAGAIN");
        const waiting = watch(a.entrylk(a.root, DOMAIN, "lock", undefined));
        await b.entrylk(b.root, DOMAIN, "unlock", "m");
        await until("the waiting entrylk", () => waiting.state === "ok");
        expect(await outcome(a.entrylk(a.root, DOMAIN, "unlock", "absent"))).toBe("EINVAL");
      },
    },
  ],
};
