/**
 * Comparing payloads: at the speed of memcmp, and with a message that says where they differ, not all they
 * hold.
 */

import { expect } from "vitest";

/** Fails unless both hold the same bytes; `what` names them. */
export function expectSameBytes(actual: Buffer, expected: Buffer, what = "bytes"): void {
  if (actual.equals(expected)) return;
  expect(actual.length, `${what}: length`).toBe(expected.length);
  const at = expected.findIndex((byte, index) => byte !== actual[index]);
  const around = (bytes: Buffer): string => bytes.toString("hex", at, at + 32);
  expect(around(actual), `${what}: from offset ${at}`).toBe(around(expected));
}
