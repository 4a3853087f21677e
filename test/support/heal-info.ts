/** What `gluster volume heal VOL info` and glfsheal print, as values. */

/** One brick's part of the list. */
export interface HealInfoBrick {
  /** "HOST:DIRECTORY". */
  readonly brick: string;
  /** "Connected", or why not. */
  readonly status: string;
  /** Paths, or `<gfid:...>`, as printed and sorted, each with what stands behind it. */
  readonly entries: readonly string[];
  /** As printed; undefined where it says "-". */
  readonly count: number | undefined;
}

/** Parses the plain and the split-brain form. @throws Error when the text is neither */
export function parseHealInfo(text: string): HealInfoBrick[] {
  const blocks = text.trim().split(/\n\s*\n/);
  return blocks.map((block) => {
    const lines = block.split("\n").map((line) => line.trim());
    const brick = /^Brick (.+)$/.exec(lines[0]!)?.[1];
    const status = lines.map((line) => /^Status: (.+)$/.exec(line)?.[1]).find((found) => found !== undefined);
    const count = lines
      .map((line) => /^Number of entries(?: in split-brain)?: (\d+|-)$/.exec(line)?.[1])
      .find((found) => found !== undefined);
    if (brick === undefined || status === undefined || count === undefined)
      throw new Error(`not a heal info: ${text}`);
    const entries = lines.slice(1).filter((line) => !/^(Status|Number of entries[^:]*):/.test(line));
    return { brick, status, entries: entries.sort(), count: count === "-" ? undefined : Number(count) };
  });
}

/** Entries over all bricks, as the "pending count" of scripts has it. */
export function pendingCount(info: readonly HealInfoBrick[]): number {
  return info.reduce((sum, { count = 0 }) => sum + count, 0);
}
