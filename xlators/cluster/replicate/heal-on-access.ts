/**
 * Heals that clients cause by what they touch: names that differ between copies, and split brains for which
 * the volume names a policy (spec translators.md 4.6, 4.9, 4.10).
 */

import type { Inode } from "../../../src/core/inode.ts";
import { BackgroundHeals } from "./heal/background.ts";
import { healInode, healName } from "./heal/heal.ts";
import type { HealName } from "./lookup.ts";
import type { ReplicaSet } from "./replica-set.ts";

export interface HealsOnAccess {
  readonly healName: HealName;
  /** True: a split brain was settled by the volume's favorite-child-policy; copies are to be asked again. */
  readonly settle: (inode: Inode) => Promise<boolean>;
  /** With data-, metadata- or entry-self-heal. */
  readonly background: BackgroundHeals;
}

export function healOnAccess(set: ReplicaSet): HealsOnAccess {
  return {
    background: new BackgroundHeals(set),
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
        const { outcome } = await healInode(set, inode, {});
        return outcome === "healed" || outcome === "partial" || outcome === "clean";
      } catch (error) {
        set.log.error("a split brain could not be settled", { error: String(error) });
        return false;
      }
    },
  };
}
