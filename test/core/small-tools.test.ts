import { describe, expect, it } from "vitest";
import { abortable, Deferred, fanout, KeyedQueue } from "../../src/core/concurrency.ts";
import { Dict } from "../../src/core/dict.ts";
import { ERRNO, errnoName, FopError, isBug, toFopError } from "../../src/core/errors.ts";
import { newGfid } from "../../src/core/gfid.ts";
import { iovJoin, iovSize, iovSlice } from "../../src/core/iovec.ts";

describe("iovec", () => {
  it("slices without copying", () => {
    const iov = [Buffer.from("abc"), Buffer.from("defg"), Buffer.from("h")];
    for (let start = 0; start <= 8; start++) {
      for (let end = start; end <= 8; end++) {
        const slice = iovSlice(iov, start, end);
        expect(iovJoin(slice).toString()).toBe("abcdefgh".slice(start, end));
        expect(iovSize(slice)).toBe(end - start);
        for (const part of slice) expect(iov.some((whole) => whole.buffer === part.buffer)).toBe(true);
      }
    }
  });
});

describe("dict", () => {
  it("reads a number from any wire type, as the C getters do", () => {
    const dict = new Dict().setInt("int", -5).setUint("uint", 7).setStr("str", "42");
    dict.setBytes("ptr", Buffer.from("9\0")).setBytes("not", Buffer.from("x"));
    expect(["int", "uint", "str", "ptr", "not", "absent"].map((key) => dict.number(key))).toEqual([
      -5,
      7,
      42,
      9,
      undefined,
      undefined,
    ]);
  });

  it("takes a gfid as GFUUID or as sixteen bytes", () => {
    const gfid = newGfid();
    const dict = new Dict()
      .setGfid("a", gfid)
      .setBytes("b", Buffer.from(gfid))
      .setBytes("c", Buffer.alloc(15));
    expect(dict.gfid("a")).toEqual(gfid);
    expect(dict.gfid("b")).toEqual(gfid);
    expect(dict.gfid("c")).toBeUndefined();
  });

  it("gives text values their NUL as bytes", () => {
    expect(new Dict().setStr("s", "ab").bytes("s")).toEqual(Buffer.from("ab\0"));
  });
});

describe("errors", () => {
  it("know Linux numbers both ways", () => {
    for (const [name, number] of Object.entries(ERRNO)) expect(errnoName(number)).toBe(name);
    expect(errnoName(9999)).toBe("EIO");
  });

  it("tell replies from bugs", () => {
    const system = Object.assign(new Error("x"), { code: "ENOSPC" });
    expect(toFopError(system).code).toBe("ENOSPC");
    expect(isBug(system)).toBe(false);
    expect(isBug(new FopError("ENOENT"))).toBe(false);
    expect(isBug(new TypeError("oops"))).toBe(true);
    expect(toFopError(new TypeError("oops")).code).toBe("EIO");
  });

  it("carry no stack, for they are replies", () => {
    expect(new FopError("ENOENT").stack).not.toContain("    at ");
  });
});

describe("concurrency", () => {
  it("fans out and takes every outcome in order", async () => {
    const outcomes = await fanout([1, 2, 3], async (n) => {
      if (n === 2) throw new FopError("ENOSPC");
      return n;
    });
    expect(outcomes.map((o) => (o.ok ? o.reply : o.error.code))).toEqual([1, "ENOSPC", 3]);
  });

  it("runs tasks of one key in order, of two keys side by side, also after a failure", async () => {
    const queue = new KeyedQueue<string>();
    const gate = new Deferred<void>();
    const order: string[] = [];
    const a1 = queue.run("a", async () => {
      await gate.promise;
      order.push("a1");
      throw new Error("a1 failed");
    });
    const a2 = queue.run("a", async () => order.push("a2"));
    await queue.run("b", async () => order.push("b"));
    gate.resolve();
    await expect(a1).rejects.toThrow("a1 failed");
    await a2;
    expect(order).toEqual(["b", "a1", "a2"]);
  });

  it("gives a wait up with EINTR when the caller does", async () => {
    const controller = new AbortController();
    let undone = false;
    const wait = abortable(new Promise(() => {}), controller.signal, () => {
      undone = true;
    });
    controller.abort();
    await expect(wait).rejects.toMatchObject({ code: "EINTR" });
    expect(undone).toBe(true);
  });
});
