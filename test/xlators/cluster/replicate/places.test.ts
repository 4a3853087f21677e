/** Bricks are written down as the copies they are, once nothing that was marked before is left. */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { type ErrnoName, FopError } from "../../../../src/core/errors.ts";
import type { Args } from "../../../../src/core/fops.ts";
import { INDEX_KEY, PLACE_XATTR } from "../../../../src/core/keys.ts";
import { SILENT } from "../../../../src/core/log.ts";
import type { XlatorBase } from "../../../../src/core/xlator.ts";
import { options, type ReplicateOptions } from "../../../../xlators/cluster/replicate/options.ts";
import { Places } from "../../../../xlators/cluster/replicate/places.ts";
import { ReplicaSet } from "../../../../xlators/cluster/replicate/replica-set.ts";
import { type FakeEnv, fakeEnv } from "../../../support/fake-env.ts";

/** What a brick answers to the two calls that matter here. */
class FakeBrick {
  /** Objects for which it blames a copy; undefined: it has no index. */
  pending: number | undefined = 0;
  refuses: ErrnoName | undefined;
  readonly name = "brick";
  written: string | undefined;

  async getxattr(): Promise<{ xattrs: Dict }> {
    if (this.pending === undefined) throw new FopError("ENODATA");
    return { xattrs: new Dict().setUint(INDEX_KEY.PENDING_COUNT, this.pending) };
  }

  async setxattr(call: { pid: number }, { xattrs }: Args<"setxattr">): Promise<object> {
    if (this.refuses) throw new FopError(this.refuses);
    expect(call.pid).toBeLessThan(0);
    this.written = xattrs.text(PLACE_XATTR);
    return {};
  }
}

interface Rig {
  env: FakeEnv;
  set: ReplicaSet;
  places: Places;
  bricks: FakeBrick[];
  /** Children that were taken out of service, and why. */
  refused: string[];
  /** A brick comes, and says this of itself. */
  up(child: number, brickId?: string): void;
  /** Until all that is under way is done. */
  settled(): Promise<void>;
}

function rig(): Rig {
  const env = fakeEnv();
  const bricks = [new FakeBrick(), new FakeBrick(), new FakeBrick()];
  const defaults = Object.fromEntries(
    Object.entries(options).map(([key, { default: value }]) => [key, value]),
  );
  const set = new ReplicaSet({
    name: "r",
    children: bricks as unknown as XlatorBase[],
    brickIds: ["v-client-0", "v-client-1", "v-client-2"],
    options: defaults as ReplicateOptions,
    env,
    log: SILENT,
  });
  const refused: string[] = [];
  const places = new Places(set, (child, why) => {
    set.childIsDown(child);
    refused.push(`${child}: ${why}`);
  });
  return {
    ...{ env, set, places, bricks, refused },
    up(child, brickId) {
      places.heard(child, brickId);
      set.childIsUp(child);
    },
    settled: () => env.clock.advance(0),
  };
}

const written = ({ bricks }: Rig): (string | undefined)[] => bricks.map((brick) => brick.written);

describe("bricks that do not say which copy they are", () => {
  it("are written down when the last of them has come", async () => {
    const r = rig();
    r.up(0, "");
    r.up(1, "");
    await r.settled();
    expect(written(r)).toEqual([undefined, undefined, undefined]);
    r.up(2, "");
    await r.settled();
    expect(written(r)).toEqual(["v-client-0", "v-client-1", "v-client-2"]);
  });

  it("are not while any copy blames another, and are a minute after that is healed", async () => {
    const r = rig();
    r.bricks[1]!.pending = 3;
    for (const child of [0, 1, 2]) r.up(child, "");
    await r.settled();
    expect(written(r)).toEqual([undefined, undefined, undefined]);
    r.bricks[1]!.pending = 0;
    await r.env.clock.advance(60_000);
    expect(written(r)).toEqual(["v-client-0", "v-client-1", "v-client-2"]);
  });

  it("are not while a brick keeps no index that would tell", async () => {
    const r = rig();
    r.bricks[2]!.pending = undefined;
    for (const child of [0, 1, 2]) r.up(child, "");
    await r.env.clock.advance(120_000);
    expect(written(r)).toEqual([undefined, undefined, undefined]);
  });

  it("are tried again after a brick refused, and left alone after the end", async () => {
    const r = rig();
    r.bricks[1]!.refuses = "EROFS";
    for (const child of [0, 1, 2]) r.up(child, "");
    await r.settled();
    expect(written(r)).toEqual(["v-client-0", undefined, undefined]);
    r.bricks[1]!.refuses = undefined;
    await r.env.clock.advance(60_000);
    expect(written(r)).toEqual(["v-client-0", "v-client-1", "v-client-2"]);
    const ended = rig();
    ended.bricks[0]!.pending = 1;
    for (const child of [0, 1, 2]) ended.up(child, "");
    await ended.settled();
    ended.places.stop();
    ended.bricks[0]!.pending = 0;
    await ended.env.clock.advance(120_000);
    expect(written(ended)).toEqual([undefined, undefined, undefined]);
  });
});

it("a brick that another client has just written down as another copy is not used any more", async () => {
  const r = rig();
  r.bricks[1]!.refuses = "EEXIST";
  for (const child of [0, 1, 2]) r.up(child, "");
  await r.env.clock.advance(120_000);
  expect(written(r)).toEqual(["v-client-0", undefined, "v-client-2"]);
  expect(r.set.up).toBe(0b101);
  expect(r.refused).toEqual([
    '1: subvolume "brick": another client took its brick for another copy than "v-client-1" just now; ' +
      "compare the volfiles of both",
  ]);
});

it("bricks that say it, or cannot keep it, are left as they are", async () => {
  const r = rig();
  r.up(0, "v-client-0");
  r.up(1, undefined);
  r.up(2, "");
  await r.settled();
  expect(written(r)).toEqual([undefined, undefined, "v-client-2"]);
});
