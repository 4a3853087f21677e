/** `mortar cp SOURCE... TARGET`: into, out of and between volumes; `-` is a stream. */

import { posix } from "node:path";
import { addAbortSignal } from "node:stream";
import { UserError } from "../../core/errors.ts";
import { isDir, isRegular } from "../../core/iatt.ts";
import { catPlaces } from "./cat-command.ts";
import { below, type CopyPlan, copy, copyFromStream, existing, type Spot } from "./copy.ts";
import { type Place, parsePlace, type VolumePlace } from "./place.ts";
import { ProgressBar } from "./progress.ts";
import { waitForRemovals } from "./removals.ts";
import { each, FileSession } from "./session.ts";
import { shownName } from "./words.ts";

/** How long blocks of replaced files have to go; the next client removes what is left. */
const REPLACED_WAIT_SEC = 60;

export interface CpFlags {
  readonly recursive?: boolean;
  readonly preserve?: boolean;
  /** False after --no-clobber. */
  readonly clobber: boolean;
  /** False after --no-progress. */
  readonly progress: boolean;
}

export function cpCommand(words: readonly string[], flags: CpFlags): Promise<void> {
  const places = words.map(parsePlace);
  const target = places.pop()!;
  if (places.length === 0) throw new UserError("cp: a TARGET is missing; `mortar cp --help` tells more");
  checkPlaces(places, target);
  return FileSession.run(async (session) => {
    if (target.kind === "stream") return catPlaces("cp", session, places as VolumePlace[]);
    const to: Spot = { tree: await session.tree(target), path: target.path, text: target.text };
    const into = await isDirectory(to, target, places.length > 1);
    const bar = new ProgressBar(process.stderr, { enabled: flags.progress });
    const plan = planOf(session, flags, bar);
    try {
      const well = await each(places, session, (place) => copyOne(session, place, to, into, plan, bar));
      bar.end();
      // What was replaced had blocks, too.
      const wait = { seconds: REPLACED_WAIT_SEC, signal: session.signal, enabled: flags.progress };
      await waitForRemovals(await session.opened(), wait);
      return well;
    } finally {
      bar.end();
    }
  });
}

function checkPlaces(places: readonly Place[], target: Place): void {
  const streams = places.filter(({ kind }) => kind === "stream").length;
  if (streams > 1 || (streams === 1 && places.length > 1))
    throw new UserError('cp: "-": standard input is one source, and stands alone');
  if (target.kind === "stream" && (places.length > 1 || streams > 0))
    throw new UserError('cp: "-": standard output takes one file; use cat for more');
  if ([...places, target].every(({ kind }) => kind !== "volume"))
    throw new UserError(
      `cp: "${target.text}": none of these is in a volume; a volume is written ` +
        "gluster://HOST/VOLUME/PATH, HOST:/VOLUME/PATH or VOLFILE:/PATH",
    );
}

function planOf(session: FileSession, flags: CpFlags, bar: ProgressBar): CopyPlan {
  let text = "";
  return {
    signal: session.signal,
    recursive: flags.recursive === true,
    preserve: flags.preserve === true,
    noClobber: !flags.clobber,
    onFile: (name) => {
      text = shownName(name);
    },
    onProgress: (bytes) => bar.add(bytes, text),
  };
}

async function copyOne(
  session: FileSession,
  place: Place,
  to: Spot,
  into: boolean,
  plan: CopyPlan,
  bar: ProgressBar,
): Promise<void> {
  if (place.kind === "stream") {
    if (into) throw new UserError(`cp: "${to.text}": is a directory; name the file that "-" becomes`);
    // Else the wish to stop would wait for input that may never come.
    return copyFromStream(addAbortSignal(plan.signal, process.stdin), to, plan);
  }
  const from: Spot = { tree: await session.tree(place), path: place.path, text: place.text };
  const stat = await existing(from);
  if (!stat) throw new UserError(`cp: "${from.text}": no such file or directory`);
  if (place.mustBeDirectory && !isDir(stat)) throw new UserError(`cp: "${from.text}": not a directory`);
  if (isRegular(stat)) bar.expect(stat.size);
  else if (isDir(stat) && plan.recursive && process.stderr.isTTY)
    bar.expect(await bytesBelow(from, plan.signal));
  await copy(from, into ? below(to, nameOf(from)) : to, plan);
}

function nameOf({ path, text }: Spot): string {
  const name = posix.basename(posix.resolve("/", path));
  if (name === "") throw new UserError(`cp: "${text}": the root has no name; name the TARGET in full`);
  return name;
}

/** Whether the target is a directory to copy into. Throws when it has to be and is not. */
async function isDirectory(
  to: Spot,
  { mustBeDirectory }: Place & { mustBeDirectory: boolean },
  many: boolean,
) {
  const stat = await existing(to);
  if (stat && isDir(stat)) return true;
  if (many) throw new UserError(`cp: "${to.text}": is no directory, and there are several sources`);
  if (mustBeDirectory)
    throw new UserError(`cp: "${to.text}": ${stat ? "not a directory" : "no such directory"}`);
  return false;
}

async function bytesBelow(spot: Spot, signal: AbortSignal): Promise<number> {
  let bytes = 0;
  for await (const { name, stat } of spot.tree.list(spot.path)) {
    signal.throwIfAborted();
    if (isRegular(stat)) bytes += stat.size;
    else if (isDir(stat)) bytes += await bytesBelow(below(spot, name), signal);
  }
  return bytes;
}
