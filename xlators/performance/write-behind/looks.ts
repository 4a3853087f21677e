/**
 * Looks that are under way at attributes of files whose gfids nobody knows yet: lookups by name and
 * listings. What they bring is out of date if a write that was acknowledged before they began reached the
 * brick after they did, so it is remembered which files were written meanwhile.
 */

import type { Gfid } from "../../../src/core/gfid.ts";
import { gfidKey } from "../../../src/core/gfid.ts";

export class Looks {
  readonly #written = new Set<string>();
  #underWay = 0;

  begin(): void {
    this.#underWay++;
  }

  end(): void {
    if (--this.#underWay === 0) this.#written.clear();
  }

  /** Acknowledged bytes of a file (by gfidKey) reached the bricks. */
  noteWritten(key: string): void {
    if (this.#underWay > 0) this.#written.add(key);
  }

  /** Whether that happened while looks were under way. */
  sawWritten(gfid: Gfid): boolean {
    return this.#written.size > 0 && this.#written.has(gfidKey(gfid));
  }
}
