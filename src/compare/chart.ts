/** Horizontal bars as inline SVG: no scripts, no network, readable in light and dark. */

export interface Bar {
  readonly label: string;
  /** Length, in the unit of the chart; at least 0. */
  readonly value: number;
  /** Least and greatest of the rounds. */
  readonly range?: readonly [number, number];
  /** What is written at the end of the bar. */
  readonly text: string;
  /** Class in the style sheet that gives the colour. */
  readonly style: string;
}

export interface BarChart {
  /** For those who do not see it. */
  readonly title: string;
  readonly bars: readonly Bar[];
  /** A line across all bars. */
  readonly mark?: { readonly value: number; readonly text: string };
}

const WIDTH = 920;
const LABEL_WIDTH = 215;
const TEXT_WIDTH = 250;
const BAR_HEIGHT = 20;
const GAP = 8;
const MARK_HEIGHT = 18;

export function barChart({ title, bars, mark }: BarChart): string {
  const most = Math.max(
    mark?.value ?? 0,
    ...bars.map(({ value, range }) => Math.max(value, range?.[1] ?? 0)),
  );
  const scale = (WIDTH - LABEL_WIDTH - TEXT_WIDTH) / (most || 1);
  const top = mark ? MARK_HEIGHT : 0;
  const height = top + bars.length * (BAR_HEIGHT + GAP);
  const lines = bars.map((bar, index) => barLine(bar, top + index * (BAR_HEIGHT + GAP), scale));
  const marked = mark ? markLine(mark, scale, height) : "";
  return (
    `<svg role="img" aria-label="${escapeText(title)}" viewBox="0 0 ${WIDTH} ${height}" ` +
    `width="${WIDTH}" height="${height}"><title>${escapeText(title)}</title>${lines.join("")}${marked}</svg>`
  );
}

function barLine({ label, value, range, text, style }: Bar, y: number, scale: number): string {
  const middle = y + BAR_HEIGHT / 2;
  const length = value * scale;
  const end = LABEL_WIDTH + Math.max(length, (range?.[1] ?? 0) * scale);
  return [
    `<text class="label" x="${LABEL_WIDTH - 10}" y="${middle}" text-anchor="end">${escapeText(label)}</text>`,
    `<rect class="${style}" x="${LABEL_WIDTH}" y="${y}" width="${short(length)}" height="${BAR_HEIGHT}" rx="2"/>`,
    range ? whisker(range, middle, scale) : "",
    `<text class="value" x="${short(end + 8)}" y="${middle}">${escapeText(text)}</text>`,
  ].join("");
}

function whisker([least, greatest]: readonly [number, number], y: number, scale: number): string {
  const from = short(LABEL_WIDTH + least * scale);
  const to = short(LABEL_WIDTH + greatest * scale);
  return `<path class="whisker" d="M${from} ${y - 4}v8M${from} ${y}H${to}M${to} ${y - 4}v8"/>`;
}

function markLine({ value, text }: { value: number; text: string }, scale: number, height: number): string {
  const x = short(LABEL_WIDTH + value * scale);
  return (
    `<path class="mark" d="M${x} ${MARK_HEIGHT - 4}V${height}"/>` +
    `<text class="marked" x="${x}" y="8" text-anchor="middle">${escapeText(text)}</text>`
  );
}

/** Text for HTML and SVG, attributes included. */
export function escapeText(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function short(value: number): string {
  return value.toFixed(1);
}
