/**
 * Waiting for what a new graph reaches for the first time: bricks that were added to a volume. A graph can
 * serve before all of them answer, but a name that may be on one of them cannot be looked for until then.
 */

import { Deferred, within } from "../core/concurrency.ts";
import type { Clock } from "../core/env.ts";
import type { EventSink, XlatorBase } from "../core/xlator.ts";

/** Those that did not say child-up within the time. */
export async function notUp(
  newcomers: readonly XlatorBase[],
  clock: Clock,
  timeoutMs: number,
): Promise<XlatorBase[]> {
  const missing = new Set(newcomers);
  const met = new Deferred<void>();
  const sink: EventSink = {
    onChildEvent(event, from) {
      if (event.type === "child-up") missing.delete(from);
      else if (event.type === "child-down") missing.add(from);
      if (missing.size === 0) met.resolve();
    },
  };
  for (const one of newcomers) {
    one.addParent(sink);
    one.repeatTo(sink);
  }
  if (missing.size === 0) met.resolve();
  await within(clock, timeoutMs, met.promise);
  for (const one of newcomers) one.removeParent(sink);
  return [...missing];
}
