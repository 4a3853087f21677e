/**
 * Deliberate bugs, to show that the simulation finds such: each is put into the graphs from outside, as a
 * layer or as a changed field of a built translator, so that production code has no hooks for it.
 */

import { ZERO_IATT } from "../../src/core/iatt.ts";
import { iovSize } from "../../src/core/iovec.ts";
import type { Sabotage } from "./cluster.ts";
import type { Shape } from "./plan.ts";
import { tamper } from "./tamper.ts";

export interface Mutant {
  readonly name: string;
  /** What is wrong. */
  readonly about: string;
  /** Clusters that can show it. */
  readonly shapes: readonly Shape[];
  sabotage(): Sabotage;
}

const ONE_BRICK: readonly Shape[] = ["one brick"];

const BRICK_MUTANTS: readonly Mutant[] = [
  {
    name: "brick-drops-writes",
    about: "a brick acknowledges one write in fifty without doing it",
    shapes: ONE_BRICK,
    sabotage: () => ({
      brick: [
        tamper("drops-writes", {
          writev: ({ args, env, next }) =>
            env.random.float() < 0.02
              ? Promise.resolve({ size: iovSize(args.data), pre: ZERO_IATT, post: ZERO_IATT })
              : next(),
        }),
      ],
    }),
  },
  {
    name: "brick-forgets-fsync",
    about: "a brick acknowledges fsync without doing it",
    shapes: ONE_BRICK,
    sabotage: () => ({
      brick: [tamper("forgets-fsync", { fsync: () => Promise.resolve({ pre: ZERO_IATT, post: ZERO_IATT }) })],
    }),
  },
];

export const MUTANTS: readonly Mutant[] = [...BRICK_MUTANTS];
