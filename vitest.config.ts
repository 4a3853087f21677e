/**
 * Four kinds of tests: unit (pure), conformance (every graph), sim (a cluster on virtual time), e2e (real
 * processes and mounts). Two files run at a time, end-to-end tests after all others.
 */

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    reporters: ["./test/support/reporter.ts"],
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/e2e/**", "test/conformance/**", "test/sim/**"],
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "conformance",
          include: ["test/conformance/**/*.test.ts"],
          testTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "sim",
          include: ["test/sim/**/*.test.ts"],
          testTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          globalSetup: "./test/support/build.ts",
          maxConcurrency: 3,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
