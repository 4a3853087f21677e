import { closeSync, writeSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { type FdHandler, type FdStream, watchFd } from "../../src/os/fd-stream.ts";
import { setNonblocking } from "../../src/os/fuse-dev.ts";
import { makePipe } from "../../src/os/libc.ts";
import { until } from "../support/wait.ts";

const MESSAGE_BYTES = 4;

/** A pipe whose messages are four bytes each, as that is all a read asks for. */
class Messages {
  readonly #pipe = makePipe();
  /** In which turn each message arrived: what came in one turn shares a number. */
  readonly turns: number[] = [];
  #turn = 0;

  constructor() {
    setNonblocking(this.#pipe.readEnd);
  }

  watch(more: Partial<FdHandler>): FdStream {
    const stream = watchFd(this.#pipe.readEnd, {
      buffer: () => Buffer.alloc(MESSAGE_BYTES),
      ...more,
      onData: (count, buffer) => {
        this.turns.push(this.#turn);
        process.nextTick(() => {
          this.#turn++;
        });
        more.onData?.(count, buffer);
      },
    });
    stream.ref();
    return stream;
  }

  send(text: string): void {
    writeSync(this.#pipe.writeEnd, text);
  }

  close(): void {
    closeSync(this.#pipe.readEnd);
    closeSync(this.#pipe.writeEnd);
  }
}

describe("watched descriptor", () => {
  const open: { close(): void }[] = [];

  afterEach(() => {
    for (const one of open.splice(0)) one.close();
  });

  function messages(): Messages {
    const made = new Messages();
    open.push(made);
    return made;
  }

  it("hands every message over in its own turn when none is expected behind it", async () => {
    const source = messages();
    open.push(source.watch({}));
    source.send("aaaabbbbcccc");
    await until("all have arrived", () => source.turns.length === 3);
    expect(new Set(source.turns).size).toBe(3);
  });

  it("reads what is there in one turn while more is expected", async () => {
    const source = messages();
    const texts: string[] = [];
    open.push(
      source.watch({
        expectsMore: () => true,
        onData: (count, buffer) => void texts.push(buffer.toString("latin1", 0, count)),
      }),
    );
    source.send("aaaabbbbcccc");
    await until("all have arrived", () => texts.length === 3);
    expect(texts).toEqual(["aaaa", "bbbb", "cccc"]);
    expect(new Set(source.turns).size).toBe(1);
  });

  it("goes on with a message that comes after a burst", async () => {
    const source = messages();
    open.push(source.watch({ expectsMore: () => true }));
    source.send("aaaabbbb");
    await until("the burst has arrived", () => source.turns.length === 2);
    source.send("cccc");
    await until("the last one has arrived", () => source.turns.length === 3);
  });

  it("lets others have their turn in a burst that does not end", async () => {
    const source = messages();
    open.push(source.watch({ expectsMore: () => true }));
    source.send("aaaa".repeat(100));
    await until("all have arrived", () => source.turns.length === 100);
    expect(new Set(source.turns).size).toBeGreaterThan(1);
  });

  it("reads nothing after it was closed amid a burst", async () => {
    const source = messages();
    const stream: FdStream = source.watch({ expectsMore: () => true, onData: () => stream.close() });
    source.send("aaaabbbb");
    await until("the first has arrived", () => source.turns.length > 0);
    await new Promise(setImmediate);
    expect(source.turns).toHaveLength(1);
  });
});
