/**
 * The guest's view: writers with O_DIRECT go on while bricks are killed and come back in turn, and a healer
 * works beside them. No call fails, what was acknowledged is read back, and in the end all copies are the
 * same.
 *
 * MORTAR_TEST_CYCLES=100 runs the full count; the usual one keeps the suite short.
 */

import { randomInt } from "node:crypto";
import { afterAll, describe, expect, it } from "vitest";
import { casts } from "../support/casts.ts";
import { describeMarks, pendingMarks } from "../support/copies.ts";
import type { FileAgent } from "../support/file-agent.ts";
import { Lab } from "../support/peers.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { Scene } from "../support/scene.ts";
import { until } from "../support/wait.ts";

const CYCLES = Number(process.env.MORTAR_TEST_CYCLES ?? 3);
const BLOCK = 4096;
/** Blocks of each writer's part of the image. */
const BLOCKS = 512;
const WRITERS = 3;
/** Acknowledged writes that must come in while a brick is away, and again when it is back. */
const PROGRESS = 100;
/** Every so many writes one block is read back. */
const READ_EVERY = 8;
const IMAGE = "image";
const CYCLE_MS = 60_000;

const lab = new Lab("replicate-guest");
afterAll(() => lab.close());

/** Writes blocks at random into its part of the image, and knows what each has to hold. */
class Writer {
  acknowledged = 0;
  readonly #agent: FileAgent = lab.agent({ timeoutMs: CYCLE_MS });
  readonly #path: string;
  readonly #number: number;
  readonly #generations = new Array<number>(BLOCKS).fill(0);
  #stopping = false;

  constructor(path: string, number: number) {
    this.#path = path;
    this.#number = number;
  }

  /** Rejects with the first call that fails or block that is not what was written. */
  async run(): Promise<void> {
    const fd = await this.#agent.open(this.#path, "O_RDWR|O_DIRECT");
    while (!this.#stopping) {
      const index = randomInt(BLOCKS);
      const generation = this.acknowledged + 1;
      await this.#agent.write(fd, this.#block(index, generation), this.#offset(index));
      this.#generations[index] = generation;
      this.acknowledged++;
      if (this.acknowledged % READ_EVERY === 0) await this.#check(fd, randomInt(BLOCKS));
    }
    await this.#agent.close(fd);
  }

  stop(): void {
    this.#stopping = true;
  }

  /** Every block, through a file that is opened anew. */
  async checkAll(): Promise<void> {
    const fd = await this.#agent.open(this.#path, "O_RDONLY|O_DIRECT");
    for (let index = 0; index < BLOCKS; index++) await this.#check(fd, index);
    await this.#agent.close(fd);
    await this.#agent.process.kill();
  }

  async #check(fd: number, index: number): Promise<void> {
    const seen = await this.#agent.read(fd, BLOCK, this.#offset(index));
    const wanted = this.#block(index, this.#generations[index]!);
    expectSameBytes(seen, wanted, `writer ${this.#number}, block ${index}`);
  }

  /** Zeroes before the first write. */
  #block(index: number, generation: number): Buffer {
    if (generation === 0) return Buffer.alloc(BLOCK);
    return Buffer.alloc(BLOCK, `writer ${this.#number} block ${index} generation ${generation} `);
  }

  #offset(index: number): number {
    return (this.#number * BLOCKS + index) * BLOCK;
  }
}

describe.each(casts())("%s", (cast) => {
  it(
    `lives through ${CYCLES} deaths and returns of bricks (MORTAR_TEST_CYCLES=100 for the full count)`,
    async () => {
      // A brick that dies is noticed at once; one that hangs is another test's.
      const scene = await Scene.open(lab, cast);
      const { replica } = scene;
      const setUp = lab.agent();
      await setUp.writeFile(scene.at(IMAGE), "");
      await setUp.truncate(scene.at(IMAGE), WRITERS * BLOCKS * BLOCK);
      const daemon = replica.healDaemon(cast.healer);
      const writers = Array.from({ length: WRITERS }, (_, number) => new Writer(scene.at(IMAGE), number));
      let failure: unknown;
      const runs = writers.map((writer) =>
        writer.run().catch((error: unknown) => {
          failure ??= error;
        }),
      );

      async function progress(what: string): Promise<void> {
        const before = writers.map(({ acknowledged }) => acknowledged);
        const goOn = (): boolean => {
          if (failure !== undefined) throw failure;
          return writers.every(({ acknowledged }, index) => acknowledged >= before[index]! + PROGRESS);
        };
        await until(`writers go on ${what}`, goOn, { deadlineMs: CYCLE_MS });
      }

      /** Nobody blames anybody; dirty marks come and go with the writes. */
      function isLevel(): boolean {
        return replica.bricks.every(({ directory }) =>
          Object.keys(pendingMarks(directory, IMAGE)).every((key) => key === "dirty"),
        );
      }

      await progress("at first");
      for (let cycle = 0; cycle < CYCLES; cycle++) {
        const index = cycle % replica.bricks.length;
        await replica.kill(index);
        await progress(`while brick ${index} is away`);
        await scene.revive(index);
        await until(`brick ${index} is healed under load`, isLevel, {
          deadlineMs: CYCLE_MS,
          detail: () =>
            replica.bricks.map(({ directory }) => describeMarks(directory).join("\n")).join("\n--\n"),
        });
        await progress(`when brick ${index} is back`);
      }
      for (const writer of writers) writer.stop();
      await Promise.all(runs);
      expect(failure).toBeUndefined();
      await replica.untilHealed(() => daemon.output);
      for (const writer of writers) await writer.checkAll();
      await daemon.stop("SIGTERM");
      await scene.close();
    },
    CYCLES * CYCLE_MS,
  );
});
