/**
 * What each brick costs, seen from this process: calls, bytes and times at every protocol/client (network and
 * brick together, with the round trip of a ping beside it) and every storage/posix (the disk).
 *
 * Translators are measured where they are made: a registry that gives each fop of such a one a stopwatch. So
 * no layer is added, callers call what they always called, and a call costs two looks at the clock.
 */

import type { Call } from "../core/call.ts";
import type { Env } from "../core/env.ts";
import { FopMeter, type MeterSnapshot } from "../core/fop-meter.ts";
import { type Args, FOP_NAMES, type FopFunction, type FopName } from "../core/fops.ts";
import type { ChildEvent, XlatorBase, XlatorDefinition } from "../core/xlator.ts";
import type { Registry } from "../graph/graph.ts";

/** Types that stand for a brick, and whose time it is. */
const MEASURED: ReadonlyMap<string, BrickFigures["kind"]> = new Map([
  ["protocol/client", "network"],
  ["storage/posix", "disk"],
]);

/** What was measured at one brick; plain data. */
export interface BrickFigures {
  /** Section of the volfile. */
  readonly name: string;
  /** `HOST:DIRECTORY`, or the directory of a brick in this process. */
  readonly brick: string;
  /** Whether its times include a network. */
  readonly kind: "network" | "disk";
  readonly fops: MeterSnapshot;
  /** The last ping's round trip, of a brick behind a network. */
  readonly pingMs?: number;
}

class BrickMeter {
  readonly name: string;
  readonly brick: string;
  readonly kind: BrickFigures["kind"];
  readonly meter: FopMeter;
  pingMs: number | undefined;

  constructor(name: string, brick: string, kind: BrickFigures["kind"], env: Env) {
    this.name = name;
    this.brick = brick;
    this.kind = kind;
    this.meter = new FopMeter(env.clock);
  }

  onChildEvent(event: ChildEvent): void {
    if (event.type === "child-ping") this.pingMs = event.latencyMs;
  }
}

export class BrickMeters {
  /** The registry to build graphs from. */
  readonly registry: Registry;
  /** By section: a brick that is reached anew goes on with the figures it had. */
  readonly #meters = new Map<string, BrickMeter>();

  constructor(registry: Registry) {
    this.registry = new Map(
      [...registry].map(([type, definition]) => [type, this.#measured(definition)] as const),
    );
  }

  /** Figures of the bricks that a graph has. */
  snapshot(names: ReadonlySet<string>): BrickFigures[] {
    return [...this.#meters.values()]
      .filter(({ name }) => names.has(name))
      .map(({ name, brick, kind, meter, pingMs }) => ({
        name,
        brick,
        kind,
        fops: meter.snapshot(),
        ...(pingMs === undefined ? {} : { pingMs }),
      }));
  }

  #measured(definition: XlatorDefinition): XlatorDefinition {
    const kind = MEASURED.get(definition.type);
    if (kind === undefined) return definition;
    return {
      ...definition,
      create: (init) => {
        const xlator = definition.create(init);
        let meter = this.#meters.get(init.name);
        if (meter === undefined) {
          meter = new BrickMeter(init.name, brickText(init.rawOptions), kind, init.env);
          this.#meters.set(init.name, meter);
        }
        measure(xlator, meter.meter);
        xlator.addParent(meter);
        return xlator;
      },
    };
  }
}

/** Puts a stopwatch on every fop of one translator. */
export function measure(xlator: XlatorBase, meter: FopMeter): void {
  for (const fop of FOP_NAMES) measureFop(xlator, fop, meter);
}

function measureFop<F extends FopName>(xlator: XlatorBase, fop: F, meter: FopMeter): void {
  const original = xlator[fop] as FopFunction<F>;
  const counter = meter.counter(fop);
  Object.defineProperty(xlator, fop, {
    value(call: Call, args: Args<F>) {
      const span = counter.begin();
      const reply = original.call(xlator, call, args);
      reply.then(span.done, span.failed);
      return reply;
    },
  });
}

function brickText(options: ReadonlyMap<string, string>): string {
  const directory = options.get("directory");
  if (directory !== undefined) return directory;
  const host = options.get("remote-host");
  const subvolume = options.get("remote-subvolume") ?? "";
  return host === undefined ? subvolume : `${host}:${subvolume}`;
}
