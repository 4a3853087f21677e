import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { CAP_FSETID, withoutCapability } from "../../src/os/capabilities.ts";
import { mayBeWritten } from "../../src/os/writers.ts";

const dir = mkdtempSync(join(tmpdir(), "mortar-writers-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("whether a file may be written", () => {
  it("is told of those who have it open for writing, and of nobody else", () => {
    const path = join(dir, "f");
    writeFileSync(path, "x");
    const asker = openSync(path, "r");
    const reader = openSync(path, "r");
    expect(mayBeWritten(asker)).toBe(false);
    const writer = openSync(path, "a");
    expect(mayBeWritten(asker)).toBe(true);
    closeSync(writer);
    expect(mayBeWritten(asker)).toBe(false);
    // Nothing is left behind that a writer would have to wait for.
    closeSync(openSync(path, "r+"));
    for (const fd of [asker, reader]) closeSync(fd);
  });

  it("is not told through a descriptor that may write", () => {
    const fd = openSync(join(dir, "g"), "w+");
    expect(mayBeWritten(fd)).toBe(true);
    closeSync(fd);
  });
});

/** Effective capabilities of the main thread. */
function effective(): bigint {
  const [, hex] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/thread-self/status", "latin1"))!;
  return BigInt(`0x${hex}`);
}

describe("a task without a capability", () => {
  it("lacks that one alone, and only until it has ended, well or not", () => {
    const before = effective();
    const less = before & ~(1n << BigInt(CAP_FSETID));
    expect(withoutCapability(CAP_FSETID, effective)).toBe(less);
    expect(effective()).toBe(before);
    const failing = (): never => {
      throw new Error("failed");
    };
    expect(() => withoutCapability(CAP_FSETID, failing)).toThrow("failed");
    expect(effective()).toBe(before);
  });
});
