/**
 * A kernel for tests: builds FUSE messages, hands them to a bridge and waits for the one answer that each
 * must get.
 *
 * Bodies are written field by field, by the sizes of linux/fuse.h, with no table of the code under test.
 */

import type { Bridge } from "../../mount/bridge.ts";
import { KernelRequest, type ReplySink } from "../../mount/dev-fuse/request.ts";
import { Deferred } from "../../src/core/concurrency.ts";
import { isBug } from "../../src/core/errors.ts";
import type { IoVec, Lease } from "../../src/core/iovec.ts";

export interface Answer {
  /** "ok" or the name of the errno. */
  readonly code: string;
  readonly body: Buffer;
}

export interface Sender {
  readonly uid?: number;
  readonly gid?: number;
  readonly pid?: number;
  /** Other WRITEs are in flight. */
  readonly inCompany?: boolean;
}

/** Fields of a message body: `u32(1)`, `u64(2n)`, `text("name")`. */
export function u32(...values: number[]): Buffer {
  const out = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) out.writeUInt32LE(value >>> 0, index * 4);
  return out;
}
export function u64(...values: (number | bigint)[]): Buffer {
  const out = Buffer.alloc(values.length * 8);
  for (const [index, value] of values.entries())
    out.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), index * 8);
  return out;
}
export function text(...names: (string | Buffer)[]): Buffer {
  return Buffer.concat(names.flatMap((name) => [Buffer.from(name), Buffer.from([0])]));
}

const MAX_WRITE = 64 * 1024;

/** Receives answers, and insists on one each. */
class Answers implements ReplySink {
  readonly waiting = new Map<KernelRequest, Deferred<Answer>>();
  readonly spare: KernelRequest[] = [];
  readonly bugs: unknown[] = [];
  readonly #bridge: Bridge;
  released = 0;

  constructor(bridge: Bridge) {
    this.#bridge = bridge;
  }

  send(request: KernelRequest, bodyBytes: number): void {
    this.#settle(request, "ok", request.out.subarray(16, 16 + bodyBytes));
  }

  sendData(request: KernelRequest, data: IoVec, size: number, lease: Lease | undefined): void {
    const body = Buffer.concat(data as Buffer[]);
    if (body.length !== size) throw new Error(`answer announces ${size} bytes and has ${body.length}`);
    if (lease) this.released++;
    this.#settle(request, "ok", body);
    lease?.release();
  }

  sendError(request: KernelRequest, code: string): void {
    this.#settle(request, code, Buffer.alloc(0));
  }

  drop(request: KernelRequest): void {
    this.#settle(request, "none", Buffer.alloc(0));
  }

  failed(request: KernelRequest, error: unknown): void {
    if (isBug(error)) this.bugs.push(error);
    this.#bridge.failed(request, error);
  }

  #settle(request: KernelRequest, code: string, body: Buffer): void {
    const waiting = this.waiting.get(request);
    if (waiting === undefined) throw new Error("a request was answered twice");
    this.waiting.delete(request);
    // What the test sees must not change when the request is used again.
    waiting.resolve({ code, body: Buffer.from(body) });
    if (!request.isLent) this.returned(request);
  }

  returned(request: KernelRequest): void {
    // Nobody may read the message any more.
    request.buffer.fill(0xee);
    this.spare.push(request);
  }
}

export class FakeKernel {
  readonly #bridge: Bridge;
  readonly #answers: Answers;
  #unique = 2n ** 40n;

  constructor(bridge: Bridge) {
    this.#bridge = bridge;
    this.#answers = new Answers(bridge);
  }

  /** Requests that got no answer yet. */
  get unanswered(): number {
    return this.#answers.waiting.size;
  }

  /** Failures that no fop may have. */
  get bugs(): readonly unknown[] {
    return this.#answers.bugs;
  }

  /** The same, and forgets them: for tests that provoke one. */
  takeBugs(): unknown[] {
    return this.#answers.bugs.splice(0);
  }

  /** READ answers whose memory was given back. */
  get released(): number {
    return this.#answers.released;
  }

  /** Sends a message; resolves with its answer. `unique` of it is told through `onSent`. */
  send(
    opcode: number,
    nodeid: number,
    body: readonly Buffer[] = [],
    sender: Sender & { onSent?: (unique: bigint) => void } = {},
  ): Promise<Answer> {
    const unique = this.#unique;
    this.#unique += 2n;
    const { uid = 0, gid = 0, pid = 77, inCompany = false } = sender;
    const rest = Buffer.concat(body);
    const header = [u32(40 + rest.length, opcode), u64(unique, nodeid), u32(uid, gid, pid, 0)];
    const message = Buffer.concat([...header, rest]);
    const request = this.#answers.spare.pop() ?? new KernelRequest(this.#answers, MAX_WRITE);
    message.copy(request.buffer);
    const answered = new Deferred<Answer>();
    this.#answers.waiting.set(request, answered);
    request.begin(message.length);
    request.inCompany = inCompany;
    sender.onSent?.(unique);
    this.#bridge.dispatch(request);
    return answered.promise;
  }

  /** Sends; rejects when the answer is an error. */
  async ok(
    opcode: number,
    nodeid: number,
    body: readonly Buffer[] = [],
    sender: Sender = {},
  ): Promise<Buffer> {
    const answer = await this.send(opcode, nodeid, body, sender);
    if (answer.code !== "ok") throw new Error(`opcode ${opcode}: ${answer.code}`);
    return answer.body;
  }
}
