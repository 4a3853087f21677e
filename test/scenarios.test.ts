/**
 * Every situation that is to be re-enacted (the scenarios of the specification, by their numbers) stands in
 * the title of a test, so that none is lost when tests are moved or rewritten.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const SCENARIOS = {
  QUO: ["03", "04", "06", "10", "11"],
  ARB: ["02", "03", "04", "08"],
  HEAL: ["01", "02", "04", "05", "07", "08", "09", "10", "14", "17", "28"],
  SB: ["01", "04", "05", "07", "09", "11", "13"],
  SHD: ["01", "03", "07", "09", "10", "14", "15", "17", "19", "21"],
  DHT: ["05", "06", "08"],
  VOL: ["01", "02", "03", "09"],
  API: ["01", "07", "10"],
  RSV: ["01", "03", "06"],
  WB: ["01", "03", "06"],
  EAG: ["01", "02", "08", "09"],
  BRK: ["01", "02", "05"],
};

it("every scenario has a test that is named for it", () => {
  const ids = Object.entries(SCENARIOS).flatMap(([group, numbers]) =>
    numbers.map((one) => `${group}-${one}`),
  );
  const lines = readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".test.ts"))
    .flatMap((path) => readFileSync(join(import.meta.dirname, path), "utf8").split("\n"))
    .filter((line) => !/^\s*(\*|\/[/*])/.test(line));
  expect(ids.filter((id) => !lines.some((line) => line.includes(id)))).toEqual([]);
});
