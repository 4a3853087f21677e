/**
 * TCP ports for servers of tests: none that the kernel gives to outgoing connections, as a client of a dead
 * brick would soon sit on that brick's port, and none that any other process was given here, in this run or
 * another, also while its server is down.
 *
 * A port is reserved by a UDP socket of the same number, which stays open as long as the process lives: so
 * the kernel keeps the list of what is given out, and forgets those who were killed.
 */

import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

const LOOPBACK = "127.0.0.1";
/** Below what the kernel gives out by itself, from 32768 on. */
const FIRST = 12_000;
const COUNT = 20_000;

let next = randomInt(COUNT);

/**
 * A TCP port of an address of this machine that nobody listens on, and that is this process' from now on.
 */
export async function freePort(host: string = LOOPBACK): Promise<number> {
  for (let tries = 0; tries < COUNT; tries++) {
    const port = FIRST + (next++ % COUNT);
    if ((await reservePort(host, port)) && (await canListen(host, port))) return port;
  }
  throw new Error(`no port of ${host} is free`);
}

/** Whether nobody had this port; then it is this process' until its end. */
export function reservePort(host: string, port: number): Promise<boolean> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.unref();
  return new Promise((resolve, reject) => {
    socket.once("error", (error) => {
      socket.close();
      answer(error, resolve, reject);
    });
    socket.bind({ address: host, port, exclusive: true }, () => resolve(true));
  });
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", (error) => answer(error, resolve, reject));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

function answer(
  error: NodeJS.ErrnoException,
  resolve: (free: boolean) => void,
  reject: (error: Error) => void,
): void {
  if (error.code === "EADDRINUSE") resolve(false);
  else reject(error);
}
