/**
 * The bridge: one dispatcher from kernel requests to fops, by inode. It knows opcodes and answers; what each
 * request means is in `requests/`.
 *
 * Every request gets exactly one answer (or none, where the kernel wants none), also when a handler throws.
 */

import { FOP_OF_OPCODE } from "./dev-fuse/opcodes.ts";
import { OPCODE } from "./dev-fuse/protocol.ts";
import type { KernelRequest } from "./dev-fuse/request.ts";
import * as attributes from "./requests/attributes.ts";
import * as directories from "./requests/directories.ts";
import * as entries from "./requests/entries.ts";
import * as files from "./requests/files.ts";
import * as locks from "./requests/locks.ts";
import * as xattrs from "./requests/xattrs.ts";
import type { MountState } from "./state.ts";

/** Resolves to the bytes of body it wrote, or to a body of its own. */
type Handler = (state: MountState, request: KernelRequest) => Promise<number | Buffer>;

const HANDLERS: Readonly<Record<number, Handler>> = {
  [OPCODE.LOOKUP]: entries.lookup,
  [OPCODE.GETATTR]: attributes.getattr,
  [OPCODE.SETATTR]: attributes.setattr,
  [OPCODE.READLINK]: entries.readlink,
  [OPCODE.SYMLINK]: entries.symlink,
  [OPCODE.MKNOD]: entries.mknod,
  [OPCODE.MKDIR]: entries.mkdir,
  [OPCODE.UNLINK]: entries.unlink,
  [OPCODE.RMDIR]: entries.rmdir,
  [OPCODE.RENAME]: entries.rename,
  [OPCODE.LINK]: entries.link,
  [OPCODE.OPEN]: files.open,
  [OPCODE.STATFS]: attributes.statfs,
  [OPCODE.RELEASE]: files.release,
  [OPCODE.SETXATTR]: xattrs.setxattr,
  [OPCODE.GETXATTR]: xattrs.getxattr,
  [OPCODE.LISTXATTR]: xattrs.listxattr,
  [OPCODE.REMOVEXATTR]: xattrs.removexattr,
  [OPCODE.FLUSH]: files.flush,
  [OPCODE.OPENDIR]: directories.opendir,
  [OPCODE.READDIR]: directories.readdir,
  [OPCODE.RELEASEDIR]: directories.releasedir,
  [OPCODE.FSYNCDIR]: directories.fsyncdir,
  [OPCODE.GETLK]: locks.getlk,
  [OPCODE.SETLK]: locks.setlk,
  [OPCODE.SETLKW]: locks.setlkw,
  [OPCODE.ACCESS]: attributes.access,
  [OPCODE.CREATE]: entries.create,
  [OPCODE.FALLOCATE]: files.fallocate,
  [OPCODE.READDIRPLUS]: directories.readdirplus,
  [OPCODE.RENAME2]: entries.rename2,
  [OPCODE.LSEEK]: files.lseek,
  [OPCODE.COPY_FILE_RANGE]: files.copyFileRange,
  [OPCODE.STATX]: attributes.statx,
};

/** Handlers that answer by themselves, or need no answer. */
const AT_ONCE: Readonly<Record<number, (state: MountState, request: KernelRequest) => void>> = {
  [OPCODE.FSYNC]: files.fsync,
  [OPCODE.FORGET]: forget,
  [OPCODE.BATCH_FORGET]: batchForget,
  [OPCODE.INTERRUPT]: interrupt,
  [OPCODE.DESTROY]: (_state, request) => request.replyEmpty(),
};

function forget(state: MountState, request: KernelRequest): void {
  entries.forget(state, request);
  request.drop();
}

function batchForget(state: MountState, request: KernelRequest): void {
  entries.batchForget(state, request);
  request.drop();
}

function interrupt(state: MountState, request: KernelRequest): void {
  locks.interrupt(state, request);
  request.drop();
}

export class Bridge {
  readonly state: MountState;

  constructor(state: MountState) {
    this.state = state;
  }

  /** Takes one message. INIT is not for the bridge: the channel negotiates. Never throws. */
  dispatch(request: KernelRequest): void {
    const { opcode } = request;
    try {
      // The two that come by the million are not looked up.
      if (opcode === OPCODE.WRITE) files.write(this.state, request);
      else if (opcode === OPCODE.READ) files.read(this.state, request);
      else if (AT_ONCE[opcode] !== undefined) AT_ONCE[opcode](this.state, request);
      else this.#handle(opcode, request);
    } catch (error) {
      request.fail(error);
    }
  }

  /** Tells the log why a request fails, where the errno alone does not say it. */
  failed(request: KernelRequest, error: unknown): void {
    const { nodes, failures } = this.state;
    const operation = FOP_OF_OPCODE[request.opcode] ?? `opcode ${request.opcode}`;
    failures.tell(error, operation, () => nodes.pathOf(request.nodeid));
  }

  #handle(opcode: number, request: KernelRequest): void {
    const handler = HANDLERS[opcode];
    if (handler === undefined) {
      // BMAP, IOCTL, POLL, SYNCFS, TMPFILE and what newer kernels bring: the kernel knows what to do without.
      request.refuse("ENOSYS");
      return;
    }
    handler(this.state, request).then(
      (body) => (typeof body === "number" ? request.reply(body) : request.replyBytes(body)),
      request.fail,
    );
  }
}
