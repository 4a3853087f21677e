/**
 * Whether anybody may write a file: any process, through any open file or shared mapping, reached by whatever
 * mount. The kernel tells by refusing a lease, fcntl(2) F_SETLEASE: a read lease is for files that nobody has
 * open for writing.
 *
 * The lease is given back at once. Somebody who opens the file in between waits for that, and this process is
 * told by SIGURG, which means nothing to it; the usual SIGIO would end it.
 */

import { FopError } from "../core/errors.ts";
import { declare, direct } from "./libc.ts";

const F_SETSIG = 10;
const F_SETLEASE = 1024;
const F_RDLCK = 0;
const F_UNLCK = 2;
const SIGURG = 23;

const fcntl = declare("int fcntl(int fd, int command, int argument)");

/**
 * `fd` is open for reading alone; what else is open for writing counts, this process' own descriptors, too.
 * Throws FopError where nobody can tell: EINVAL or EOPNOTSUPP from a file system without leases, or when the
 * system has them off (fs.leases-enable), EACCES for another user's file.
 */
export function mayBeWritten(fd: number): boolean {
  direct("fcntl", fcntl, fd, F_SETSIG, SIGURG);
  try {
    direct("fcntl", fcntl, fd, F_SETLEASE, F_RDLCK);
  } catch (error) {
    if (error instanceof FopError && error.code === "EAGAIN") return true;
    throw error;
  }
  direct("fcntl", fcntl, fd, F_SETLEASE, F_UNLCK);
  return false;
}
