/**
 * One line a test file, one line a skipped case with its reason, failures whole, and at the end the plain
 * line `N passed, N failed, N skipped` that machines read.
 */

import type { TestCase, TestModule } from "vitest/node";
import { DefaultReporter } from "vitest/node";

export default class Reporter extends DefaultReporter {
  readonly #counts = { passed: 0, failed: 0, skipped: 0 };
  readonly #skips: string[] = [];

  override onTestCaseResult(test: TestCase): void {
    super.onTestCaseResult(test);
    const result = test.result();
    if (result.state === "pending") return;
    this.#counts[result.state]++;
    if (result.state === "skipped")
      this.#skips.push(`skipped: ${test.fullName}: ${result.note ?? "no reason given"}`);
  }

  override onTestRunEnd(...args: Parameters<DefaultReporter["onTestRunEnd"]>): void {
    super.onTestRunEnd(...args);
    const [modules, errors] = args;
    const broken = modules.filter((module: TestModule) => module.errors().length > 0).length;
    for (const line of this.#skips) process.stdout.write(`${line}\n`);
    const { passed, failed, skipped } = this.#counts;
    process.stdout.write(`${passed} passed, ${failed + broken + errors.length} failed, ${skipped} skipped\n`);
  }
}
