/**
 * A look at the directory that results will go to, before the minutes of measuring: nothing is lost to a name
 * that is taken, or a place that cannot be written. It is tried, as rights alone do not tell, and left as it
 * was.
 */

import { closeSync, constants, mkdirSync, openSync, rmdirSync, unlinkSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { UserError } from "../core/errors.ts";

const { O_DIRECTORY, O_RDONLY } = constants;

type Failure = NodeJS.ErrnoException;

/**
 * `what` is the option, as in "bench: --output"; `files` are names of what will be written in the directory.
 * @throws UserError
 */
export function checkOutputDirectory(what: string, text: string, files: readonly string[]): void {
  const directory = resolve(text);
  const made: string[] = [];
  try {
    make(directory, made);
    for (const file of files) tryFile(join(directory, file));
  } catch (error) {
    throw new UserError(`${what} "${text}": ${why(error as Failure)}`);
  } finally {
    for (const path of made.reverse()) rmdirSync(path);
  }
}

/**
 * A directory and those above it; the ones that were not there are added to `made`. Node's own `recursive`
 * never returns where an ancestor can neither be found nor made, as below /proc.
 */
function make(directory: string, made: string[]): void {
  try {
    mkdirSync(directory);
  } catch (error) {
    const { code } = error as Failure;
    if (code === "EEXIST") {
      closeSync(openSync(directory, O_RDONLY | O_DIRECTORY));
      return;
    }
    const parent = dirname(directory);
    if (code !== "ENOENT" || parent === directory) throw error;
    make(parent, made);
    // A parent that was there all the time does not take directories, whatever the kernel calls that.
    if (made.at(-1) !== parent) throw error;
    mkdirSync(directory);
  }
  made.push(directory);
}

/** A file that is there keeps what is in it. */
function tryFile(path: string): void {
  try {
    closeSync(openSync(path, "ax"));
    unlinkSync(path);
  } catch (error) {
    if ((error as Failure).code !== "EEXIST") throw error;
    closeSync(openSync(path, "r+"));
  }
}

function why({ code, path, message }: Failure): string {
  if (code === "ENOTDIR") return "is no directory; name one, or one to be made";
  if (code === "EISDIR") return `"${path}" is a directory; take it away, or name another directory`;
  return `cannot be written: ${message}; name another directory`;
}
