/** The child of a filter under test: remembers what it was asked and answers with what the test set. */

import type { Call } from "../../../src/core/call.ts";
import { nodeEnv } from "../../../src/core/env-node.ts";
import { type Args, FOP_NAMES, type FopName, type Reply } from "../../../src/core/fops.ts";
import { SILENT } from "../../../src/core/log.ts";
import { parseOptions } from "../../../src/core/options.ts";
import { Xlator, type XlatorBase, type XlatorDefinition } from "../../../src/core/xlator.ts";
import { type FakeEnv, fakeEnv } from "../../support/fake-env.ts";

export interface Asked {
  readonly fop: FopName;
  readonly call: Call;
  readonly args: Args<FopName>;
}

/** How the child answers a fop; `{}` when the test set nothing. */
export type Answer = (asked: Asked) => unknown;

class FakeChild extends Xlator {}

export interface Filtered {
  readonly top: XlatorBase;
  readonly asked: Asked[];
  readonly answers: Map<FopName, Answer>;
  readonly env: FakeEnv;
}

/** One translator of the given definition above a fake child. */
export function above(definition: XlatorDefinition, given: Readonly<Record<string, string>> = {}): Filtered {
  const asked: Asked[] = [];
  const answers = new Map<FopName, Answer>();
  const env = fakeEnv();
  const common = { options: {}, rawOptions: new Map<string, string>() };
  const child = new FakeChild({
    ...common,
    name: "child",
    type: "test/child",
    children: [],
    env: nodeEnv(SILENT),
  });
  for (const fop of FOP_NAMES) {
    const run = async (call: Call, args: Args<FopName>): Promise<Reply<FopName>> => {
      const one = { fop, call, args };
      asked.push(one);
      return (await answers.get(fop)?.(one)) as Reply<FopName>;
    };
    Object.defineProperty(child, fop, { value: run });
  }
  const rawOptions = new Map(Object.entries(given));
  const { values } = parseOptions(definition.options, rawOptions, { who: "test" });
  const { type } = definition;
  const top = definition.create({ name: "top", type, options: values, rawOptions, children: [child], env });
  return { top, asked, answers, env };
}
