/**
 * ChangeWatch: tells a cache whether an answer that was under way may be kept (spec translators.md 7.2).
 *
 * An answer is as old as its question. When the object was changed in between, the answer may show it as it
 * was before, and a cache that kept it would contradict a change that its caller has seen done. So whoever
 * asks brackets the question with `begin` and `end`, and whoever changes an object reports it before the
 * change goes out and again after it came back. Changes are remembered only while questions are under way;
 * beyond a limit the oldest questions are told that everything has changed.
 */

/** Changed objects remembered at once. */
const REMEMBERED_MAX = 10_000;

export class ChangeWatch {
  #now = 1;
  #underWay = 0;
  /** Questions asked before this moment are told that everything has changed. */
  #floor = 0;
  /** Objects that were changed while a question was under way, and when. */
  readonly #changed = new Map<string, number>();

  /** A question goes out. The result is for `unchangedSince`; each `begin` has its `end`. */
  begin(): number {
    this.#underWay++;
    return ++this.#now;
  }

  end(): void {
    if (--this.#underWay === 0 && this.#changed.size > 0) this.#changed.clear();
  }

  /**
   * The object is being changed, or has just been. `own` of the questions under way are those of whoever
   * changed it, who knows already.
   */
  changed(key: string, own = 0): void {
    if (this.#underWay <= own) return;
    if (this.#changed.size >= REMEMBERED_MAX) this.allChanged();
    else this.#changed.set(key, ++this.#now);
  }

  allChanged(): void {
    this.#floor = ++this.#now;
    this.#changed.clear();
  }

  /** Whether an answer about the object may be kept; to be asked before `end`. */
  unchangedSince(key: string, since: number): boolean {
    if (since < this.#floor) return false;
    const at = this.#changed.get(key);
    return at === undefined || at < since;
  }
}
