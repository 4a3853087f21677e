/** What is said of a directory for results before anything is measured, and that it is left as it was. */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, it } from "vitest";
import { checkOutputDirectory } from "../../src/cli/output-directory.ts";

const top = mkdtempSync(join(tmpdir(), "mortar-output-"));
let count = 0;
let directory = "";

beforeEach(() => {
  directory = join(top, String(count++));
  mkdirSync(directory);
});
afterAll(() => rmSync(top, { recursive: true }));

const check = (output: string) => checkOutputDirectory("compare: --output", output, ["a.json", "a.html"]);

it("a directory that can be written is left as it was, with what is in it", () => {
  writeFileSync(join(directory, "a.json"), "old");
  check(directory);
  expect(readdirSync(directory)).toEqual(["a.json"]);
  expect(readFileSync(join(directory, "a.json"), "utf8")).toBe("old");
});

it("one that is not there can be made, and is not there afterwards", () => {
  check(join(directory, "new", "below"));
  expect(readdirSync(directory)).toEqual([]);
});

it("a file, and what would lie below a file, is refused", () => {
  const file = join(directory, "file");
  writeFileSync(file, "x");
  for (const output of [file, join(file, "below")]) {
    const line = `compare: --output "${output}": is no directory; name one, or one to be made`;
    expect(() => check(output)).toThrow(line);
  }
});

it("a result's name that a directory has is refused, and what had to be tried is gone", () => {
  mkdirSync(join(directory, "a.html"));
  const line = `compare: --output "${directory}": "${join(directory, "a.html")}" is a directory; take it away`;
  expect(() => check(directory)).toThrow(line);
  expect(readdirSync(directory)).toEqual(["a.html"]);
});

it("a place that even root cannot write is refused", () => {
  expect(() => check("/proc/mortar/results")).toThrow(/^compare: --output ".*": cannot be written: .*; name/);
});
