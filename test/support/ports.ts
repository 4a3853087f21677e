/**
 * TCP ports for servers of tests: none that the kernel gives to outgoing connections, as a client of a dead
 * brick would soon sit on that brick's port, and none that another test file of the run was given.
 */

import { randomInt } from "node:crypto";
import { createServer } from "node:net";

const LOOPBACK = "127.0.0.1";
/** Below what the kernel gives out by itself, from 32768 on. */
const FIRST = 12_000;
const COUNT = 20_000;
/** Test files that run at one time take ports of different remainders. */
const LANES = 8;

const lane = Number(process.env["VITEST_POOL_ID"] ?? 0) % LANES;
let next = randomInt(COUNT / LANES);

/** A TCP port of an address of this machine that nobody listened on a moment ago. */
export async function freePort(host: string = LOOPBACK): Promise<number> {
  for (let tries = 0; tries < COUNT / LANES; tries++) {
    const port = FIRST + lane + LANES * (next++ % (COUNT / LANES));
    if (await canListen(host, port)) return port;
  }
  throw new Error(`no port of ${host} is free`);
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(error);
    });
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}
