/** Domains of inodelk and entrylk against naive models. */

import { describe, expect, it } from "vitest";
import { Domain, type DomainHooks } from "../../../../xlators/features/locks/domain.ts";
import { ENTRYLK_RULES, type Entrylk, entrylkOf } from "../../../../xlators/features/locks/entrylk.ts";
import {
  INODELK_RULES,
  type Inodelk,
  inodelkDomain,
  inodelkOf,
} from "../../../../xlators/features/locks/inodelk.ts";
import type { LockOwner } from "../../../../xlators/features/locks/owner.ts";
import { settle } from "../../../support/fake-env.ts";
import { Prng } from "../../../support/prng.ts";

const HOOKS: DomainHooks<unknown> = { nowMs: () => 0, contended() {} };

function owner(key: string): LockOwner {
  return { key, client: undefined, lkOwner: Buffer.from(key), pid: 1 };
}

function inodelk(key: string, type: "rdlck" | "wrlck", start: bigint, len: bigint): Inodelk {
  return inodelkOf(owner(key), { type, whence: 0, start, len, pid: 0, lkOwner: Buffer.alloc(0) });
}

function inodelks(): Domain<Inodelk> {
  return new Domain<Inodelk>(INODELK_RULES, HOOKS);
}

/** Per byte, who has it and how; the plain reading of the rules without fairness. */
function fits(granted: readonly Inodelk[], wanted: Inodelk): boolean {
  for (let at = wanted.range.start; at <= wanted.range.end; at++)
    for (const held of granted) {
      const has = held.range.start <= at && at <= held.range.end;
      const exclusive = held.type === "wrlck" || wanted.type === "wrlck";
      if (has && exclusive && held.owner.key !== wanted.owner.key) return false;
    }
  return true;
}

describe("inodelk domain", () => {
  it("grants and refuses as a table of single bytes does when nobody waits", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const rng = new Prng(seed);
      const domain = inodelks();
      const model: Inodelk[] = [];
      for (let step = 0; step < 40; step++) {
        const start = rng.int(0, 9);
        const len = rng.int(1, 10 - start);
        const type = rng.pick(["rdlck", "wrlck"] as const);
        const wanted = inodelk(rng.pick(["a", "b", "c"]), type, BigInt(start), BigInt(len));
        if (rng.chance(0.5)) {
          const granted = domain.tryLock(wanted);
          expect(granted, `seed ${seed} step ${step}`).toBe(fits(model, wanted));
          if (granted) model.push(wanted);
        } else {
          const index = model.findLastIndex(
            ({ owner: { key }, range }) =>
              key === wanted.owner.key &&
              range.start === wanted.range.start &&
              range.end === wanted.range.end,
          );
          expect(domain.unlock(wanted), `seed ${seed} step ${step}`).toBe(index >= 0);
          if (index >= 0) model.splice(index, 1);
        }
        expect(domain.granted, `seed ${seed} step ${step}`).toEqual(model);
      }
    }
  });

  it("never grants what excludes each other, and empties when everything is given back", async () => {
    for (let seed = 1; seed <= 150; seed++) {
      const rng = new Prng(seed);
      const domain = inodelks();
      for (let step = 0; step < 60; step++) {
        const start = rng.int(0, 9);
        const type = rng.pick(["rdlck", "wrlck"] as const);
        const wanted = inodelk(
          rng.pick(["a", "b", "c"]),
          type,
          BigInt(start),
          BigInt(rng.int(1, 10 - start)),
        );
        if (rng.chance(0.5)) {
          if (!domain.tryLock(wanted)) void domain.blocked.wait(wanted, undefined, () => {});
        } else if (domain.granted.length > 0) {
          expect(domain.unlock(rng.pick(domain.granted))).toBe(true);
          domain.regrant();
        }
        domain.granted.forEach((held, index) => {
          const others = domain.granted.filter((_, other) => other !== index);
          expect(fits(others, held), `seed ${seed} step ${step}`).toBe(true);
        });
      }
      for (let rounds = 0; domain.count > 0; rounds++) {
        expect(rounds, `seed ${seed}`).toBeLessThan(100);
        domain.drop(() => true);
        domain.regrant();
      }
    }
    await settle();
  });

  it("does not let a reader overtake a waiting writer, but lets the holder nest", async () => {
    const domain = inodelks();
    expect(domain.tryLock(inodelk("a", "rdlck", 0n, 0n))).toBe(true);
    const writer = inodelk("b", "wrlck", 0n, 0n);
    expect(domain.tryLock(writer)).toBe(false);
    void domain.blocked.wait(writer, undefined, () => {});
    expect(domain.tryLock(inodelk("c", "rdlck", 0n, 10n))).toBe(false);
    expect(domain.tryLock(inodelk("a", "rdlck", 0n, 10n))).toBe(true);
  });

  it("gives back the newest of equal locks first", () => {
    const domain = inodelks();
    domain.tryLock(inodelk("a", "wrlck", 0n, 10n));
    domain.tryLock(inodelk("a", "rdlck", 0n, 10n));
    domain.unlock(inodelk("a", "wrlck", 0n, 10n));
    expect(domain.granted.map((held) => held.type)).toEqual(["wrlck"]);
  });

  it("moves the metadata range to a domain of its own, once", () => {
    const metadata = {
      type: "wrlck",
      whence: 0,
      start: 2n ** 63n - 2n,
      len: 0n,
      pid: 0,
      lkOwner: Buffer.alloc(0),
    } as const;
    expect(inodelkDomain("vol-replicate-0", metadata)).toBe("vol-replicate-0:metadata");
    expect(inodelkDomain("vol-replicate-0:metadata", metadata)).toBe("vol-replicate-0:metadata");
    expect(inodelkDomain("vol-replicate-0", { ...metadata, start: 0n })).toBe("vol-replicate-0");
    expect(inodelkDomain("vol-replicate-0", { ...metadata, len: 1n })).toBe("vol-replicate-0");
  });
});

describe("entrylk domain", () => {
  const entrylks = (): Domain<Entrylk> => new Domain<Entrylk>(ENTRYLK_RULES, HOOKS);
  const lock = (key: string, name: string | undefined, type: "rdlck" | "wrlck" = "wrlck"): Entrylk =>
    entrylkOf(owner(key), name, type);

  it.each([
    ["the same name", "n", "n", false],
    ["another name", "n", "m", true],
    ["all names after one", "n", undefined, false],
    ["one name after all", undefined, "n", false],
    ["all names twice", undefined, undefined, false],
  ])("for another owner: %s", (_, first, second, granted) => {
    const domain = entrylks();
    domain.tryLock(lock("a", first));
    expect(domain.tryLock(lock("b", second))).toBe(granted);
  });

  it("lets an owner nest its locks", () => {
    const domain = entrylks();
    expect([undefined, "n", "n"].map((name) => domain.tryLock(lock("a", name)))).toEqual([true, true, true]);
  });

  it("takes two read locks on one name for a conflict", () => {
    const domain = entrylks();
    domain.tryLock(lock("a", "n", "rdlck"));
    expect(domain.tryLock(lock("b", "n", "rdlck"))).toBe(false);
  });

  it("unlocks only by the same owner, name and type", () => {
    const domain = entrylks();
    domain.tryLock(lock("a", "n"));
    expect(domain.unlock(lock("b", "n"))).toBe(false);
    expect(domain.unlock(lock("a", undefined))).toBe(false);
    expect(domain.unlock(lock("a", "n", "rdlck"))).toBe(false);
    expect(domain.unlock(lock("a", "n"))).toBe(true);
  });
});
