/** PosixLocks against a model that knows, byte by byte, who has which lock. */

import { describe, expect, it } from "vitest";
import type { ByteRange } from "../../../../src/core/ranges.ts";
import type { LockOwner } from "../../../../xlators/features/locks/owner.ts";
import { type PosixLock, PosixLocks } from "../../../../xlators/features/locks/posix-lk.ts";
import { settle } from "../../../support/fake-env.ts";
import { Prng } from "../../../support/prng.ts";

const LAST_BYTE = 15;
const OWNERS = ["a", "b", "c"];
type Held = "rdlck" | "wrlck";

function owner(key: string): LockOwner {
  return { key, client: undefined, lkOwner: Buffer.from(key), pid: 1 };
}

function lock(key: string, type: Held, start: number, end: number): PosixLock {
  return { owner: owner(key), fd: undefined, range: range(start, end), type, mandatory: false };
}

function range(start: number, end: number): ByteRange {
  return { start: BigInt(start), end: BigInt(end) };
}

/** For each byte: owner to type. */
class Model {
  readonly bytes = Array.from({ length: LAST_BYTE + 1 }, () => new Map<string, Held>());

  fits({ owner: { key }, type, range: { start, end } }: PosixLock): boolean {
    for (let at = Number(start); at <= Number(end); at++)
      for (const [other, held] of this.bytes[at]!)
        if (other !== key && (held === "wrlck" || type === "wrlck")) return false;
    return true;
  }

  set(key: string, type: Held | undefined, { start, end }: ByteRange): void {
    for (let at = Number(start); at <= Number(end); at++) {
      if (type) this.bytes[at]!.set(key, type);
      else this.bytes[at]!.delete(key);
    }
  }

  /** What the locks would be if each run of equal bytes were one lock. */
  runs(): string[] {
    const out: string[] = [];
    for (const key of OWNERS)
      for (let at = 0; at <= LAST_BYTE; at++) {
        const type = this.bytes[at]!.get(key);
        if (!type || this.bytes[at - 1]?.get(key) === type) continue;
        let end = at;
        while (this.bytes[end + 1]?.get(key) === type) end++;
        out.push(`${key} ${type} ${at}-${end}`);
      }
    return out.sort();
  }
}

function shown(locks: PosixLocks): string[] {
  return locks.granted
    .map(({ owner: { key }, type, range: { start, end } }) => `${key} ${type} ${start}-${end}`)
    .sort();
}

function randomLock(rng: Prng): PosixLock {
  const start = rng.int(0, LAST_BYTE);
  return lock(rng.pick(OWNERS), rng.pick<Held>(["rdlck", "wrlck"]), start, rng.int(start, LAST_BYTE));
}

