/**
 * The graphs of simulated clients and heal daemons: a connection per brick, replicate over them, and what the
 * plan puts on top, in the order of glusterd: utime, shard, write-behind. Layers of mutants stand where they
 * are wanted.
 */

import type { XlatorDefinition } from "../../src/core/xlator.ts";
import { shardWith } from "../../xlators/features/shard/shard.ts";
import { sectionOf } from "../support/volfiles.ts";
import type { Cluster } from "./cluster.ts";
import { freshBlocks } from "./fresh-blocks.ts";

export const VOLUME = "vol";
const VOLUME_ID = "5c1b7a60-0000-4000-8000-00000000a1a1";
/** Less than any volume may have, so that small files have many blocks. */
const BLOCK_BYTES_MIN = 512;

/** What clients have over replicate. */
export interface StackPlan {
  /** Options of features/shard; absent: files are not cut into blocks. */
  readonly shard?: Readonly<Record<string, string>>;
  /** Options of performance/write-behind; absent: writes are acknowledged when they are done. */
  readonly writeBehind?: Readonly<Record<string, string>>;
  /** Reads of blocks ask all copies first. */
  readonly freshBlocks?: boolean;
}

/** What glusterd gives its heal daemon. */
const HEALER_OPTIONS = {
  "iam-self-heal-daemon": "yes",
  "data-self-heal": "on",
  "metadata-self-heal": "on",
  "entry-self-heal": "on",
  "background-self-heal-count": "0",
  "heal-timeout": "10",
};

interface ClientGraph {
  readonly text: string;
  /** Types in it that no registry has. */
  readonly definitions: readonly XlatorDefinition[];
}

/** `connections`: layers over each protocol/client. */
export function clientGraph(
  cluster: Cluster,
  connections: readonly XlatorDefinition[],
  healer: boolean,
): ClientGraph {
  const { plan, sabotage } = cluster;
  const chain = new Chain(connections);
  const tops = cluster.bricks.map((brick) => {
    const id = `${VOLUME}-client-${brick.index}`;
    chain.add(id, "protocol/client", {
      "remote-host": brick.name,
      "remote-port": String(brick.port),
      "remote-subvolume": brick.path,
      "ping-timeout": String(plan.pingTimeoutSec),
      "frame-timeout": "120",
    });
    for (const { type } of connections) chain.over(`${id}-${type.replace("/", "-")}`, type);
    return chain.end();
  });
  if (plan.replicate) {
    chain.add(`${VOLUME}-replicate-0`, "cluster/replicate", replicateOptions(cluster, healer), tops);
    if (!healer) chain.over(`${VOLUME}-utime`, "features/utime");
  } else chain.top = tops[0]!;
  if (healer || plan.stack === undefined) return chain;
  const { shard, writeBehind } = plan.stack;
  if (plan.stack.freshBlocks) chain.layers([freshBlocks]);
  chain.layers(sabotage.belowShard ?? []);
  if (shard) {
    chain.definitions.push(shardWith(BLOCK_BYTES_MIN));
    chain.over(`${VOLUME}-shard`, "features/shard", shard);
  }
  chain.layers(sabotage.belowWriteBehind ?? []);
  if (writeBehind) chain.over(`${VOLUME}-write-behind`, "performance/write-behind", writeBehind);
  chain.layers(sabotage.aboveAll ?? []);
  return chain;
}

function replicateOptions({ bricks, plan }: Cluster, healer: boolean): Record<string, string> {
  return {
    "afr-pending-xattr": bricks.map(({ index }) => `${VOLUME}-client-${index}`).join(","),
    "volume-id": VOLUME_ID,
    ...(plan.arbiter ? { "arbiter-count": "1" } : {}),
    ...plan.options,
    ...(healer ? HEALER_OPTIONS : {}),
  };
}

/** A volfile that grows upwards. */
class Chain implements ClientGraph {
  readonly definitions: XlatorDefinition[];
  readonly #sections: string[] = [];
  /** Name of the last layer. */
  top = "";

  constructor(definitions: readonly XlatorDefinition[]) {
    this.definitions = [...definitions];
  }

  get text(): string {
    return this.#sections.join("\n");
  }

  add(
    name: string,
    type: string,
    options: Readonly<Record<string, string>> = {},
    children: readonly string[] = [],
  ): void {
    this.#sections.push(sectionOf(name, type, options, children));
    this.top = name;
  }

  /** A layer over the last one. */
  over(name: string, type: string, options?: Readonly<Record<string, string>>): void {
    this.add(name, type, options, [this.top]);
  }

  layers(definitions: readonly XlatorDefinition[]): void {
    this.definitions.push(...definitions);
    for (const { type } of definitions) this.over(`${VOLUME}-${type.replace("/", "-")}`, type);
  }

  /** The last layer, which something else will stand on. */
  end(): string {
    return this.top;
  }
}
