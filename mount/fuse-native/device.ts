/**
 * libfuse 2 opens /dev/fuse without close-on-exec: every program this process starts would hold the
 * connection open, and after the death of this process a mount that nobody serves would hang instead of fail.
 * Linux only.
 */

import { readdirSync, readlinkSync } from "node:fs";
import { declare, direct } from "../../src/os/libc.ts";

const fcntl = declare("int fcntl(int fd, int command, int argument)");
const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** Marks every /dev/fuse of this process to be closed on exec. */
export function closeDeviceOnExec(): void {
  for (const fd of readdirSync("/proc/self/fd")) {
    if (targetOf(fd) === "/dev/fuse") direct("fcntl", fcntl, Number(fd), F_SETFD, FD_CLOEXEC);
  }
}

/** Undefined for a descriptor that is closed meanwhile, such as the one that listed them. */
function targetOf(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}
