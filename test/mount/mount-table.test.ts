import { describe, expect, it } from "vitest";
import { mountAt, parseMountTable } from "../../mount/dev-fuse/mount-table.ts";

const TABLE = `22 27 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
42 27 0:39 / /mnt/a\\040b\\134c rw,nosuid,nodev - fuse.mortar host:/v\\040w rw,user_id=0
43 27 0:40 / /mnt/\\303\\274 rw shared:1 master:2 - tmpfs tmpfs rw
junk
`;

describe("the mount table", () => {
  it("is read with blanks, backslashes and bytes above ASCII undone, whatever optional fields there are", () => {
    expect(parseMountTable(TABLE)).toEqual([
      { id: "22", device: "0:20", escapedPoint: "/sys", point: "/sys", type: "sysfs", source: "sysfs" },
      {
        id: "42",
        device: "0:39",
        escapedPoint: "/mnt/a\\040b\\134c",
        point: "/mnt/a b\\c",
        type: "fuse.mortar",
        source: "host:/v w",
      },
      {
        id: "43",
        device: "0:40",
        escapedPoint: "/mnt/\\303\\274",
        point: "/mnt/ü",
        type: "tmpfs",
        source: "tmpfs",
      },
    ]);
  });

  it("knows the root of this machine", () => {
    expect(mountAt("/")?.point).toBe("/");
    expect(mountAt("/no/such/mount")).toBeUndefined();
  });
});
