import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Iatt, ZERO_IATT } from "../../../../src/core/iatt.ts";
import { Differences } from "../../../../xlators/storage/posix/differences.ts";

function at(blocks: number, size = 0): Iatt {
  return { ...ZERO_IATT, size, blocks };
}

describe("differences of fops on one file", () => {
  it("are each fop's own when none overlap", () => {
    const differences = new Differences();
    differences.begin(at(1));
    expect(differences.end(at(1), at(3))).toMatchObject({ blocks: 1 });
    differences.begin(at(7));
    expect(differences.end(at(7), at(8))).toMatchObject({ blocks: 7 });
  });

  it("leave what a failed fop changed to the next one that ends", () => {
    const differences = new Differences();
    differences.begin(at(0));
    differences.begin(at(0));
    differences.fail();
    expect(differences.end(at(0), at(5)).blocks).toBe(0);
  });

  it("of a fop that begins later do not count what failed before it", () => {
    const differences = new Differences();
    differences.begin(at(0));
    differences.fail();
    differences.begin(at(5));
    expect(differences.end(at(5), at(6)).blocks).toBe(5);
  });

  it("leave the size as each fop saw it before", () => {
    const differences = new Differences();
    differences.begin(at(0, 100));
    differences.begin(at(0, 100));
    expect(differences.end(at(0, 100), at(8, 300)).size).toBe(100);
    expect(differences.end(at(0, 100), at(8, 300))).toMatchObject({ size: 100, blocks: 8 });
  });

  it("add up to what changed, however fops overlap and whatever each has changed", () => {
    // Each step either begins a fop or changes the file and ends the fop that it picks.
    const step = fc.record({
      begins: fc.boolean(),
      pick: fc.nat(50),
      change: fc.integer({ min: -9, max: 9 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const differences = new Differences();
        const running: Iatt[] = [];
        let blocks = 1000;
        let told = 0;
        function end(pick: number): void {
          const [pre] = running.splice(pick % running.length, 1);
          told += blocks - differences.end(pre!, at(blocks)).blocks;
        }
        for (const { begins, pick, change } of steps) {
          if (begins || running.length === 0) {
            const pre = at(blocks);
            differences.begin(pre);
            running.push(pre);
          } else {
            blocks += change;
            end(pick);
          }
        }
        while (running.length > 0) end(0);
        expect(told).toBe(blocks - 1000);
      }),
    );
  });
});
