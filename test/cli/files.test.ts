/**
 * Commands on files of volumes, without processes: where arguments point, what a copy leaves behind when it
 * ends well, fails in any step or is stopped, and how attributes and sizes are written.
 */

import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addAbortSignal, PassThrough } from "node:stream";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { flags, Volume } from "../../src/api/index.ts";
import { fullTimeText, modeText, typeName } from "../../src/cli/files/attributes.ts";
import { type CopyPlan, copy, copyFromStream, type Spot } from "../../src/cli/files/copy.ts";
import { dataRuns } from "../../src/cli/files/copy-data.ts";
import { LocalTree } from "../../src/cli/files/local-tree.ts";
import { parsePlace, parseVolumePlace } from "../../src/cli/files/place.ts";
import { parseSizeChange } from "../../src/cli/files/truncate-command.ts";
import { VolumeTree } from "../../src/cli/files/volume-tree.ts";
import { reason, shownName } from "../../src/cli/files/words.ts";
import { type ErrnoName, FopError } from "../../src/core/errors.ts";
import type { FopName } from "../../src/core/fops.ts";
import type { ErrorGen } from "../../xlators/debug/error-gen.ts";
import { type StartedGraph, stack, startGraph } from "../support/build-graph.ts";

const MIB = 1 << 20;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mortar-files-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("an argument", () => {
  it.each([
    ["gluster://host/vol/a/b.img", { path: "/a/b.img", host: "host", port: 24007, volume: "vol" }],
    [
      "gluster+tcp://[2001:db8::1]:24008/vol/b",
      { path: "/b", host: "2001:db8::1", port: 24008, volume: "vol" },
    ],
    ["host:/vol/a", { path: "/a", host: "host", port: 24007, volume: "vol" }],
    ["host:/vol", { path: "/", host: "host", port: 24007, volume: "vol" }],
  ])("%s points into a server's volume", (text, { path, host, port, volume }) => {
    expect(parsePlace(text)).toMatchObject({
      kind: "volume",
      path,
      source: { kind: "server", server: { host, port }, volume, directory: "/" },
    });
  });

  it("names a unix socket", () => {
    expect(parsePlace("gluster+unix:///vol/x?socket=/run/g")).toMatchObject({
      path: "/x",
      source: { server: { transport: "unix", path: "/run/g" }, volume: "vol" },
    });
  });

  it("points by a volfile or a data directory, where there is one", () => {
    const volfile = join(directory, "a.vol");
    writeFileSync(volfile, "");
    expect(parsePlace(`${volfile}:/d/x/`)).toMatchObject({
      kind: "volume",
      path: "/d/x",
      mustBeDirectory: true,
      source: { kind: "volfile", path: volfile },
    });
    expect(parsePlace(`${volfile}:`)).toMatchObject({ kind: "volume", path: "/" });
    writeFileSync(join(directory, "client.vol"), "");
    expect(parsePlace(`${directory}:/x`)).toMatchObject({
      source: { kind: "volfile", path: join(directory, "client.vol") },
    });
    expect(parseVolumePlace(directory)).toMatchObject({ kind: "volume", path: "/" });
  });

  it("is local otherwise, also when it looks like a host and exists", () => {
    expect(parsePlace("/etc/passwd")).toMatchObject({ kind: "local", path: "/etc/passwd" });
    expect(parsePlace("nothing/here:/x")).toMatchObject({ kind: "local" });
    expect(parsePlace("dir/")).toMatchObject({ kind: "local", path: "dir", mustBeDirectory: true });
    expect(parsePlace("/")).toMatchObject({ kind: "local", path: "/" });
    expect(parsePlace("-")).toEqual({ kind: "stream", text: "-" });
    const odd = join(directory, "a:b");
    writeFileSync(odd, "");
    expect(parsePlace(odd)).toMatchObject({ kind: "local", path: odd });
  });

  it.each(["", "gluster://host", "gluster+rdma://h/v/x", "http://host/x", "gluster://h/v/../x"])(
    "%j is refused",
    (text) => {
      expect(() => parsePlace(text)).toThrow(/^(source )?"/);
    },
  );
});

describe("a size", () => {
  it.each([
    ["10G", { how: "to", bytes: 10 * 2 ** 30 }],
    ["+512M", { how: "more", bytes: 512 * MIB }],
    ["-1KB", { how: "less", bytes: 1000 }],
    ["1KiB", { how: "to", bytes: 1024 }],
    ["5b", { how: "to", bytes: 5 }],
    ["0", { how: "to", bytes: 0 }],
  ])("%s is read", (text, change) => {
    expect(parseSizeChange(text)).toEqual(change);
  });

  it.each(["", "G", "1.5G", "10X", "99999P", "--1"])("%j is refused", (text) => {
    expect(() => parseSizeChange(text)).toThrow(/is no size like/);
  });
});

describe("words", () => {
  it("are those of ls and stat", () => {
    expect(modeText(0o100644)).toBe("-rw-r--r--");
    expect(modeText(0o041777)).toBe("drwxrwxrwt");
    expect(modeText(0o106511)).toBe("-r-s--s--x");
    expect(modeText(0o104600)).toBe("-rwS------");
    expect(typeName(0o120777)).toBe("symbolic link");
    expect(fullTimeText(0, 5)).toMatch(/^19(69|70)-\d\d-\d\d \d\d:\d\d:00\.000000005 [+-]\d{4}$/);
  });

  it("say an errno like everybody does, unless there is more to say", () => {
    expect(reason(new FopError("ENOENT"))).toBe("no such file or directory");
    expect(reason(new FopError("EINVAL", { message: "is the root" }))).toBe("is the root");
    expect(shownName("a\nb\x1b[2Jc\udcff")).toBe("a?b?[2Jc?");
  });
});

describe("what is written of a vector", () => {
  it("is all that is not zero, at its place, and nothing overlaps", () => {
    const blocks = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 150_000 })), { maxLength: 6 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 200_000 }), blocks, (offset, parts) => {
        const data = parts.map(([isData, size]) => Buffer.alloc(size, isData ? 7 : 0));
        const whole = Buffer.concat(data);
        const copy = Buffer.alloc(whole.length);
        let end = 0;
        for (const run of dataRuns(offset, data)) {
          expect(run.offset).toBeGreaterThanOrEqual(offset + end);
          const bytes = Buffer.concat(run.data);
          bytes.copy(copy, run.offset - offset);
          end = run.offset - offset + bytes.length;
        }
        expect(copy.equals(whole)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it("is one buffer where nothing is zero, and nothing where all is", () => {
    const data = Buffer.alloc(MIB, 1);
    const [run, ...others] = dataRuns(4096, [data]);
    expect(others).toEqual([]);
    expect(run!.data).toHaveLength(1);
    expect(run!.data[0]!.buffer).toBe(data.buffer);
    expect(dataRuns(0, [Buffer.alloc(MIB)])).toEqual([]);
  });
});

describe("a copy", () => {
  let graph: StartedGraph;
  let volume: Volume;
  const local = new LocalTree();
  beforeEach(async () => {
    const failing = { name: "failing", type: "debug/error-gen", options: { failure: "0" } };
    graph = await startGraph(
      stack({ name: "memory", type: "storage/memory" }, { name: "locks", type: "features/locks" }, failing),
    );
    volume = new Volume(graph.graph);
  });
  afterEach(() => volume.close());

  function here(path: string): Spot {
    return { tree: local, path: join(directory, path), text: path };
  }

  function there(path: string): Spot {
    return { tree: new VolumeTree(volume, "v"), path, text: `v:${path}` };
  }

  function plan(change: Partial<CopyPlan> = {}): CopyPlan {
    return {
      signal: new AbortController().signal,
      onProgress: () => {},
      recursive: false,
      preserve: false,
      noClobber: false,
      onFile: () => {},
      ...change,
    };
  }

  async function names(path = "/"): Promise<string[]> {
    const found: string[] = [];
    for await (const { name } of volume.readdir(path)) found.push(name);
    return found.sort();
  }

  async function content(path: string): Promise<Buffer> {
    await using file = await volume.open(path);
    return file.read(0, 64 * MIB);
  }

  function sparse(): Buffer {
    const data = Buffer.alloc(8 * MIB + 123);
    data.fill("data", MIB, MIB + 70_000);
    data.fill("tail", 5 * MIB, 5 * MIB + 1);
    return data;
  }

  it("into a volume and out of it is the same, with holes where zeroes were", async () => {
    writeFileSync(join(directory, "image"), sparse(), { mode: 0o640 });
    let bytes = 0;
    await copy(here("image"), there("/image"), plan({ onProgress: (more) => (bytes += more) }));
    expect(bytes).toBe(sparse().length);
    expect((await content("/image")).equals(sparse())).toBe(true);
    const stat = await volume.stat("/image");
    expect(stat).toMatchObject({ size: sparse().length, mode: 0o100640 });
    expect(stat.blocks * 512).toBeLessThan(MIB);
    await copy(there("/image"), here("back"), plan());
    expect(readFileSync(join(directory, "back")).equals(sparse())).toBe(true);
    expect(statSync(join(directory, "back")).blocks * 512).toBeLessThan(MIB);
    expect(await names()).toEqual(["image"]);
  });

  it("takes a stream, whose zeroes become holes", async () => {
    async function* stream(): AsyncGenerator<Buffer> {
      const data = sparse();
      for (let at = 0; at < data.length; at += 60_000) yield data.subarray(at, at + 60_000);
    }
    await copyFromStream(stream(), there("/image"), plan());
    expect((await content("/image")).equals(sparse())).toBe(true);
  });

  it("replaces what is there as a whole; who had it open keeps what it was", async () => {
    writeFileSync(join(directory, "new"), "new");
    await using before = await volume.open("/a", flags.O_CREAT | flags.O_RDWR);
    await before.write(0, Buffer.from("before"));
    await copy(here("new"), there("/a"), plan({ noClobber: true }));
    expect((await content("/a")).toString()).toBe("before");
    await copy(here("new"), there("/a"), plan());
    expect((await content("/a")).toString()).toBe("new");
    expect((await before.read(0, 10)).toString()).toBe("before");
  });

  it.each<[FopName, ErrnoName]>([
    ["create", "EACCES"],
    ["writev", "ENOSPC"],
    ["ftruncate", "EIO"],
    ["fsync", "EIO"],
    ["flush", "EDQUOT"],
    ["rename", "EROFS"],
  ])("whose %s fails with %s changes nothing", async (fop, code) => {
    await copyFromStream(one(Buffer.from("before")), there("/a"), plan());
    writeFileSync(join(directory, "new"), sparse());
    graph.xlator<ErrorGen>("failing").failNext(fop, code);
    const words = reason(new FopError(code));
    await expect(copy(here("new"), there("/a"), plan())).rejects.toThrow(
      new RegExp(`^cp: "v:/a": cannot (create|write): (${words}|short write)$`),
    );
    expect(await names()).toEqual(["a"]);
    expect((await content("/a")).toString()).toBe("before");
  });

  it("tells a failure to read as the source's", async () => {
    await copyFromStream(one(Buffer.from("before")), there("/a"), plan());
    graph.xlator<ErrorGen>("failing").failNext("readv", "EIO");
    const failure = 'cp: "v:/a": cannot read: i/o error';
    await expect(copy(there("/a"), there("/b"), plan())).rejects.toThrow(failure);
    expect(await names()).toEqual(["a"]);
  });

  it("of a stream that has more to come ends when it is stopped", async () => {
    const stop = new AbortController();
    const stream = new PassThrough();
    stream.write(Buffer.alloc(100, 1));
    const onProgress = (): void => stop.abort(new Error("enough"));
    const copying = copyFromStream(
      addAbortSignal(stop.signal, stream),
      there("/a"),
      plan({ signal: stop.signal, onProgress }),
    );
    await expect(copying).rejects.toThrow("enough");
    expect(await names()).toEqual([]);
  });

  it("that is stopped changes nothing, in any moment", async () => {
    writeFileSync(join(directory, "new"), Buffer.alloc(4 * MIB, 1));
    for (let after = 0; after <= 4; after++) {
      const stop = new AbortController();
      let pieces = 0;
      const stopped = plan({
        signal: stop.signal,
        onProgress: () => {
          if (++pieces === after) stop.abort(new Error("enough"));
        },
      });
      if (after === 0) stop.abort(new Error("enough"));
      await expect(copy(here("new"), there("/a"), stopped)).rejects.toThrow("enough");
      expect(await names()).toEqual([]);
    }
  });

  it("of a tree has its directories, links, modes and times", async () => {
    mkdirSync(join(directory, "t/d/e"), { recursive: true });
    writeFileSync(join(directory, "t/d/f"), "f", { mode: 0o600 });
    symlinkSync("d/f", join(directory, "t/l"));
    await copy(here("t"), there("/t"), plan({ recursive: true, preserve: true }));
    expect(await names("/t")).toEqual(["d", "l"]);
    expect(await volume.readlink("/t/l")).toBe("d/f");
    const before = statSync(join(directory, "t/d/f"), { bigint: true });
    const after = await volume.stat("/t/d/f");
    expect(after).toMatchObject({ mode: 0o100600 });
    expect(BigInt(after.mtime) * 1_000_000_000n + BigInt(after.mtimeNsec)).toBe(before.mtimeNs);
    await copy(there("/t"), here("back"), plan({ recursive: true }));
    expect(readdirSync(join(directory, "back"), { recursive: true }).sort()).toEqual([
      "d",
      "d/e",
      "d/f",
      "l",
    ]);
    await copy(there("/t"), there("/t2"), plan({ recursive: true }));
    expect(await names("/t2/d")).toEqual(["e", "f"]);
  });

  it("is refused where it makes no sense, and leaves no trace", async () => {
    mkdirSync(join(directory, "t"));
    writeFileSync(join(directory, "f"), "");
    await volume.mkdir("/d");
    await copyFromStream(one(Buffer.from("x")), there("/d/x"), plan());
    const cases: [Spot, Spot, string][] = [
      [here("t"), there("/t"), 'cp: "t": is a directory; -r copies it'],
      [here("f"), there("/d"), 'cp: "v:/d": is a directory; "f" is none'],
      [there("/d/x"), there("/d/x"), 'cp: "v:/d/x" and "v:/d/x": are the same file'],
      [here("none"), there("/a"), 'cp: "none": cannot stat: no such file or directory'],
      [here("f"), there("/no/dir/f"), 'cp: "v:/no/dir/f": cannot create: no such file or directory'],
    ];
    for (const [from, to, message] of cases) await expect(copy(from, to, plan())).rejects.toThrow(message);
    const recursive = plan({ recursive: true });
    await expect(copy(there("/d"), there("/d/e"), recursive)).rejects.toThrow("would never end");
    await expect(copy(there("/"), there("/d/e"), recursive)).rejects.toThrow("would never end");
    await expect(copy(here("t"), there("/d/x"), recursive)).rejects.toThrow("is no directory");
    expect(await names("/d")).toEqual(["x"]);
    expect(await names("/")).toEqual(["d"]);
  });

  it("finds names for what passes also beside the longest one", async () => {
    writeFileSync(join(directory, "f"), "x");
    const longest = `/${"ü".repeat(127)}x`;
    await copy(here("f"), there(longest), plan());
    expect((await content(longest)).toString()).toBe("x");
  });
});

async function* one(data: Buffer): AsyncGenerator<Buffer> {
  yield data;
}
