/**
 * The answers of a running mount to what may be asked over its control socket. What is asked comes from
 * outside and is checked here; a refusal is a UserError, whose one line goes to whoever asked.
 */

import { UserError } from "../core/errors.ts";
import type { MeterSnapshot } from "../core/fop-meter.ts";
import type { Dump } from "../core/xlator.ts";
import type { BrickMeters } from "./brick-meters.ts";
import type { Figures } from "./figures.ts";
import { type Answer, type Command, QUESTIONS, type Question } from "./messages.ts";
import { readProfile } from "./profiles.ts";
import { quorumFigures } from "./quorum-figures.ts";
import { statedump } from "./statedump.ts";
import type { TunedVolume } from "./tuned-volume.ts";

/** What the answers are about. */
export interface Subject {
  readonly volume: TunedVolume;
  readonly meters: BrickMeters;
  readonly mountpoint: string;
  readonly source: string;
  /** Clock time, in milliseconds, at which it was mounted. */
  readonly mountedMs: number;
  readonly nowMs: () => number;
  readonly edgeFigures: () => MeterSnapshot;
  readonly edgeDump: () => Dump;
}

type Answers = { readonly [C in Command]: (subject: Subject, question: Question<C>) => Promise<Answer<C>> };

const ANSWERS: Answers = {
  hello: async ({ mountpoint, source }) => ({ mountpoint, source, pid: process.pid }),
  stats: async (subject) => figuresOf(subject),
  get: async ({ volume }, { key }) => ({
    values: key === undefined ? volume.all() : volume.get(key),
    warnings: key === undefined ? volume.warnings() : [],
  }),
  set: ({ volume }, { key, value }) => volume.set(key, value),
  reset: ({ volume }, { key }) => volume.reset(key),
  "set-group": async ({ volume }, { name }) => volume.setAll(readProfile(name)),
  statedump: async ({ volume, source, edgeDump }) => statedump(volume, source, edgeDump()),
};

/** Answers one question, as it came. Rejects with UserError when it makes no sense or is refused. */
export async function answer(subject: Subject, question: unknown): Promise<unknown> {
  if (typeof question !== "object" || question === null) throw new UserError("control: not a question");
  const { command, ...fields } = question as Record<string, unknown>;
  if (typeof command !== "string" || !Object.hasOwn(ANSWERS, command))
    throw new UserError(
      `control: unknown command ${JSON.stringify(command)}; is this another version of Mortar?`,
    );
  for (const name of QUESTIONS[command as Command]) {
    const value = fields[name.replace("?", "")];
    if (typeof value !== "string" && !(value === undefined && name.endsWith("?")))
      throw new UserError(`control: ${command}: "${name}" is missing or no text`);
  }
  return ANSWERS[command as Command](subject, fields as never);
}

function figuresOf(subject: Subject): Figures {
  const { volume, meters, mountpoint, source, nowMs, mountedMs } = subject;
  const { user, system } = process.cpuUsage();
  return {
    mountpoint,
    source,
    pid: process.pid,
    uptimeMs: nowMs() - mountedMs,
    callsInFlight: volume.live.meter.inFlight,
    edge: subject.edgeFigures(),
    graph: volume.live.meter.snapshot(),
    bricks: meters.snapshot(new Set(volume.graph.nodes.map(({ section }) => section.name))),
    quorum: quorumFigures(volume.graph),
    process: { rssBytes: process.memoryUsage.rss(), cpuMs: (user + system) / 1000 },
  };
}
