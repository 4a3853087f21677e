import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isAligned } from "../../src/os/memory.ts";
import { LAST_FRAGMENT, type ReceivedRecord, RecordError, RecordReceiver } from "../../src/rpc/record.ts";
import { SLAB_BYTES_MAX, SLAB_BYTES_MIN, SlabPool } from "../../src/rpc/slab.ts";
import { Prng } from "../support/prng.ts";

const LIMIT = 4 * 1024 * 1024;

function marked(body: Buffer, last = true): Buffer {
  const mark = Buffer.alloc(4);
  mark.writeUInt32BE((last ? LAST_FRAGMENT : 0) + body.length);
  return Buffer.concat([mark, body]);
}

/** A receiver that keeps the bytes of what it delivers; records are released at once unless `keep`. */
function collector(
  options: { limit?: number; keep?: boolean; onRecord?: (record: ReceivedRecord) => void } = {},
) {
  const bodies: Buffer[] = [];
  const records: ReceivedRecord[] = [];
  const receiver = new RecordReceiver(
    {
      onRecord(record) {
        bodies.push(Buffer.concat(record.from(record.start) as Buffer[]));
        options.onRecord?.(record);
        if (options.keep) records.push(record);
        else record.release();
      },
    },
    options.limit ?? LIMIT,
    new SlabPool(),
  );
  return { receiver, bodies, records };
}

/** Reads as a socket would: into the place that the receiver gives, as much as the kernel has. */
function arrive(receiver: RecordReceiver, bytes: Buffer): void {
  receiver.feed(bytes);
}

/** Bytes that differ from body to body and place to place, made quickly. */
function body(random: Prng, size: number): Buffer {
  const pattern = random.bytes(251);
  return Buffer.alloc(size, pattern);
}

/** Buffers are compared as such: vitest compares them number by number. */
function expectSame(actual: readonly Buffer[], expected: readonly Buffer[]): void {
  expect(actual.map((one) => one.length)).toEqual(expected.map((one) => one.length));
  expect(actual.findIndex((one, index) => !one.equals(expected[index]!))).toBe(-1);
}

