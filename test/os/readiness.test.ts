import { closeSync, writeSync } from "node:fs";
import { afterEach, describe, expect, it, vi } from "vitest";
import { watchFd } from "../../src/os/fd-stream.ts";
import { makePipe } from "../../src/os/libc.ts";
import { Readiness, readNow } from "../../src/os/readiness.ts";

const open = new Set<number>();

function pipe(): { readEnd: number; writeEnd: number } {
  const made = makePipe();
  open.add(made.readEnd).add(made.writeEnd);
  return made;
}

function close(fd: number): void {
  open.delete(fd);
  closeSync(fd);
}

afterEach(() => {
  for (const fd of open) close(fd);
});

describe("readiness", () => {
  it("calls the readers of what is readable, and says whether they found anything", () => {
    const readiness = new Readiness();
    const [one, two] = [pipe(), pipe()];
    const called: number[] = [];
    readiness.watch(one.readEnd, () => called.push(1) > 0);
    readiness.watch(two.readEnd, () => called.push(2) > 100);
    expect(readiness.poll()).toBe(false);
    expect(called).toEqual([]);
    writeSync(two.writeEnd, "x");
    expect(readiness.poll()).toBe(false);
    writeSync(one.writeEnd, "x");
    expect(readiness.poll()).toBe(true);
    expect(called.sort()).toEqual([1, 2, 2]);
  });

  it("tells of what nobody has read again, and of an end", () => {
    const readiness = new Readiness();
    const { readEnd, writeEnd } = pipe();
    let called = 0;
    readiness.watch(readEnd, () => called++ > 100);
    writeSync(writeEnd, "x");
    readiness.poll();
    readiness.poll();
    expect(called).toBe(2);
    close(writeEnd);
    readiness.poll();
    expect(called).toBe(3);
  });

  it("is silent about what is no longer watched", () => {
    const readiness = new Readiness();
    const { readEnd, writeEnd } = pipe();
    const reader = () => true;
    readiness.watch(readEnd, reader);
    readiness.unwatch(readEnd, reader);
    writeSync(writeEnd, "x");
    expect(readiness.poll()).toBe(false);
    readiness.watch(readEnd, reader);
    expect(readiness.poll()).toBe(true);
  });

  it("does not take a descriptor from whoever got its number next", () => {
    const readiness = new Readiness();
    const first = pipe();
    const late = () => true;
    readiness.watch(first.readEnd, late);
    close(first.readEnd);
    const second = pipe();
    expect(second.readEnd).toBe(first.readEnd);
    readiness.watch(second.readEnd, () => true);
    readiness.unwatch(first.readEnd, late);
    writeSync(second.writeEnd, "x");
    expect(readiness.poll()).toBe(true);
  });

  it("copes with more than it can ask for at once", () => {
    const readiness = new Readiness();
    const called = new Set<number>();
    for (let i = 0; i < 100; i++) {
      const { readEnd, writeEnd } = pipe();
      const byte = Buffer.alloc(1);
      readiness.watch(readEnd, () => called.add(readEnd).size > 0);
      writeSync(writeEnd, byte);
    }
    for (let i = 0; i < 4; i++) readiness.poll();
    expect(called.size).toBe(100);
  });

  it("tells when Node has something that no reader took", async () => {
    const readiness = new Readiness();
    expect(readiness.turnDue).toBeUndefined();
    const mine = pipe();
    let taken = 0;
    const stream = watchFd(mine.readEnd, { buffer: () => Buffer.alloc(8), onData: () => taken++ });
    readiness.watch(stream.fd, () => readNow(stream.fd, Buffer.alloc(8)) > 0);
    while (readiness.turnDue === undefined) await new Promise(setImmediate);
    // What runs the tests sends and gets messages of its own.
    async function untilNothingIsDue(): Promise<void> {
      await vi.waitFor(() => {
        readiness.poll();
        expect(readiness.turnDue).toBe(false);
      });
    }
    await untilNothingIsDue();

    writeSync(mine.writeEnd, "x");
    expect(readiness.poll()).toBe(true);
    expect(readiness.turnDue).toBe(false);
    await untilNothingIsDue();

    const theirs = pipe();
    const other = watchFd(theirs.readEnd, { buffer: () => Buffer.alloc(8), onData: () => taken++ });
    await new Promise((resolve) => setTimeout(resolve, 0));
    await new Promise(setImmediate);
    writeSync(theirs.writeEnd, "x");
    expect(readiness.poll()).toBe(false);
    expect(readiness.turnDue).toBe(true);
    await vi.waitFor(() => expect(taken).toBe(1));
    await untilNothingIsDue();
    stream.close();
    other.close();
  });
});
