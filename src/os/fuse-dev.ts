/**
 * The system calls around /dev/fuse: opening it, mount(2) and umount2(2), and the descriptor that fusermount3
 * sends. Messages are read by `watchFd` (fd-stream.ts), answers go out by `writevNow` (send.ts).
 */

import { closeSync, constants, openSync } from "node:fs";
import { FopError } from "../core/errors.ts";
import { CAP_FSETID, withoutCapability } from "./capabilities.ts";
import { addressOf, cString, declare, direct, pooled } from "./libc.ts";

export const MS_RDONLY = 1;
export const MNT_DETACH = 2;

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 0o2000001;
const MSG_CMSG_CLOEXEC = 0x40000000;
const F_SETFL = 4;
/** FUSE_DEV_IOC_BACKING_OPEN and _CLOSE of linux/fuse.h. */
const IOC_BACKING_OPEN = 0x4010e501;
const IOC_BACKING_CLOSE = 0x4004e502;
const HIGH = 2 ** 32;

const c = {
  mount: declare(
    "int mount(const void *source, const void *target, const void *type, ulong flags, const void *data)",
  ),
  umount2: declare("int umount2(const void *target, int flags)"),
  socketpair: declare("int socketpair(int domain, int type, int protocol, void *fds)"),
  recvmsg: declare("int64_t recvmsg(int fd, void *message, int flags)"),
  fcntl: declare("int fcntl(int fd, int command, int argument)"),
  ioctl: declare("int ioctl(int fd, ulong request, const void *argument)"),
};

/** Opens /dev/fuse, nonblocking and closed on exec. Throws Node's system error. */
export function openFuseDevice(): number {
  return openSync("/dev/fuse", constants.O_RDWR | constants.O_NONBLOCK);
}

/** mount(2), in the pool, as the path may lie on a file system that is slow to answer. */
export async function mount(
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string,
): Promise<void> {
  await pooled("mount", c.mount, cString(source), cString(target), cString(type), flags, cString(data));
}

/** umount2(2), in the pool: it waits for requests that this process must answer. */
export async function unmount(target: string, flags: number): Promise<void> {
  await pooled("umount", c.umount2, cString(target), flags);
}

/** A pair of connected sockets, closed on exec. */
export function socketPair(): [number, number] {
  const fds = Buffer.alloc(8);
  direct("socketpair", c.socketpair, AF_UNIX, SOCK_STREAM_CLOEXEC, 0, fds);
  return [fds.readInt32LE(0), fds.readInt32LE(4)];
}

/**
 * Waits (in the pool) for one descriptor on a socket; undefined when the peer closed without sending one. The
 * descriptor is closed on exec. struct msghdr and cmsghdr as on 64-bit Linux.
 */
export async function receiveDescriptor(socket: number): Promise<number | undefined> {
  const byte = Buffer.alloc(1);
  const vector = Buffer.alloc(16);
  putAddress(vector, 0, byte);
  vector.writeUInt32LE(1, 8);
  const control = Buffer.alloc(24);
  const message = Buffer.alloc(56);
  putAddress(message, 16, vector);
  message.writeUInt32LE(1, 24);
  putAddress(message, 32, control);
  message.writeUInt32LE(control.length, 40);
  const count = await pooled("recvmsg", c.recvmsg, socket, message, MSG_CMSG_CLOEXEC);
  // The kernel wrote through the addresses above; the buffers must live until here.
  const used = byte.length + vector.length;
  const controlBytes = message.readUInt32LE(40);
  return count > 0 && used > 0 && controlBytes >= 20 ? control.readInt32LE(16) : undefined;
}

function putAddress(into: Buffer, at: number, target: Buffer): void {
  const address = addressOf(target);
  into.writeUInt32LE(address % HIGH, at);
  into.writeUInt32LE(Math.floor(address / HIGH), at + 4);
}

/** Makes reads of a descriptor fail with EAGAIN rather than wait. */
export function setNonblocking(fd: number): void {
  direct("fcntl", c.fcntl, fd, F_SETFL, constants.O_RDWR | constants.O_NONBLOCK);
}

/**
 * Lets the kernel read and write an open file by itself for this mount; the number that OPEN answers name it
 * by. Throws FopError: EPERM without CAP_SYS_ADMIN, ELOOP or EOPNOTSUPP when the file system does not do.
 *
 * The kernel writes with the rights that this thread has now, whoever asks: without CAP_FSETID, for else a
 * write by anybody would leave a file its set-id bits. (It would not tell us to take them: fs/fuse/dir.c
 * leaves that to WRITE requests, which do not come.)
 */
export function openBacking(device: number, fd: number): number {
  const map = Buffer.alloc(16);
  map.writeInt32LE(fd, 0);
  return withoutCapability(CAP_FSETID, () => direct("ioctl", c.ioctl, device, IOC_BACKING_OPEN, map));
}

/** Files that are open already keep what they have. */
export function closeBacking(device: number, id: number): void {
  const argument = Buffer.alloc(4);
  argument.writeUInt32LE(id, 0);
  c.ioctl(device, IOC_BACKING_CLOSE, argument);
}

/** Closes a descriptor that may be closed already. */
export function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EBADF") throw error;
  }
}

/** Whether an error says that the other end (the mount) is gone. */
export function isGoneDevice(error: unknown): boolean {
  const code = error instanceof FopError ? error.code : (error as NodeJS.ErrnoException | null)?.code;
  return code === "ENODEV" || code === "ECONNABORTED" || code === "EBADF";
}
