/**
 * Socket options that Node has no call for, on the descriptor of a connected or listening socket.
 */

import { declare } from "./libc.ts";

const setsockoptCall = declare(
  "int setsockopt(int fd, int level, int name, const void *value, uint32_t length)",
);

const IPPROTO_TCP = 6;

/**
 * Options that a volfile can set, as (level, name) of Linux. Values are whole numbers: seconds, milliseconds
 * or a count.
 */
export const SOCKET_OPTIONS = {
  /** Seconds of silence before the first probe. */
  keepaliveTime: [IPPROTO_TCP, 4],
  /** Seconds between probes. */
  keepaliveInterval: [IPPROTO_TCP, 5],
  /** Probes without an answer until the connection is given up. */
  keepaliveCount: [IPPROTO_TCP, 6],
  /** Milliseconds that sent bytes may stay without acknowledgement. */
  userTimeoutMs: [IPPROTO_TCP, 18],
} as const;

const TCP_CONGESTION = 13;
/** Built into every kernel, and allowed to everybody. */
const RENO = Buffer.from("reno");

/**
 * For a connection that does not leave the host: nothing is to be probed there, and algorithms that pace
 * (BBR) hold bytes back for timers.
 */
export function sendWithoutPacing(fd: number): boolean {
  return setsockoptCall(fd, IPPROTO_TCP, TCP_CONGESTION, RENO, RENO.length) === 0;
}

/** Sets an option; false when the kernel refuses it, which is never a reason to give up a connection. */
export function setSocketOption(fd: number, option: keyof typeof SOCKET_OPTIONS, value: number): boolean {
  const [level, name] = SOCKET_OPTIONS[option];
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32LE(value);
  return setsockoptCall(fd, level, name, bytes, 4) === 0;
}
