/** The control socket: found by the mount point, for its user alone, hard to confuse. */

import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { QUESTION_BYTES_MAX } from "../../src/control/messages.ts";
import { ask, type ControlSocket, serveControl } from "../../src/control/socket.ts";
import { UserError } from "../../src/core/errors.ts";
import { MemoryLog } from "../support/fake-env.ts";

const base = mkdtempSync(join(tmpdir(), "mortar-control-"));
afterAll(() => rmSync(base, { recursive: true, force: true }));
const directory = join(base, "run");
const mountpoint = join(base, "mnt");
const log = new MemoryLog();

async function serving(answer: (question: unknown) => Promise<unknown>): Promise<ControlSocket & Disposable> {
  const socket = await serveControl(mountpoint, answer, log, directory);
  return { ...socket, [Symbol.dispose]: () => socket.close() };
}

/** Says something raw, and hears all that comes back. */
function say(path: string, text: string | Buffer, end = false): Promise<string> {
  return new Promise((done) => {
    let heard = "";
    const socket = createConnection(path);
    socket.on("data", (chunk) => {
      heard += chunk;
    });
    socket.on("error", () => {});
    socket.on("close", () => done(heard));
    if (end) socket.end(text);
    else socket.write(text);
  });
}

describe("a control socket", () => {
  it("answers what is asked, with the question as it came", async () => {
    using _served = await serving(async (question) => ({ mountpoint: JSON.stringify(question) }));
    const answer = await ask(mountpoint, "get", { key: "a\nb" }, directory);
    expect(answer).toEqual({ mountpoint: '{"command":"get","key":"a\\nb"}' });
  });

  it("is found by way of symbolic links too", async () => {
    using _served = await serving(async () => "here");
    symlinkSync(base, join(base, "link"));
    expect(await ask(join(base, "link", "mnt"), "hello", {}, directory)).toBe("here");
  });

  it("is for its user alone, and gone with its mount", async () => {
    const served = await serving(async () => "");
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(served.path).mode & 0o777).toBe(0o600);
    served.close();
    expect(existsSync(served.path)).toBe(false);
    await expect(ask(mountpoint, "hello", {}, directory)).rejects.toThrow(/no mount of Mortar's is there/);
  });

  it("that a killed process left is passed by and removed", async () => {
    using served = await serving(async () => "alive");
    const stale = served.path.replace(/-\d+\.sock$/, "-1.sock");
    writeFileSync(stale, "");
    expect(await ask(mountpoint, "hello", {}, directory)).toBe("alive");
    served.close();
    writeFileSync(stale, "");
    await expect(ask(mountpoint, "hello", {}, directory)).rejects.toThrow(UserError);
    expect(readdirSync(directory)).toEqual([]);
  });

  it("begins by removing those of other mounts that were killed, and no others", async () => {
    using alive = await serving(async () => "alive");
    writeFileSync(join(directory, `${"0".repeat(24)}-1.sock`), "");
    const other = await serveControl(join(base, "other"), async () => "other", log, directory);
    expect(readdirSync(directory).sort()).toEqual(
      [alive.path, other.path].map((path) => basename(path)).sort(),
    );
    other.close();
  });

  it("passes refusals on in one line, and logs what is a bug", async () => {
    using _refusing = await serving(async () => {
      throw new UserError("not so");
    });
    await expect(ask(mountpoint, "hello", {}, directory)).rejects.toThrow(/^.*mnt: not so$/);
    _refusing.close();
    using _broken = await serving(async () => {
      throw new Error("oops");
    });
    await expect(ask(mountpoint, "hello", {}, directory)).rejects.toThrow(/cannot be answered: oops/);
    expect(log.lines.at(-1)).toMatchObject({ level: "error", message: "a question could not be answered" });
  });

  it("takes nonsense, too much and nothing at all", async () => {
    let asked = 0;
    using served = await serving(async () => ++asked);
    expect(await say(served.path, "nonsense\n")).toMatch(/"error":"control: not a line of JSON"/);
    expect(await say(served.path, Buffer.alloc(QUESTION_BYTES_MAX + 1, 65))).toBe("");
    expect(await say(served.path, "", true)).toBe("");
    expect(await say(served.path, '{"command":"hel', true)).toBe("");
    expect(asked).toBe(0);
    expect(await ask(mountpoint, "hello", {}, directory)).toBe(1);
  });

  it("that cannot be made says where", async () => {
    const file = join(base, "file");
    writeFileSync(file, "");
    await expect(serveControl(mountpoint, async () => 0, log, file)).rejects.toThrow(
      /^control socket "[^"]*\/file\/[0-9a-f]{24}-\d+\.sock": /,
    );
  });
});
