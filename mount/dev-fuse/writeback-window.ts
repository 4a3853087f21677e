/**
 * How much the kernel keeps of what programs wrote before it begins to write back, where it gathers writes at
 * all: `max_bytes` of the mount's backing device, of which three quarters are its mark (Linux 6.2,
 * Documentation/ABI/testing/sysfs-class-bdi; mm/page-writeback.c, dirty_freerun_ceiling).
 *
 * The kernel's own measure for FUSE is a fifth of a per cent of the memory: 48 MiB with 24 GiB, where a
 * program that writes 64 MiB waits at the end for what could have been on its way all the time, and half a
 * gigabyte on a large host, which every fsync waits for.
 */

import { writeFile } from "node:fs/promises";
import type { Logger } from "../../src/core/log.ts";
import { mountAt } from "./mount-table.ts";

/**
 * Sets the window of the mount on `point`. A kernel that has no such measure, or a user who may not set it,
 * leaves the kernel's own: slower, never wrong.
 */
export async function setWritebackWindow(
  point: string,
  bytes: number,
  log: Logger,
  bdiRoot = "/sys/class/bdi",
): Promise<void> {
  const device = mountAt(point)?.device;
  if (device === undefined) return;
  try {
    await writeFile(`${bdiRoot}/${device}/max_bytes`, String(bytes), { flag: "r+" });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    log.info("the kernel's own measure of dirty pages stays: kernel-writeback-window has no effect", {
      code,
    });
  }
}