describe("record receiver", () => {
  it("gives the same records for one chunk, byte by byte and random splits", () => {
    const sizes = fc.array(fc.oneof(fc.nat(300), fc.nat(9000), fc.integer({ min: 60_000, max: 90_000 })), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(sizes, fc.nat(), (lengths, seed) => {
        const random = new Prng(seed);
        const bodies = lengths.map((length) => body(random, length));
        const stream = Buffer.concat(bodies.map((one) => marked(one)));
        const whole = collector();
        arrive(whole.receiver, stream);
        const pieces = collector({ keep: true });
        for (let at = 0; at < stream.length; ) {
          const size = 1 + Math.floor(random.float() * 20_000);
          arrive(pieces.receiver, stream.subarray(at, at + size));
          at += size;
        }
        expectSame(whole.bodies, bodies);
        expectSame(pieces.bodies, bodies);
        pieces.receiver.close();
        whole.receiver.close();
      }),
      { numRuns: 40, seed: 7 },
    );
  });

  it("understands a stream that comes byte by byte", () => {
    const { receiver, bodies } = collector();
    const wanted = [Buffer.from("a"), Buffer.alloc(0), Buffer.from("some more")];
    for (const byte of Buffer.concat(wanted.map((one) => marked(one)))) arrive(receiver, Buffer.from([byte]));
    expectSame(bodies, wanted);
  });

  it("keeps the bytes of held records while later ones arrive", () => {
    const random = new Prng(3);
    const { receiver, records } = collector({ keep: true });
    const sent = Array.from({ length: 300 }, (_, index) => body(random, 1 + ((index * 977) % 5000)));
    for (const one of sent) arrive(receiver, marked(one));
    expectSame(
      records.map((record) => Buffer.concat(record.from(record.start) as Buffer[])),
      sent,
    );
  });

  it("uses the same memory again when every record is released", () => {
    const { receiver } = collector();
    const places = new Set<number>();
    for (let i = 0; i < 50; i++) {
      places.add(receiver.nextBuffer().byteOffset);
      arrive(receiver, marked(Buffer.alloc(1000)));
    }
    expect(places.size).toBe(1);
  });

  it("takes larger slabs when a read fills most of one, not when small messages reach its end", () => {
    const small = marked(Buffer.alloc(300));
    const sizes = (read: (room: Buffer) => number): number => {
      const slabs = new Set<number>();
      const { receiver } = collector({
        keep: true,
        onRecord: ({ memory }) => void slabs.add(memory.length),
      });
      for (let round = 0; round < 50; round++) receiver.received(read(receiver.nextBuffer()));
      return Math.max(...slabs);
    };
    let sent = 0;
    const some = (room: Buffer, atMost: number): number => {
      const count = Math.min(room.length, atMost);
      for (let at = 0; at < count; at++) room[at] = small[sent++ % small.length]!;
      return count;
    };
    expect(sizes((room) => some(room, 4400))).toBe(SLAB_BYTES_MIN);
    sent = 0;
    expect(sizes((room) => some(room, room.length))).toBe(SLAB_BYTES_MAX);
  });

  it("leaves a record larger than its slab's rest in two parts, without copying its payload", () => {
    const seen: boolean[] = [];
    const { receiver, bodies } = collector({ keep: true, onRecord: (record) => seen.push(record.split) });
    const random = new Prng(9);
    const large = body(random, 100_000);
    const stream = marked(large);
    arrive(receiver, stream.subarray(0, 50_000));
    arrive(receiver, stream.subarray(50_000));
    expectSame(bodies, [large]);
    expect(seen).toEqual([true]);
  });

  it("joins the two parts on demand", () => {
    let joined: Buffer | undefined;
    const { receiver } = collector({
      onRecord: (record) => {
        const whole = record.joined();
        joined = Buffer.from(whole.memory.subarray(whole.start, whole.end));
      },
    });
    const large = body(new Prng(1), 100_000);
    arrive(receiver, marked(large));
    expect(joined?.equals(large)).toBe(true);
  });

  it("puts records of several fragments together", () => {
    const { receiver, bodies } = collector();
    arrive(receiver, Buffer.concat([marked(Buffer.from("one "), false), marked(Buffer.from("two"), true)]));
    arrive(receiver, marked(Buffer.from("three")));
    expect(bodies.map(String)).toEqual(["one two", "three"]);
  });

  it("refuses a record above the limit before its bytes arrive", () => {
    const { receiver } = collector({ limit: 1000 });
    const mark = Buffer.alloc(4);
    mark.writeUInt32BE(LAST_FRAGMENT + 1001);
    expect(() => arrive(receiver, mark)).toThrow(RecordError);
  });

  it("refuses fragments that sum up to more than the limit, and endless empty ones", () => {
    const large = collector({ limit: 1000 });
    expect(() => {
      for (let i = 0; i < 3; i++) arrive(large.receiver, marked(Buffer.alloc(400), false));
    }).toThrow(RecordError);
    const empty = collector();
    expect(() => {
      for (let i = 0; i < 5000; i++) arrive(empty.receiver, marked(Buffer.alloc(0), false));
    }).toThrow(RecordError);
  });

  it("delivers nothing while paused and everything after", () => {
    const { receiver, bodies } = collector();
    receiver.pause();
    arrive(receiver, Buffer.concat([marked(Buffer.from("1")), marked(Buffer.from("2"))]));
    expect(bodies).toEqual([]);
    receiver.resume();
    expect(bodies.map(String)).toEqual(["1", "2"]);
  });

  it("may be paused and resumed from inside the delivery, in order and without repeating", () => {
    let calls = 0;
    const test = collector({
      onRecord: () => {
        calls++;
        test.receiver.pause();
        if (calls % 2 === 0) test.receiver.resume();
      },
    });
    arrive(test.receiver, Buffer.concat(Array.from({ length: 9 }, (_, i) => marked(Buffer.from(String(i))))));
    for (let i = 0; i < 20; i++) test.receiver.resume();
    expect(test.bodies.map(String).join("")).toBe("012345678");
  });

  it("delivers nothing after it was closed inside a delivery", () => {
    const test = collector({ onRecord: () => test.receiver.close() });
    arrive(test.receiver, Buffer.concat([marked(Buffer.from("1")), marked(Buffer.from("2"))]));
    expect(test.bodies.map(String)).toEqual(["1"]);
  });

  describe("alignment of expected payloads", () => {
    const HEAD = 150;

    function write(random: Prng, payload: number): Buffer {
      return marked(body(random, HEAD + payload));
    }

    /** As a socket does: at most as many bytes as the buffer offered holds. */
    function read(receiver: RecordReceiver, stream: Buffer): number {
      return stream.copy(receiver.nextBuffer());
    }

    function drain(receiver: RecordReceiver, stream: Buffer): void {
      for (let at = 0; at < stream.length; ) {
        const count = read(receiver, stream.subarray(at));
        receiver.received(count);
        at += count;
      }
    }

    it.each([4096, 65_536, 131_072, 1024 * 1024])("puts payloads of %i bytes on pages", (size) => {
      const aligned: boolean[] = [];
      const { receiver } = collector({
        keep: true,
        onRecord: (record) => {
          aligned.push(isAligned(record.from(record.start + HEAD)[0]!, 4096));
          receiver.expectLike(record, record.start + HEAD);
        },
      });
      const random = new Prng(5);
      drain(receiver, write(random, size));
      drain(receiver, Buffer.concat(Array.from({ length: 5 }, () => write(random, size))));
      expect(aligned.slice(1)).toEqual(Array(5).fill(true));
    });

    it("reads anything else that comes there just as well, and aligns again after it", () => {
      const random = new Prng(6);
      const sizes = [4096, 4096, 100, 4096, 8192, 3, 70_000, 4096, 4096, 4096];
      const sent = sizes.map((size) => body(random, HEAD + size));
      const aligned: boolean[] = [];
      const test = collector({
        onRecord: (record) => {
          aligned.push(isAligned(record.from(record.start + HEAD)[0]!, 4096));
          if ((record.size - HEAD) % 512 === 0) test.receiver.expectLike(record, record.start + HEAD);
        },
      });
      drain(test.receiver, marked(sent[0]!));
      drain(test.receiver, Buffer.concat(sent.slice(1).map((one) => marked(one))));
      expectSame(test.bodies, sent);
      expect(aligned[1]).toBe(true);
      expect(aligned.at(-1)).toBe(true);
    });

    it("aligns payloads of two sizes in any order, and of one when the other comes no more", () => {
      const sizes = [
        262_144,
        131_072,
        262_144,
        131_072,
        131_072,
        262_144,
        ...Array(20).fill(262_144),
        131_072,
      ];
      const random = new Prng(9);
      const sent = sizes.map((size) => body(random, HEAD + size));
      const aligned: boolean[] = [];
      const reads: number[] = [];
      const test = collector({
        onRecord: (record) => {
          aligned.push(isAligned(record.from(record.start + HEAD)[0]!, 4096));
          test.receiver.expectLike(record, record.start + HEAD);
          reads.push(0);
        },
      });
      const stream = Buffer.concat(sent.map((one) => marked(one)));
      for (let at = 0; at < stream.length; ) {
        const count = read(test.receiver, stream.subarray(at));
        at += count;
        if (reads.length > 0) reads[reads.length - 1]!++;
        test.receiver.received(count);
      }
      expectSame(test.bodies, sent);
      expect(aligned.slice(3)).toEqual(sizes.slice(3).map(() => true));
      // A longer one takes a second read until it is what is expected.
      expect(reads.slice(8, 12)).toEqual([2, 2, 2, 2]);
      expect(reads.slice(-5, -2)).toEqual([1, 1, 1]);
    });

    it("goes on expecting what was usual after one whose head is longer for once", () => {
      const random = new Prng(7);
      const longer = HEAD + 64;
      const heads = [HEAD, HEAD, longer, HEAD, HEAD, longer, longer, longer];
      const aligned: boolean[] = [];
      const { receiver } = collector({
        onRecord: (record) => {
          const payloadAt = record.start + heads[aligned.length]!;
          aligned.push(isAligned(record.from(payloadAt)[0]!, 4096));
          receiver.expectLike(record, payloadAt);
        },
      });
      drain(receiver, Buffer.concat(heads.map((head) => marked(body(random, head + 131_072)))));
      expect(aligned.slice(1)).toEqual([true, false, true, true, false, false, true]);
    });

    it("does not expect payloads that no slab holds", () => {
      const test = collector({
        limit: 64 << 20,
        onRecord: (record) => test.receiver.expectLike(record, record.start + HEAD),
      });
      const random = new Prng(8);
      const sent = Array.from({ length: 3 }, () => body(random, HEAD + 4 * SLAB_BYTES_MAX));
      drain(test.receiver, Buffer.concat(sent.map((one) => marked(one))));
      expect(test.bodies.length).toBe(3);
      expect(test.bodies[2]!.equals(sent[2]!)).toBe(true);
    });
  });
});
