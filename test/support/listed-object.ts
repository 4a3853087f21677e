/** Objects as bricks list them for healing, for tests of what people are shown. */

import { type Gfid, parseGfid } from "../../src/core/gfid.ts";
import type { ListedObject } from "../../xlators/cluster/replicate/crawl/info.ts";
import type { Inspection } from "../../xlators/cluster/replicate/heal/report.ts";

/** A gfid that ends in these digits. */
export function gfid(last: number): Gfid {
  return parseGfid(`be318638-e8a0-4c6d-977d-${String(last).padStart(12, "0")}`)!;
}

export function listedObject(
  last: number,
  path: string | undefined,
  status: Inspection["status"],
  bytes = 0,
): ListedObject {
  const inspection: Inspection = {
    exists: true,
    mode: 0o100644,
    slots: ["data"],
    splitBrain: status === "split-brain" ? ["data"] : [],
    possiblyHealing: status === "possibly-healing",
    status,
    pending: true,
    behind: 4,
    bytesToHeal: bytes,
  };
  return { gfid: gfid(last), path, inspection };
}
