import { closeSync, writeSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Channel } from "../../mount/dev-fuse/channel.ts";
import { HEADER_IN, OPCODE } from "../../mount/dev-fuse/protocol.ts";
import type { KernelRequest } from "../../mount/dev-fuse/request.ts";
import { defaultMountOptions } from "../../mount/options.ts";
import { SILENT } from "../../src/core/log.ts";
import { EVENT_LOOP } from "../../src/os/busy-poll.ts";
import { CoreWait, Crowd } from "../../src/os/core-wait.ts";
import { setNonblocking, socketPair } from "../../src/os/fuse-dev.ts";
import { FakeClock } from "../support/fake-env.ts";
import { until } from "../support/wait.ts";

const MESSAGE_BYTES = 80;

/** The test is the kernel, on the other end of a pair of sockets. */
describe("the channel and polling", () => {
  const dispatched: KernelRequest[] = [];
  let kernel: number;
  let channel: Channel;
  let waitedNs: number;

  beforeEach(() => {
    const [device, other] = socketPair();
    kernel = other;
    setNonblocking(device);
    dispatched.length = 0;
    waitedNs = 1;
    const handler = {
      dispatch: (request: KernelRequest) => void dispatched.push(request),
      agreed: () => {},
      failed: () => {},
    };
    const cores = new CoreWait(() => `0 ${waitedNs} 0`);
    const env = { clock: new FakeClock(), log: SILENT };
    channel = new Channel(device, defaultMountOptions(), handler, env, undefined, new Crowd(1, cores));
    channel.start();
  });

  afterEach(() => {
    channel.close();
    closeSync(kernel);
    expect(EVENT_LOOP.mayPoll).toBe(true);
  });

  /** One message, and what the channel made of it. */
  async function ask(opcode: number): Promise<KernelRequest> {
    const words = new Uint32Array(MESSAGE_BYTES / 4);
    words[HEADER_IN.len] = MESSAGE_BYTES;
    words[HEADER_IN.opcode] = opcode;
    words[HEADER_IN.unique] = dispatched.length + 1;
    const count = dispatched.length;
    writeSync(kernel, new Uint8Array(words.buffer));
    await until("the request is dispatched", () => dispatched.length > count);
    return dispatched[count]!;
  }

  it("does not poll while more than one write is in flight and cores are scarce", async () => {
    const first = await ask(OPCODE.WRITE);
    expect(EVENT_LOOP.mayPoll).toBe(true);
    const second = await ask(OPCODE.WRITE);
    expect(EVENT_LOOP.mayPoll).toBe(false);
    first.reply(8);
    expect(EVENT_LOOP.mayPoll).toBe(true);
    second.refuse("EIO");
    expect(channel.inFlight).toBe(0);
  });

  it("polls for many writes where there are cores enough", async () => {
    waitedNs = 0;
    for (let writes = 0; writes < 5; writes++) await ask(OPCODE.WRITE);
    expect(EVENT_LOOP.mayPoll).toBe(true);
    for (const request of dispatched) request.refuse("EIO");
  });

  it("tells of a write whether others are in flight beside it", async () => {
    const first = await ask(OPCODE.WRITE);
    const read = await ask(OPCODE.READ);
    const second = await ask(OPCODE.WRITE);
    expect([first, read, second].map(({ inCompany }) => inCompany)).toEqual([false, false, true]);
    for (const request of dispatched) request.refuse("EIO");
    // The request objects serve again.
    expect((await ask(OPCODE.WRITE)).inCompany).toBe(false);
    dispatched.at(-1)!.refuse("EIO");
  });

  it("uses a request again when it is answered and its payload is not on loan any more", async () => {
    const first = await ask(OPCODE.WRITE);
    const leases = [first.lend(), first.lend()];
    first.reply(8);
    expect(channel.inFlight).toBe(0);
    const second = await ask(OPCODE.WRITE);
    expect(second).not.toBe(first);
    expect(EVENT_LOOP.mayPoll, "a write on loan is work under way").toBe(false);
    leases[0]!.release();
    const third = await ask(OPCODE.WRITE);
    expect(third).not.toBe(first);
    leases[1]!.release();
    const lease = third.lend();
    lease.release();
    third.reply(8);
    second.reply(8);
    // One is with the kernel already, to be filled.
    const again = [];
    for (let asked = 0; asked < 4; asked++) again.push(await ask(OPCODE.WRITE));
    expect(again).toEqual(expect.arrayContaining([first, second, third]));
    for (const request of again) request.refuse("EIO");
  });

  it("polls for reads, however many are in flight", async () => {
    for (let reads = 0; reads < 5; reads++) await ask(OPCODE.READ);
    expect(channel.inFlight).toBe(5);
    expect(EVENT_LOOP.mayPoll).toBe(true);
    for (const request of dispatched) request.refuse("EIO");
  });
});
