import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import * as files from "../../src/os/files.ts";

const dir = mkdtempSync(join(tmpdir(), "mortar-files-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const at = (name: string): string => join(dir, name);

describe("local files", () => {
  it("tell times to the nanosecond, before 1970 too, and of a symlink itself", async () => {
    writeFileSync(at("t"), "");
    symlinkSync("t", at("s"));
    await files.utimens(at("s"), { atime: -5, atimeNsec: 1, mtime: 2 ** 33, mtimeNsec: 999999999 });
    await files.utimens(at("t"), { mtime: 7, mtimeNsec: 8 });
    expect(await files.lstat(at("s"))).toMatchObject({ mtime: 2 ** 33, mtimeNsec: 999999999 });
    expect(await files.lstat(at("t"))).toMatchObject({ mtime: 7, mtimeNsec: 8 });
  });

  it("leave a time alone that is not given", async () => {
    writeFileSync(at("omit"), "");
    await files.utimens(at("omit"), { atime: 1, atimeNsec: 2, mtime: 3, mtimeNsec: 4 });
    await files.utimens(at("omit"), { mtime: 9 });
    expect(await files.lstat(at("omit"))).toMatchObject({ atime: 1, atimeNsec: 2, mtime: 9, mtimeNsec: 0 });
  });

  it("carry xattrs of any bytes, large ones too, and tell a missing one from an empty one", async () => {
    writeFileSync(at("x"), "");
    const large = Buffer.alloc(3000, 0xfe);
    await files.lsetxattr(at("x"), "user.large", large);
    await files.lsetxattr(at("x"), "user.empty", Buffer.alloc(0));
    expect(await files.lgetxattr(at("x"), "user.large")).toEqual(large);
    expect(await files.lgetxattr(at("x"), "user.empty")).toEqual(Buffer.alloc(0));
    expect(await files.lgetxattr(at("x"), "user.none")).toBeUndefined();
    expect((await files.llistxattr(at("x"))).sort()).toEqual(["user.empty", "user.large"]);
    await files.lremovexattr(at("x"), "user.empty");
    await expect(files.lremovexattr(at("x"), "user.empty")).rejects.toMatchObject({ code: "ENODATA" });
    await expect(files.lsetxattr(at("x"), "user.large", large, 1)).rejects.toMatchObject({ code: "EEXIST" });
  });

  it("keep names that are not UTF-8", async () => {
    mkdirSync(at("bytes"));
    const name = Buffer.concat([Buffer.from(`${at("bytes")}/`), Buffer.from([0xff, 0x41, 0xc3])]);
    closeSync(await files.open(name, 0o102, 0o600));
    const [entry] = await files.readdir(at("bytes"));
    expect(entry?.type).toBe(8);
    const stat = await files.lstat(join(at("bytes"), entry!.name));
    expect(stat.mode & 0o777).toBe(0o600);
  });

  it("never follow a symlink when they open", async () => {
    symlinkSync("/etc/passwd", at("trap"));
    await expect(files.open(at("trap"), 0)).rejects.toMatchObject({ code: "ELOOP" });
  });

  it("find data and holes, punch and keep the size", async () => {
    const fd = openSync(at("sparse"), "w+");
    await files.ftruncate(fd, 1 << 20);
    expect(await files.seek(fd, 0, "hole")).toBe(0);
    await expect(files.seek(fd, 0, "data")).rejects.toMatchObject({ code: "ENXIO" });
    await files.fallocate(fd, 1, 0, 4 << 20);
    expect(files.fstat(fd).size).toBe(1 << 20);
    closeSync(fd);
  });

  it("make device nodes with large numbers", async () => {
    await files.mknod(at("dev"), 0o020600, 259, 70000);
    expect(await files.lstat(at("dev"))).toMatchObject({ rdevMajor: 259, rdevMinor: 70000 });
  });

  it("run far more calls than the pool has threads", async () => {
    const stats = await Promise.all(Array.from({ length: 500 }, () => files.lstat(dir)));
    expect(new Set(stats.map((stat) => stat.ino)).size).toBe(1);
  });
});
