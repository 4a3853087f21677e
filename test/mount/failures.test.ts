import { describe, expect, it } from "vitest";
import { FailureLog } from "../../mount/failures.ts";
import { FopError } from "../../src/core/errors.ts";
import { fakeEnv } from "../support/fake-env.ts";
import { u32, u64 } from "./fake-kernel.ts";
import { MountedGraph } from "./mounted-graph.ts";

const WRITE = 16;
const MINUTE_MS = 60_000;

describe("failed requests in the log", () => {
  const broken = (message: string): FopError =>
    new FopError("EIO", { fop: "writev", xlator: "vol", message });

  const write = (mount: MountedGraph, node: number, fh: number) =>
    mount.kernel.send(WRITE, node, [u64(fh, 0), u32(1, 0), u64(0), u32(2, 0), Buffer.from("x")]);

  it("are told with the file, the place and the reason, before the answer is sent", async () => {
    await using mount = await MountedGraph.start();
    const directory = await mount.mkdir("d");
    const { node, fh } = await mount.create("f", { parent: directory });
    mount.spy.answer("writev", () => Promise.reject(broken("in split brain")));
    expect((await write(mount, node, fh)).code).toBe("EIO");
    const [line, ...others] = mount.env.log.lines.filter(({ level }) => level === "warn");
    expect(others).toEqual([]);
    expect(line).toMatchObject({
      message: "a request failed",
      fields: { part: "mount", operation: "writev", path: "/d/f", error: { message: "in split brain" } },
    });
  });

  it("are not told where the errno says it all", async () => {
    await using mount = await MountedGraph.start();
    const { node, fh } = await mount.create("f");
    for (const code of ["ENOENT", "EACCES", "EEXIST", "ENODATA", "ESTALE", "EAGAIN"] as const) {
      mount.spy.answer("writev", () => Promise.reject(new FopError(code)));
      expect((await write(mount, node, fh)).code).toBe(code);
    }
    expect(mount.env.log.lines.filter(({ message }) => message === "a request failed")).toEqual([]);
  });

  it("are told once a minute each, with how often they came", async () => {
    const { clock, log } = fakeEnv();
    const failures = new FailureLog(log, clock);
    for (let count = 0; count < 5; count++) failures.tell(broken("one reason"), "writev");
    failures.tell(broken("another"), "writev");
    failures.tell(broken("one reason"), "readv");
    expect(log.lines).toHaveLength(3);
    await clock.advance(MINUTE_MS);
    for (let count = 0; count < 2; count++) failures.tell(broken("one reason"), "writev");
    expect(log.lines).toHaveLength(4);
    expect(log.lines[3]).toMatchObject({ level: "warn", fields: { operation: "writev", timesBefore: 4 } });
  });

  it("that only a bug explains are errors, told each time", () => {
    const { clock, log } = fakeEnv();
    const failures = new FailureLog(log, clock);
    const error = new TypeError("x is undefined");
    for (let count = 0; count < 2; count++) failures.tell(error, "readv");
    expect(log.lines).toEqual([
      { level: "error", message: "a request failed by a bug", fields: { operation: "readv", error } },
      { level: "error", message: "a request failed by a bug", fields: { operation: "readv", error } },
    ]);
  });
});
