/** Times to set, as setattr wants them. */

import { type Iatt, SETATTR, ZERO_IATT } from "../core/iatt.ts";

/** Seconds may be negative; nanoseconds are 0 to 999999999. */
export interface Time {
  readonly sec: number;
  readonly nsec: number;
}

/** Times to set; an absent one stays as it is. */
export interface Times {
  readonly atime?: Time;
  readonly mtime?: Time;
}

/** The fields to set and the SETATTR bits that say which. */
export function timesChange({ atime, mtime }: Times): { stat: Iatt; valid: number } {
  const stat: Iatt = {
    ...ZERO_IATT,
    ...(atime ? { atime: atime.sec, atimeNsec: atime.nsec } : {}),
    ...(mtime ? { mtime: mtime.sec, mtimeNsec: mtime.nsec } : {}),
  };
  return { stat, valid: (atime ? SETATTR.ATIME : 0) | (mtime ? SETATTR.MTIME : 0) };
}
