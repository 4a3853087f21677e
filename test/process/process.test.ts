/** What processes are made of: listen addresses, the log, options from outside. */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { overrideOptions, parseXlatorOption } from "../../src/api/open.ts";
import { readVolfile } from "../../src/api/volfile-file.ts";
import { FopError } from "../../src/core/errors.ts";
import { parseVolfile, printVolfile } from "../../src/graph/volfile.ts";
import { parseListen, startBricks } from "../../src/process/brick.ts";
import { LogSink } from "../../src/process/log-sink.ts";
import { openLog, parseLogLevel } from "../../src/process/logging.ts";
import { fakeEnv } from "../support/fake-env.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mortar-process-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe("listen address", () => {
  it.each([
    ["127.0.0.1:49152", { kind: "tcp", host: "127.0.0.1", port: 49152 }],
    ["[::1]:49152", { kind: "tcp", host: "::1", port: 49152 }],
    ["localhost:0", { kind: "tcp", host: "localhost", port: 0 }],
    [":49152", { kind: "tcp", host: undefined, port: 49152 }],
    ["49152", { kind: "tcp", host: undefined, port: 49152 }],
    ["unix:/run/brick.sock", { kind: "unix", path: "/run/brick.sock" }],
  ])("%s", (text, address) => {
    expect(parseListen(text)).toEqual(address);
  });

  it.each(["", "host", "host:", "::1:5", "host:99999", "unix:sock", "[::1]", "a:b:1"])(
    "refuses %j",
    (text) => {
      expect(() => parseListen(text)).toThrow(/^listen "/);
    },
  );
});

describe("a brick's volfile", () => {
  const brick = async (text: string) => {
    await writeFile(join(dir, "b.vol"), text);
    return startBricks([{ path: join(dir, "b.vol"), env: fakeEnv() }], {});
  };

  it("must have protocol/server at the top", async () => {
    await expect(brick("volume a\ntype storage/memory\nend-volume")).rejects.toThrow(
      /b\.vol:1: volume "a": a brick's top is protocol\/server, this is storage\/memory$/,
    );
  });

  it("must be there and be a file of some size", async () => {
    await expect(readVolfile(join(dir, "none.vol"))).rejects.toThrow(/none\.vol": there is no such file/);
    await expect(readVolfile(dir)).rejects.toThrow(/is a directory/);
    await writeFile(join(dir, "big.vol"), Buffer.alloc(17 * 1024 * 1024));
    await expect(readVolfile(join(dir, "big.vol"))).rejects.toThrow(/are no volfile/);
  });
});

describe("xlator options", () => {
  const volfile = parseVolfile(
    "volume v-client-0\ntype t\noption k 1\nend-volume\nvolume /b/1\ntype t\nsubvolumes v-client-0\nend-volume",
    "x",
  );
  const set = (text: string, env = fakeEnv()) =>
    printVolfile(overrideOptions(volfile, [parseXlatorOption(text)], env)).match(/option .*/g) ?? [];

  it("are set where the pattern matches, slashes included", () => {
    expect(set("*.k=2")).toEqual(["option k 2", "option k 2"]);
    expect(set("*client*.k=2")).toEqual(["option k 2"]);
    expect(set("/b*.transport.socket.x=a=b")).toEqual(["option k 1", "option transport.socket.x a=b"]);
    expect(set("v-client-[0-9].k=3")).toEqual(["option k 3"]);
    expect(set("v-client-?.k=3")).toEqual(["option k 3"]);
  });

  it("warn when nothing matches", () => {
    const env = fakeEnv();
    expect(set("nobody.k=2", env)).toEqual(["option k 1"]);
    expect(env.log.lines).toMatchObject([{ level: "warn", fields: { pattern: "nobody" } }]);
  });
});

describe("log", () => {
  const lines = async (file: string) => (await readFile(file, "utf8")).trimEnd().split("\n");

  it("writes JSON lines with fields, gfids as hex, expected errors without a stack", async () => {
    const file = join(dir, "sub", "log.json");
    const log = openLog({ level: "info", file, format: "json" }).child({ xlator: "a" });
    log.debug("unseen");
    log.info("one", { gfid: Buffer.from("00ff", "hex"), offset: 5n });
    log.error("two", { error: new FopError("EIO", { fop: "readv", xlator: "b", cause: new Error("disk") }) });
    const [one, two] = (await lines(file)).map((line) => JSON.parse(line));
    expect(one).toMatchObject({ xlator: "a", msg: "one", gfid: "00ff", offset: "5" });
    expect(two.error).toMatchObject({ code: "EIO", fop: "readv", at: "b", cause: { message: "disk" } });
    expect(two.error.stack).toBeUndefined();
  });

  it("writes lines for people and appends to what is there", async () => {
    const file = join(dir, "log");
    openLog({ level: "warn", file }).warn("one", { a: 1 });
    openLog({ level: "warn", file }).error("two", { error: new FopError("EIO", { message: "disk" }) });
    const [one, two, ...others] = await lines(file);
    expect(one).toMatch(/^\[\d{4}-\d\d-\d\d .*\] WARN: one \{"a":1\}$/);
    expect(two).toMatch(/ERROR: two \{"error":\{"message":"disk","code":"EIO"\}\}$/);
    expect(others).toEqual([]);
  });

  it("takes GlusterFS' level names", () => {
    expect(["TRACE", "Debug", "WARNING", "critical", "none"].map(parseLogLevel)).toEqual([
      "trace",
      "debug",
      "warn",
      "error",
      "none",
    ]);
    expect(() => parseLogLevel("loud")).toThrow(/^log level "loud"/);
  });

  it.each(["text", "json"] as const)("outlives a disk that is full, as %s", (format) => {
    const log = openLog({ level: "info", file: "/dev/full", format });
    for (let line = 0; line < 3; line++) log.info("lost");
  });

  it("says how many lines are missing when there is room again", () => {
    const taken: string[] = [];
    let isFull = false;
    const put = (text: string): boolean => {
      if (!isFull) taken.push(...text.trimEnd().split("\n"));
      return !isFull;
    };
    const sink = new LogSink(put, (line) => `${JSON.parse(line).msg}, ${JSON.parse(line).lines ?? 0}\n`);
    for (const msg of ["one", "two", "three", "four"]) {
      isFull = msg === "two" || msg === "three";
      sink.write(`${JSON.stringify({ msg })}\n`);
    }
    expect(taken).toEqual(["one, 0", "lines are missing here, 2", "four, 0"]);
  });

  it("says in one line that its file cannot be", () => {
    expect(() => openLog({ level: "info", file: join(dir, "\0") })).toThrow(/^log file "/);
  });
});
