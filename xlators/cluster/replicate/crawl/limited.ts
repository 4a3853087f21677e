/** Many tasks from a source that is read as it is needed, a few at a time. */

/**
 * Runs `task` on each item, at most `parallel` at a time; the source is not read further while all are busy.
 * Stops reading when `signal` aborts; resolves when the last task that was begun has ended. Rejects with the
 * first failure of the source or of a task, after all that runs has ended.
 */
export async function forEachLimited<T>(
  source: AsyncIterable<T>,
  parallel: number,
  task: (item: T) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const running = new Set<Promise<void>>();
  const failures: unknown[] = [];
  try {
    for await (const item of source) {
      if (signal?.aborted || failures.length > 0) break;
      const one: Promise<void> = task(item)
        .catch((error: unknown) => void failures.push(error))
        .finally(() => running.delete(one));
      running.add(one);
      if (running.size >= parallel) await Promise.race(running);
    }
  } catch (error) {
    failures.push(error);
  }
  await Promise.all(running);
  if (failures.length > 0) throw failures[0];
}