describe("PosixLocks", () => {
  it("splits and joins as a table of single bytes does, and sees the same conflicts", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const rng = new Prng(seed);
      const locks = new PosixLocks();
      const model = new Model();
      for (let step = 0; step < 40; step++) {
        const wanted = randomLock(rng);
        const { key } = wanted.owner;
        if (rng.chance(0.3)) {
          locks.unset(wanted.owner, wanted.range);
          model.set(key, undefined, wanted.range);
        } else {
          const fits = locks.conflict(wanted) === undefined;
          expect(fits, `seed ${seed} step ${step}`).toBe(model.fits(wanted));
          if (!fits) continue;
          locks.set(wanted);
          model.set(key, wanted.type, wanted.range);
        }
        expect(shown(locks), `seed ${seed} step ${step}`).toEqual(model.runs());
      }
    }
  });

  it("never leaves two locks that exclude each other, nor somebody waiting who could have the lock", async () => {
    for (let seed = 1; seed <= 150; seed++) {
      const rng = new Prng(seed);
      const locks = new PosixLocks();
      for (let step = 0; step < 40; step++) {
        const wanted = randomLock(rng);
        if (rng.chance(0.4)) locks.unset(wanted.owner, wanted.range);
        else if (locks.conflict(wanted)) void locks.wait(wanted, undefined, () => {});
        else locks.set(wanted);
        locks.regrant();
        for (const held of locks.granted)
          expect(locks.conflict(held), `seed ${seed} step ${step}`).toBeUndefined();
        for (const waiting of locks.blocked.requests)
          expect(locks.conflict(waiting), `seed ${seed} step ${step}`).toBeDefined();
      }
      for (const key of OWNERS) locks.drop((held) => held.owner.key === key);
      for (let rounds = 0; locks.blocked.size > 0; rounds++) {
        expect(rounds, `seed ${seed}`).toBeLessThan(100);
        locks.regrant();
        locks.drop(() => true);
      }
    }
    await settle();
  });

  it("grants waiting requests in the order of arrival", async () => {
    const locks = new PosixLocks();
    const granted: string[] = [];
    locks.set(lock("a", "wrlck", 0, 9));
    for (const key of ["b", "c"])
      void locks.wait(lock(key, "wrlck", 5, 5), undefined, () => {}).then(() => granted.push(key));
    locks.unset(owner("a"), range(0, 9));
    locks.regrant();
    await settle();
    expect(granted).toEqual(["b"]);
    locks.unset(owner("b"), range(5, 5));
    locks.regrant();
    await settle();
    expect(granted).toEqual(["b", "c"]);
  });

  it("keeps what a waiting owner holds", () => {
    const locks = new PosixLocks();
    locks.set(lock("a", "rdlck", 0, 9));
    locks.set(lock("b", "rdlck", 0, 9));
    void locks.wait(lock("a", "wrlck", 0, 9), undefined, () => {});
    expect(shown(locks)).toEqual(["a rdlck 0-9", "b rdlck 0-9"]);
  });

  it("lets one of two upgrading readers go first instead of both waiting for ever", async () => {
    const locks = new PosixLocks();
    const granted: string[] = [];
    for (const key of ["a", "b"]) locks.set(lock(key, "rdlck", 0, 9));
    for (const key of ["a", "b"])
      void locks.wait(lock(key, "wrlck", 0, 9), undefined, () => {}).then(() => granted.push(key));
    await settle();
    expect(granted).toEqual(["a"]);
    expect(shown(locks)).toEqual(["a wrlck 0-9"]);
    locks.unset(owner("a"), range(0, 9));
    locks.regrant();
    await settle();
    expect(granted).toEqual(["a", "b"]);
  });

  it("breaks a deadlock of three as well", async () => {
    const locks = new PosixLocks();
    const granted: string[] = [];
    locks.set(lock("a", "wrlck", 0, 0));
    locks.set(lock("b", "wrlck", 1, 1));
    locks.set(lock("c", "wrlck", 2, 2));
    for (const [key, at] of [
      ["a", 1],
      ["b", 2],
    ] as const)
      void locks.wait(lock(key, "wrlck", at, at), undefined, () => {}).then(() => granted.push(key));
    void locks.wait(lock("c", "wrlck", 0, 2), undefined, () => {}).then(() => granted.push("c"));
    await settle();
    expect(granted).toEqual(["b"]);
  });

  it("takes a request out of the queue when its caller gives up", async () => {
    const locks = new PosixLocks();
    locks.set(lock("a", "wrlck", 0, 9));
    const giveUp = new AbortController();
    let told = 0;
    const waiting = locks.wait(lock("b", "wrlck", 0, 9), giveUp.signal, () => told++);
    giveUp.abort();
    await expect(waiting).rejects.toMatchObject({ code: "EINTR" });
    expect(locks.blocked.size).toBe(0);
    expect(told).toBe(1);
    await expect(locks.wait(lock("b", "wrlck", 0, 9), giveUp.signal, () => {})).rejects.toMatchObject({
      code: "EINTR",
    });
  });
});
