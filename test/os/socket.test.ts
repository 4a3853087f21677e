import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { declare } from "../../src/os/libc.ts";
import { sendWithoutPacing, setSocketOption } from "../../src/os/socket.ts";

const getsockopt = declare("int getsockopt(int fd, int level, int name, void *value, void *length)");
const IPPROTO_TCP = 6;

/** The value of a TCP option as bytes. */
function option(socket: Socket, name: number): Buffer {
  const value = Buffer.alloc(16);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  expect(getsockopt(descriptor(socket), IPPROTO_TCP, name, value, length)).toBe(0);
  return value.subarray(0, length.readUInt32LE());
}

function descriptor(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

describe("socket options", () => {
  const server = createServer((accepted) => accepted.on("error", () => {}));
  let socket: Socket;
  beforeEach(async () => {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    await once(socket, "connect");
  });
  afterEach(async () => {
    socket.destroy();
    server.close();
    await once(server, "close");
  });

  it("are what the kernel says afterwards", () => {
    expect(setSocketOption(descriptor(socket), "userTimeoutMs", 12345)).toBe(true);
    expect(option(socket, 18).readInt32LE()).toBe(12345);
  });

  it("take pacing away, whatever the host's congestion control is", () => {
    expect(sendWithoutPacing(descriptor(socket))).toBe(true);
    expect(option(socket, 13).toString("latin1")).toMatch(/^reno\0/);
  });

  it("of no socket are refused without an exception", () => {
    expect(setSocketOption(0, "keepaliveCount", 3)).toBe(false);
    expect(sendWithoutPacing(0)).toBe(false);
  });
});
