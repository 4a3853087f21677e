/** entrylk: locks of translators on names in a directory, by domain (spec translators.md 9.2). */

import type { DomainLock, DomainRules } from "./domain.ts";
import type { LockOwner } from "./owner.ts";

export interface Entrylk extends DomainLock {
  /** Undefined: all names. */
  readonly name: string | undefined;
  /** Told apart by unlock only: two locks on one name always conflict, read locks too. */
  readonly type: "rdlck" | "wrlck";
}

export const ENTRYLK_RULES: DomainRules<Entrylk> = {
  conflicts: (a, b) => a.name === undefined || b.name === undefined || a.name === b.name,
  matches: (held, request) => held.name === request.name && held.type === request.type,
};

export function entrylkOf(owner: LockOwner, name: string | undefined, type: Entrylk["type"]): Entrylk {
  return { owner, name, type, grantedMs: 0, contendedMs: undefined };
}
