/**
 * What travels over a mount's control socket: one line of JSON asks, one answers, then the connection ends.
 */

import type { Figures } from "./figures.ts";
import type { Shown } from "./settings.ts";
import type { Statedump } from "./statedump.ts";
import type { SetReport } from "./tuned-volume.ts";

/** Longest question; there is nothing long to say. */
export const QUESTION_BYTES_MAX = 64 * 1024;

interface Exchanges {
  /** Who is there. */
  hello: { question: None; answer: { mountpoint: string; pid: number; source: string } };
  stats: { question: None; answer: Figures };
  get: { question: { key?: string }; answer: { values: readonly Shown[]; warnings: readonly string[] } };
  set: { question: { key: string; value: string }; answer: SetReport };
  reset: { question: { key: string }; answer: SetReport };
  "set-group": { question: { name: string }; answer: SetReport };
  statedump: { question: None; answer: Statedump };
}

type None = Record<never, never>;

export type Command = keyof Exchanges;
export type Question<C extends Command> = Exchanges[C]["question"];
export type Answer<C extends Command> = Exchanges[C]["answer"];

/** The fields of each question, all of them text; `?` marks one that may be absent. */
export const QUESTIONS: Readonly<Record<Command, readonly string[]>> = {
  hello: [],
  stats: [],
  get: ["key?"],
  set: ["key", "value"],
  reset: ["key"],
  "set-group": ["name"],
  statedump: [],
};

export type Reply =
  | { readonly ok: true; readonly answer: unknown }
  | { readonly ok: false; readonly error: string };
