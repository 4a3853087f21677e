/**
 * Copies files and trees between any two trees (tree.ts): each file under a name of its own first, then
 * synced, then renamed to where it belongs, so that a name has either what it had before or all of the new.
 *
 * A symbolic link in the target's place is replaced, not followed. An interrupted copy of a tree leaves the
 * files that were finished. What a source has beside content, mode and (when asked for) owner and times is
 * not copied: xattrs, ACLs, hard links.
 */

import { randomBytes } from "node:crypto";
import { posix } from "node:path";
import { FopError, UserError } from "../../core/errors.ts";
import { isDir, S_IFBLK, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "../../core/iatt.ts";
import { nameBytes } from "../../core/name.ts";
import { type CopyOptions, copyData, copyStream } from "./copy-data.ts";
import type { NodeStat, SourceFile, TargetFile, Tree } from "./tree.ts";
import { reason } from "./words.ts";

/** A file or directory and what people call it. */
export interface Spot {
  readonly tree: Tree;
  readonly path: string;
  /** For messages. */
  readonly text: string;
}

export interface CopyPlan extends CopyOptions {
  readonly recursive: boolean;
  /** Owner, mode and times too. */
  readonly preserve: boolean;
  /** Leave files alone that are there. */
  readonly noClobber: boolean;
  /** Hears of the file that is being copied. */
  readonly onFile: (text: string) => void;
}

const NAME_BYTES_MAX = 255;

/** Copies what is at `from` to the name `to`. Rejects with UserError, or with the signal's reason. */
export async function copy(from: Spot, to: Spot, plan: CopyPlan): Promise<void> {
  plan.signal.throwIfAborted();
  // A name that the user wrote is followed; a symlink in a tree is copied as one.
  const stat = await explained("stat", from, () => from.tree.stat(from.path));
  if (isDir(stat) && (await isWithin(from, to)))
    throw new UserError(`cp: "${to.text}": lies in "${from.text}": the copy would never end`);
  await copyNode(from, stat, to, plan);
}

/** Copies a stream to the name `to`. */
export async function copyFromStream(stream: AsyncIterable<Buffer>, to: Spot, plan: CopyPlan): Promise<void> {
  const mode = 0o666 & ~process.umask();
  await replaceFile(to, { mode }, plan, (file) => copyStream(stream, file, plan));
}

async function copyNode(from: Spot, stat: NodeStat, to: Spot, plan: CopyPlan): Promise<void> {
  switch (stat.mode & S_IFMT) {
    case S_IFREG:
    case S_IFBLK:
      return copyFile(from, stat, to, plan);
    case S_IFDIR:
      if (!plan.recursive) throw new UserError(`cp: "${from.text}": is a directory; -r copies it`);
      return copyDirectory(from, stat, to, plan);
    case S_IFLNK:
      return copyLink(from, to, plan);
    default:
      throw new UserError(`cp: "${from.text}": is neither file, directory nor symbolic link; not copied`);
  }
}

async function copyFile(from: Spot, stat: NodeStat, to: Spot, plan: CopyPlan): Promise<void> {
  const there = await existing(to);
  if (there && (there.mode & S_IFMT) === S_IFDIR)
    throw new UserError(`cp: "${to.text}": is a directory; "${from.text}" is none`);
  if (there && plan.noClobber) return;
  if (there && (await isSame(from, to)))
    throw new UserError(`cp: "${from.text}" and "${to.text}": are the same file`);
  plan.onFile(from.text);
  const source = await explained("open", from, () => from.tree.open(from.path));
  try {
    const mode = stat.mode & 0o777 & ~process.umask();
    const attributes = plan.preserve ? stat : undefined;
    const data = explainedSource(source, from);
    await replaceFile(to, { mode, attributes }, plan, (target) => copyData(data, target, plan));
  } finally {
    await source.close();
  }
}

/**
 * Makes a new file beside `to`, has it filled, gives it its size and then, as any change of data changes
 * times, its attributes, and puts it into place; on a failure nothing has changed.
 */
async function replaceFile(
  to: Spot,
  { mode, attributes }: { mode: number; attributes?: NodeStat | undefined },
  { signal }: CopyPlan,
  fill: (target: TargetFile) => Promise<number>,
): Promise<void> {
  const beside = passingName(to.path);
  const target = await explained("create", to, () => to.tree.create(beside, mode));
  try {
    try {
      await target.truncate(await fill(target));
      if (attributes) await target.takeAttributes(attributes);
      signal.throwIfAborted();
      await target.fsync();
    } catch (error) {
      await target.close().catch(() => {});
      throw error;
    }
    await target.close();
    signal.throwIfAborted();
    await to.tree.rename(beside, to.path);
  } catch (error) {
    await to.tree.unlink(beside).catch(() => {});
    if (signal.aborted) throw signal.reason;
    throw asUserError("write", to, error);
  }
  await syncParent(to);
}

async function copyDirectory(from: Spot, stat: NodeStat, to: Spot, plan: CopyPlan): Promise<void> {
  const there = await existing(to);
  if (there && (there.mode & S_IFMT) !== S_IFDIR)
    throw new UserError(`cp: "${to.text}": is no directory, and "${from.text}" is one`);
  // Only the owner may write into it until it is complete, whatever its mode will be.
  if (!there) {
    await explained("create", to, () => to.tree.mkdir(to.path, (stat.mode & 0o777) | 0o700));
    await syncParent(to);
  }
  for await (const { name, stat: child } of from.tree.list(from.path)) {
    plan.signal.throwIfAborted();
    await copyNode(below(from, name), child, below(to, name), plan);
  }
  if (plan.preserve) await explained("change", to, () => to.tree.takeAttributes(to.path, stat));
}

async function copyLink(from: Spot, to: Spot, plan: CopyPlan): Promise<void> {
  const there = await existing(to, "lstat");
  if (there && plan.noClobber) return;
  if (there && (there.mode & S_IFMT) === S_IFDIR)
    throw new UserError(`cp: "${to.text}": is a directory; "${from.text}" is none`);
  const target = await explained("read", from, () => from.tree.readlink(from.path));
  const beside = passingName(to.path);
  await explained("create", to, () => to.tree.symlink(target, beside));
  try {
    await to.tree.rename(beside, to.path);
  } catch (error) {
    await to.tree.unlink(beside).catch(() => {});
    throw asUserError("create", to, error);
  }
  await syncParent(to);
}

/** The name is durable when it resolves. */
function syncParent(to: Spot): Promise<void> {
  return explained("sync", to, () => to.tree.syncDirectory(posix.dirname(to.path)));
}

/** The same file; its failures are told as the source's, not as the target's. */
function explainedSource(source: SourceFile, spot: Spot): SourceFile {
  return {
    readVector: (offset, size) => explained("read", spot, () => source.readVector(offset, size)),
    extents: (options) => source.extents(options),
    stat: () => source.stat(),
    close: () => source.close(),
  };
}

export function below(spot: Spot, name: string): Spot {
  const path = posix.join(spot.path, name);
  return { tree: spot.tree, path, text: `${spot.text.replace(/\/+$/, "")}/${name}` };
}

/** What is at a place; undefined when nothing is. */
export async function existing(spot: Spot, how: "stat" | "lstat" = "stat"): Promise<NodeStat | undefined> {
  try {
    return await spot.tree[how](spot.path);
  } catch (error) {
    if (error instanceof FopError && error.code === "ENOENT") return undefined;
    throw asUserError("stat", spot, error);
  }
}

async function isSame(a: Spot, b: Spot): Promise<boolean> {
  return (await a.tree.identity(a.path)) === (await b.tree.identity(b.path));
}

/** Whether `inner` is `outer` or lies below it. */
async function isWithin(outer: Spot, inner: Spot): Promise<boolean> {
  const id = await outer.tree.identity(outer.path);
  const there = (await existing(inner)) ? inner.path : posix.dirname(inner.path);
  for (let path = inner.tree.absolute(there); ; path = posix.dirname(path)) {
    const here = await explained("stat", { ...inner, path }, () => inner.tree.identity(path));
    if (here === id) return true;
    if (path === posix.dirname(path)) return false;
  }
}

/** A name beside `path` that nobody has, short enough for any file system. */
function passingName(path: string): string {
  let base = posix.basename(path);
  const ending = `.${randomBytes(6).toString("hex")}.part`;
  while (nameBytes(base) + ending.length + 1 > NAME_BYTES_MAX) base = base.slice(0, -1);
  return posix.join(posix.dirname(path), `.${base}${ending}`);
}

async function explained<R>(what: string, { text }: Spot, work: () => Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    throw asUserError(what, { text }, error);
  }
}

function asUserError(what: string, { text }: { text: string }, error: unknown): unknown {
  if (!(error instanceof FopError)) return error;
  return new UserError(`cp: "${text}": cannot ${what}: ${reason(error)}`, { cause: error });
}
