/**
 * libc by koffi: the system calls that Node has no call for, and errno as FopError.
 *
 * `pooled` runs a call in the libuv pool, so that a call that waits for a disk holds one pool thread and
 * nothing else. A gate keeps a few pool threads free (names are resolved there too): a stalled disk can queue
 * Mortar's calls, not Node's.
 */

import koffi from "koffi";
import { errnoName, FopError } from "../core/errors.ts";
import { encodeName } from "../core/name.ts";

const POOL_THREADS = Number(process.env["UV_THREADPOOL_SIZE"] ?? 4);
/** Calls in the pool at once; the rest of the pool's threads stay free for Node. */
const POOLED_MAX = Math.max(2, POOL_THREADS - 2);

koffi.config({
  sync_stack_size: 1 << 18,
  async_stack_size: 1 << 16,
  async_heap_size: 1 << 16,
  resident_async_pools: 8,
  max_async_calls: POOLED_MAX + 8,
});

const lib = koffi.load("libc.so.6");

/**
 * A libc function that returns -1 and sets errno when it fails. Arguments are numbers, strings, buffers or
 * null.
 */
export type Argument = number | bigint | Buffer | null;
export type LibcFunction = ((...args: Argument[]) => number) & {
  async(...args: [...Argument[], (error: Error | null, result: number) => void]): void;
};

/** Declares a libc function by its C prototype. */
export function declare(prototype: string): LibcFunction {
  return lib.func(prototype) as unknown as LibcFunction;
}

/** A path, a name or the like as C wants it: its bytes and a NUL. */
export function cString(text: string | Buffer): Buffer {
  const bytes = typeof text === "string" ? encodeName(text) : text;
  const out = Buffer.allocUnsafe(bytes.length + 1);
  bytes.copy(out);
  out[bytes.length] = 0;
  return out;
}

/** The error of the call that just failed. */
export function lastError(call: string): FopError {
  return new FopError(errnoName(koffi.errno()), { fop: call });
}

/** Runs a call that never waits for a disk, here and now; throws FopError. */
export function direct(call: string, fn: LibcFunction, ...args: Argument[]): number {
  const result = fn(...args);
  if (result < 0) throw lastError(call);
  return result;
}

let running = 0;
const waiting: (() => void)[] = [];

/** Runs a call in the pool; rejects with FopError. Buffers among `args` stay untouched until it settles. */
export function pooled(call: string, fn: LibcFunction, ...args: Argument[]): Promise<number> {
  return new Promise<number>((resolve, reject) => {
    function start(): void {
      running++;
      fn.async(...args, (error, result) => {
        // errno belongs to this callback only until the next call.
        const failure = error ?? (result < 0 ? lastError(call) : null);
        running--;
        waiting.shift()?.();
        if (failure) reject(failure);
        else resolve(result);
      });
    }
    if (running < POOLED_MAX) start();
    else waiting.push(start);
  });
}

const memcpy = lib.func("uintptr_t memcpy(void *to, const void *from, size_t size)") as unknown as (
  to: Buffer,
  from: Buffer,
  size: number,
) => number | bigint;
const addresses = new WeakMap<ArrayBufferLike, number>();

/** Where a buffer's bytes lie in memory. They do not move while the buffer is referenced. */
export function addressOf(buffer: Buffer): number {
  const backing = buffer.buffer;
  let base = addresses.get(backing);
  if (base === undefined) {
    base = Number(memcpy(buffer, buffer, 0)) - buffer.byteOffset;
    addresses.set(backing, base);
  }
  return base + buffer.byteOffset;
}

const mmapCall = lib.func("void *mmap(void *at, size_t size, int prot, int flags, int fd, int64_t offset)");
const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;

/** Maps `size` bytes that the kernel shares through `fd` (an io_uring); never unmapped. */
export function mapShared(fd: number, size: number, offset: number): Buffer {
  const pointer = mmapCall(null, size, PROT_READ_WRITE, MAP_SHARED_POPULATE, fd, offset);
  if (koffi.address(pointer) === 0xffffffffffffffffn) throw lastError("mmap");
  return Buffer.from(koffi.view(pointer, size));
}

const pipeCall = declare("int pipe2(void *fds, int flags)");
const dup3Call = declare("int dup3(int from, int to, int flags)");
const O_CLOEXEC = 0o2000000;

/** A pipe: read end, write end; both closed on exec. */
export function makePipe(): { readEnd: number; writeEnd: number } {
  const fds = Buffer.alloc(8);
  direct("pipe2", pipeCall, fds, O_CLOEXEC);
  return { readEnd: fds.readInt32LE(0), writeEnd: fds.readInt32LE(4) };
}

/**
 * Makes `to` refer to what `from` refers to, closed on exec: a child must not keep a mount or a connection
 * open.
 */
export function duplicateOnto(from: number, to: number): void {
  direct("dup3", dup3Call, from, to, O_CLOEXEC);
}

const prctlCall = declare(
  "int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)",
);
const PR_SET_IO_FLUSHER = 57;

/**
 * Tells the kernel that memory reclaim may depend on this process (a mount does I/O for others); needs
 * privilege.
 */
export function setIoFlusher(): boolean {
  return prctlCall(PR_SET_IO_FLUSHER, 1, 0, 0, 0) === 0;
}
