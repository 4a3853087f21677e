/** Which files had everything on disk when a batch began. */

import { describe, expect, it } from "vitest";
import { newGfid } from "../../../../src/core/gfid.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { SyncWatch } from "../../../../xlators/features/index/sync-watch.ts";

describe("SyncWatch", () => {
  const inode = new Inode(newGfid());

  it("knows nothing of a file that was never synced", () => {
    const watch = new SyncWatch();
    watch.begins(inode);
    expect(watch.wasClean(inode)).toBe(false);
    expect(watch.wasClean(new Inode(newGfid()))).toBe(false);
  });

  it("tells of the moment when the batch began, not of later ones", () => {
    const watch = new SyncWatch();
    watch.synced(inode, watch.syncing(inode));
    watch.begins(inode);
    watch.changed(inode);
    expect(watch.wasClean(inode)).toBe(true);
    watch.begins(inode);
    expect(watch.wasClean(inode)).toBe(false);
    watch.synced(inode, watch.syncing(inode));
    expect(watch.wasClean(inode)).toBe(false);
  });

  it("takes a change that was not over when the sync began for not synced", () => {
    const watch = new SyncWatch();
    const first = watch.syncing(inode);
    watch.changed(inode);
    watch.synced(inode, first);
    watch.begins(inode);
    expect(watch.wasClean(inode)).toBe(false);
  });

  it("is not set back by an older sync that ends later", () => {
    const watch = new SyncWatch();
    const older = watch.syncing(inode);
    watch.changed(inode);
    watch.synced(inode, watch.syncing(inode));
    watch.synced(inode, older);
    watch.begins(inode);
    expect(watch.wasClean(inode)).toBe(true);
  });
});
