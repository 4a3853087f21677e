import { existsSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { createServer, connect as netConnect } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EVENT_LOOP } from "../../src/os/busy-poll.ts";
import { isAligned } from "../../src/os/memory.ts";
import { LAST_FRAGMENT, RECORD_BYTES_MAX, type ReceivedRecord } from "../../src/rpc/record.ts";
import type { ConnectTarget, Listener, ListenTarget, Transport } from "../../src/rpc/transport.ts";
import { connectSocket, listenSocket, resolveHost } from "../../src/rpc/transport-tcp.ts";

const WAIT_MS = 10_000;

function marked(...parts: Buffer[]): Buffer[] {
  const mark = Buffer.alloc(4);
  mark.writeUInt32BE(LAST_FRAGMENT + parts.reduce((size, part) => size + part.length, 0));
  return [mark, ...parts];
}

/** One end with all that it hears. */
class End {
  readonly records: Buffer[] = [];
  readonly closes: (string | undefined)[] = [];
  readonly transport: Transport;

  constructor(transport: Transport, onRecord?: (record: ReceivedRecord) => void) {
    this.transport = transport;
    transport.receiver.limitBytes = RECORD_BYTES_MAX;
    transport.start({
      onRecord: (record) => {
        this.records.push(Buffer.concat(record.from(record.start) as Buffer[]));
        onRecord?.(record);
        record.release();
      },
      onClose: (why) => this.closes.push(why),
    });
  }
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`nothing after ${WAIT_MS} ms: ${condition}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

let directory: string;
const open: (Listener | Transport)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mortar-transport-"));
});

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
  rmSync(directory, { recursive: true, force: true });
});

/** A connected pair over a real socket. */
async function pair(
  listen: ListenTarget,
  onRecord?: (record: ReceivedRecord, transport: Transport) => void,
): Promise<{ client: End; server: End; listener: Listener }> {
  let accepted: Transport | undefined;
  const listener = await listenSocket(listen, (transport) => {
    accepted = transport;
  });
  open.push(listener);
  const target: ConnectTarget =
    listen.kind === "unix" ? listen : { kind: "tcp", host: listen.host!, port: listener.port };
  const client = new End(await connectSocket(target));
  await until(() => accepted !== undefined);
  const transport = accepted!;
  const server = new End(transport, onRecord && ((record) => onRecord(record, transport)));
  open.push(client.transport, server.transport);
  return { client, server, listener };
}

const V4: ListenTarget = { kind: "tcp", host: "127.0.0.1", port: 0 };

describe("socket transport", () => {
  it.each([
    ["IPv4", (): ListenTarget => V4, "127.0.0.1"],
    ["IPv6", (): ListenTarget => ({ kind: "tcp", host: "::1", port: 0 }), "::1"],
    ["a unix socket", (): ListenTarget => ({ kind: "unix", path: join(directory, "s") }), "unix"],
  ])("carries messages both ways over %s", async (_what, listen, host) => {
    const { client, server } = await pair(listen());
    client.transport.send(marked(Buffer.from("to"), Buffer.from(" you")));
    server.transport.send(marked(Buffer.from("and back")));
    await until(() => client.records.length === 1 && server.records.length === 1);
    expect([String(server.records[0]), String(client.records[0])]).toEqual(["to you", "and back"]);
    expect(server.transport.peer.host).toBe(host);
    expect(client.transport.flushed).toBe(1);
  });

  it("carries megabytes to a slow reader, in order, and gives each lease back once", async () => {
    const { client, server } = await pair(V4);
    server.transport.pause();
    const released = new Array<number>(100).fill(0);
    const payload = Buffer.alloc(1 << 20, "0123456789abcdef");
    for (let i = 0; i < 100; i++)
      client.transport.send(marked(Buffer.from([i]), payload), { release: () => released[i]!++ });
    await until(() => client.transport.flushed > 0);
    expect(client.transport.flushed).toBeLessThan(100);
    expect(client.transport.backlogBytes).toBeGreaterThan(0);
    server.transport.resume();
    await until(() => server.records.length === 100);
    expect(server.records.map((record) => record[0])).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(server.records.every((record) => record.subarray(1).equals(payload))).toBe(true);
    await until(() => client.transport.flushed === 100);
    expect(released).toEqual(new Array(100).fill(1));
    expect(client.transport.backlogBytes).toBe(0);
  });

  it("sends many buffers of one turn as they are", async () => {
    const { client, server } = await pair(V4);
    const sent = Array.from({ length: 3000 }, (_, index) => Buffer.from(`message ${index}`));
    for (const one of sent) client.transport.send(marked(one));
    await until(() => server.records.length === sent.length);
    expect(server.records.map(String)).toEqual(sent.map(String));
  });

  it("sends at once what is to leave promptly, but not before what waits", async () => {
    const { client, server } = await pair(V4);
    let released = 0;
    const lease = { release: () => released++ };
    client.transport.send(marked(Buffer.from("one")), lease, true);
    expect([client.transport.flushed, client.transport.backlogBytes, released]).toEqual([1, 0, 1]);
    client.transport.send(marked(Buffer.from("two")), lease);
    client.transport.send(marked(Buffer.from("three")), lease, true);
    expect([client.transport.flushed, released]).toEqual([1, 1]);
    await until(() => server.records.length === 3);
    expect(server.records.map(String)).toEqual(["one", "two", "three"]);
    expect(released).toBe(3);
  });

  it("sends what is to leave promptly though the kernel has no room for all of it", async () => {
    const { client, server } = await pair(V4);
    server.transport.pause();
    const payload = Buffer.alloc(64 << 20, "0123456789abcdef");
    client.transport.send(marked(payload), undefined, true);
    client.transport.send(marked(Buffer.from("after")), undefined, true);
    expect([client.transport.flushed, server.records.length]).toEqual([0, 0]);
    server.transport.resume();
    await until(() => server.records.length === 2);
    expect(server.records[0]!.equals(payload)).toBe(true);
    expect(String(server.records[1])).toBe("after");
  });

  it("tells of the end after the turn when what is to leave promptly cannot", async () => {
    const { client, server } = await pair(V4);
    server.transport.close();
    let [given, released] = [0, 0];
    await until(() => {
      given++;
      client.transport.send(marked(Buffer.from("late")), { release: () => released++ }, true);
      return client.closes.length > 0;
    });
    expect(released).toBe(given);
    expect(client.closes).toHaveLength(1);
  });

  it("receives like payloads on pages", async () => {
    const aligned: boolean[] = [];
    const { client, server } = await pair(V4, (record, transport) => {
      const payloadAt = record.start + 100;
      aligned.push(isAligned(record.from(payloadAt)[0]!, 4096));
      transport.receiver.expectLike(record, payloadAt);
    });
    const message = marked(Buffer.alloc(100, 1), Buffer.alloc(131_072, 2));
    for (let i = 0; i < 20; i++) {
      client.transport.send(message);
      await until(() => server.records.length === i + 1);
    }
    expect(aligned.slice(1)).toEqual(new Array(19).fill(true));
  });

  it("keeps bytes in order when it is read past Node and by Node in turn, whatever their sizes", async () => {
    let wasAwake = false;
    const { client, server } = await pair(V4, (record, transport) => {
      wasAwake ||= EVENT_LOOP.awake;
      transport.send(marked(Buffer.concat(record.from(record.start) as Buffer[])));
    });
    const sizes = [1, 100, 4200, 8184, 8188, 8189, 9000, 70_000, 300_000];
    const sent: Buffer[] = [];
    for (let round = 0; round < 600; round++) {
      const burst = round % 7 === 0 ? 3 : 1;
      for (let i = 0; i < burst; i++) {
        const message = Buffer.alloc(sizes[(round * 5 + i) % sizes.length]!, round % 251);
        message.writeUInt8(i);
        sent.push(message);
        client.transport.send(marked(message));
      }
      // Now and then both ends go to sleep, or do not read for a while.
      if (round % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 3));
      if (round % 60 === 59) {
        server.transport.pause();
        client.transport.send(marked(Buffer.alloc(20_000, 9)));
        sent.push(Buffer.alloc(20_000, 9));
        await new Promise((resolve) => setImmediate(resolve));
        server.transport.resume();
      }
      await until(() => client.records.length === sent.length);
    }
    expect(client.records.every((record, i) => record.equals(sent[i]!))).toBe(true);
    expect(wasAwake).toBe(availableParallelism() > 1);
  });

  it("releases leases and tells of the end when the peer goes away under a backlog", async () => {
    const { client, server } = await pair(V4);
    server.transport.pause();
    let released = 0;
    for (let i = 0; i < 64; i++)
      client.transport.send(marked(Buffer.alloc(1 << 20)), { release: () => released++ });
    await until(() => client.transport.flushed > 0);
    server.transport.close();
    await until(() => client.closes.length > 0);
    expect(released).toBe(64);
    expect(client.closes).toEqual(["the peer closed the connection"]);
    expect(server.closes).toEqual([undefined]);
    client.transport.send(marked(Buffer.alloc(1)), { release: () => released++ });
    expect(released).toBe(65);
  });

  it("ends a connection whose peer breaks record marking", async () => {
    const ends: End[] = [];
    const listener = await listenSocket(V4, (transport) => {
      ends.push(new End(transport));
      transport.receiver.limitBytes = 1000;
    });
    open.push(listener);
    const raw = netConnect(listener.port, "127.0.0.1");
    const closed = new Promise((resolve) => raw.once("close", resolve));
    raw.on("error", () => {});
    raw.write(Buffer.from("800003e9", "hex"));
    await closed;
    expect(ends[0]!.closes).toEqual(["record of 1001 bytes, at most 1000 are allowed"]);
  });

  it("tells in plain words why it cannot connect", async () => {
    await expect(connectSocket({ kind: "tcp", host: "127.0.0.1", port: 1 })).rejects.toThrow(
      "127.0.0.1:1: connection refused",
    );
    await expect(connectSocket({ kind: "unix", path: join(directory, "none") })).rejects.toThrow(
      "no such socket",
    );
  });

  it("tells that an address is in use", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.once("listening", resolve));
    const { port } = taken.address() as { port: number };
    try {
      await expect(listenSocket({ kind: "tcp", host: "127.0.0.1", port }, () => {})).rejects.toMatchObject({
        code: "EADDRINUSE",
        message: `127.0.0.1:${port}: address in use`,
      });
    } finally {
      taken.close();
    }
  });

  it("replaces a socket file that nobody listens on, and only that", async () => {
    const path = join(directory, "s");
    const dead = createServer().listen(path);
    await new Promise((resolve) => dead.once("listening", resolve));
    await expect(listenSocket({ kind: "unix", path }, () => {})).rejects.toMatchObject({
      code: "EADDRINUSE",
    });
    // A process that dies leaves its file; closing a handle without unlinking is the nearest that one process
    // can do.
    renameSync(path, `${path}.left`);
    await new Promise((resolve) => dead.close(resolve));
    renameSync(`${path}.left`, path);
    expect(existsSync(path)).toBe(true);
    open.push(await listenSocket({ kind: "unix", path }, () => {}));
  });

  it("stops listening when asked, though connections are open", async () => {
    const { client, listener } = await pair(V4);
    const closing = listener.close();
    await expect(connectSocket({ kind: "tcp", host: "127.0.0.1", port: listener.port })).rejects.toThrow();
    client.transport.close();
    await closing;
  });

  it("finds the addresses of a name", async () => {
    expect(await resolveHost("localhost")).toContain("127.0.0.1");
    expect(await resolveHost("nobody.invalid")).toEqual([]);
  });

  it("takes another privileged port while the one it just had is still remembered by the kernel", async (context) => {
    if (process.getuid?.() !== 0) context.skip("ports below 1024 need root");
    let accepted = 0;
    const listener = await listenSocket({ kind: "tcp", host: "127.0.0.1", port: 0 }, (transport) => {
      accepted++;
      open.push(new End(transport).transport);
    });
    open.push(listener);
    const target: ConnectTarget = {
      kind: "tcp",
      host: "127.0.0.1",
      port: listener.port,
      tuning: { privilegedPort: true },
    };
    for (let connection = 1; connection <= 5; connection++) {
      const transport = await connectSocket(target);
      await until(() => accepted === connection);
      transport.close();
    }
  });
});
