/**
 * Heals that clients cause by what they touch: names that differ between copies, and split brains for which
 * the volume names a policy (spec translators.md 4.6, 4.9, 4.10).
 */

import type { Inode } from "../../../src/core/inode.ts";
import { BackgroundHeals } from "./heal/background.ts";
import { healInode, healName } from "./heal/heal.ts";
import type { HealOutcome } from "./heal/report.ts";
import type { HealName } from "./lookup.ts";
import type { ReplicaSet } from "./replica-set.ts";

export interface HealsOnAccess {
  readonly healName: HealName;
  /** True: a split brain was settled by the volume's favorite-child-policy; copies are to be asked again. */
  readonly settle: (inode: Inode) => Promise<boolean>;
  /** With data-, metadata- or entry-self-heal. */
  readonly background: BackgroundHeals;
}

/** Another process that settles the same split brain is waited for so often, and so long each time. */
const BUSY_TRIES_MAX = 20;
const BUSY_WAIT_MS = 100;

export function healOnAccess(set: ReplicaSet): HealsOnAccess {
  const background = new BackgroundHeals(set);
  return {
    background,
    healName: async (call, parent, name, gfid): Promise<void> => {
      try {
        const { outcome, why } = await healName(set, call, parent, name, gfid ? { gfid } : {});
        if (outcome !== "clean" && outcome !== "healed")
          set.log.debug("a name differs between copies", { name, outcome, why });
      } catch (error) {
        set.log.error("a name could not be healed", { name, error: String(error) });
      }
    },
    settle: async (inode: Inode): Promise<boolean> => {
      if (set.options["favorite-child-policy"] === "none") return false;
      try {
        return SETTLED.has(await settle(set, inode, background));
      } catch (error) {
        set.log.error("a split brain could not be settled", { error: String(error) });
        return false;
      }
    },
  };
}

const SETTLED: ReadonlySet<HealOutcome> = new Set(["healed", "partial", "clean", "not-needed"]);

/** The lookup that found the split brain may have had a heal begun, here or, by the daemon, elsewhere. */
async function settle(set: ReplicaSet, inode: Inode, background: BackgroundHeals): Promise<HealOutcome> {
  for (let tries = 1; ; tries++) {
    await background.running(inode.gfid);
    const { outcome } = await healInode(set, inode, {});
    if (outcome !== "busy" || tries === BUSY_TRIES_MAX) return outcome;
    await new Promise<void>((resolve) => set.env.clock.after(BUSY_WAIT_MS, resolve));
  }
}
