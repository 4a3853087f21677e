/** Which fop a request of the kernel counts as in figures: the one that its answer is made of. */

import type { FopName } from "../../src/core/fops.ts";
import { OPCODE } from "./protocol.ts";

/** By opcode; undefined for requests that are no file operation of their own (FORGET, RELEASE ...). */
export const FOP_OF_OPCODE: Readonly<Record<number, FopName>> = {
  [OPCODE.LOOKUP]: "lookup",
  [OPCODE.GETATTR]: "stat",
  [OPCODE.STATX]: "stat",
  [OPCODE.SETATTR]: "setattr",
  [OPCODE.READLINK]: "readlink",
  [OPCODE.SYMLINK]: "symlink",
  [OPCODE.MKNOD]: "mknod",
  [OPCODE.MKDIR]: "mkdir",
  [OPCODE.UNLINK]: "unlink",
  [OPCODE.RMDIR]: "rmdir",
  [OPCODE.RENAME]: "rename",
  [OPCODE.RENAME2]: "rename",
  [OPCODE.LINK]: "link",
  [OPCODE.OPEN]: "open",
  [OPCODE.READ]: "readv",
  [OPCODE.WRITE]: "writev",
  [OPCODE.STATFS]: "statfs",
  [OPCODE.FSYNC]: "fsync",
  [OPCODE.SETXATTR]: "setxattr",
  [OPCODE.GETXATTR]: "getxattr",
  [OPCODE.LISTXATTR]: "getxattr",
  [OPCODE.REMOVEXATTR]: "removexattr",
  [OPCODE.FLUSH]: "flush",
  [OPCODE.OPENDIR]: "opendir",
  [OPCODE.READDIR]: "readdir",
  [OPCODE.READDIRPLUS]: "readdirp",
  [OPCODE.FSYNCDIR]: "fsyncdir",
  [OPCODE.GETLK]: "lk",
  [OPCODE.SETLK]: "lk",
  [OPCODE.SETLKW]: "lk",
  [OPCODE.ACCESS]: "access",
  [OPCODE.CREATE]: "create",
  [OPCODE.FALLOCATE]: "fallocate",
  [OPCODE.LSEEK]: "seek",
  [OPCODE.COPY_FILE_RANGE]: "copy_file_range",
};
