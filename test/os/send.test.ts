import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { iovJoin, iovSize } from "../../src/core/iovec.ts";
import { rest, writevNow } from "../../src/os/send.ts";

describe("writev at once", () => {
  it("takes what fits, says how much, and nothing when it would have to wait", () => {
    const dir = mkdtempSync(join(tmpdir(), "mortar-send-"));
    const path = join(dir, "fifo");
    execFileSync("mkfifo", [path]);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    try {
      let parts: readonly Buffer[] = [Buffer.from("abc"), Buffer.alloc(300_000, 7)];
      const whole = iovJoin(parts);
      const got: Buffer[] = [];
      const chunk = Buffer.alloc(70_000);
      while (iovSize(parts) > 0) {
        const taken = writevNow(writer, parts);
        if (taken === 0) got.push(Buffer.from(chunk.subarray(0, readSync(reader, chunk))));
        parts = rest(parts, taken);
      }
      while (iovSize(got) < whole.length) got.push(Buffer.from(chunk.subarray(0, readSync(reader, chunk))));
      expect(Buffer.concat(got).equals(whole)).toBe(true);
      closeSync(reader);
      expect(() => writevNow(writer, [Buffer.from("x")])).toThrow(expect.objectContaining({ code: "EPIPE" }));
    } finally {
      closeSync(writer);
      rmSync(dir, { recursive: true });
    }
  });

  it("cuts a vector anywhere", () => {
    const parts = [Buffer.from("ab"), Buffer.from("cde")];
    for (let taken = 0; taken <= 5; taken++)
      expect(iovJoin(rest(parts, taken)).toString()).toBe("abcde".slice(taken));
  });
});
