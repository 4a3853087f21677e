/** What trials measured: each figure over all rounds, as one table, with what it has to reach. Pure. */

import Table from "cli-table3";
import { shortNumber, summarize } from "../src/compare/stats.ts";

/** One figure of one round; `wanted` says what it has to be, when that can be said of it alone. */
export interface Figure {
  readonly text: string;
  readonly value: number;
  readonly unit: string;
  /** At most this. */
  readonly wanted?: number;
}

/** A figure with its values in the order of the rounds. */
export interface MeasuredFigure extends Omit<Figure, "value"> {
  readonly values: readonly number[];
}

/** Puts the rounds of each figure together, in the order in which figures first came. */
export function gather(figures: readonly Figure[]): MeasuredFigure[] {
  const byText = new Map<string, MeasuredFigure>();
  for (const { value, ...figure } of figures) {
    const values = [...(byText.get(figure.text)?.values ?? []), value];
    byText.set(figure.text, { ...figure, values });
  }
  return [...byText.values()];
}

/** The median decides. Undefined where nothing is wanted. */
export function isReached({ values, wanted }: MeasuredFigure): boolean | undefined {
  return wanted === undefined ? undefined : summarize(values).median <= wanted;
}

/** A row a figure: median, least to greatest, what is wanted at most, whether it is reached. */
export function figureTable(figures: readonly MeasuredFigure[]): string {
  const head = ["", "median", "least to greatest", "wanted at most", ""];
  const table = new Table({ head, style: { head: [], border: [] } });
  for (const figure of figures) {
    const { text, unit, values, wanted } = figure;
    const { median, min, max } = summarize(values);
    const spread =
      values.length > 1 ? `${shortNumber(min)} - ${shortNumber(max)} (${values.length} rounds)` : "one round";
    const reached = isReached(figure);
    table.push([
      text,
      `${shortNumber(median)} ${unit}`,
      spread,
      wanted === undefined ? "" : `${wanted} ${unit}`,
      reached === undefined ? "" : reached ? "reached" : "MISSED",
    ]);
  }
  return table.toString();
}
