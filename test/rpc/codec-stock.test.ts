/**
 * Every struct of the tables against GlusterFS' own codec: what we write, C reads to the last byte and writes
 * the same.
 */

import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { newGfid } from "../../src/core/gfid.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";
import * as control from "../../src/rpc/codec-control.ts";
import { FOP_CODECS } from "../../src/rpc/codec-fops.ts";
import { dict } from "../../src/rpc/dict-codec.ts";
import { FOP_PROC, type FopProcName } from "../../src/rpc/programs.ts";
import { encode, type XdrType } from "../../src/rpc/xdr.ts";
import { StockXdr } from "./stock-xdr.ts";
import * as arbitrary from "./wire-arbitraries.ts";

const stock = StockXdr.load();

beforeEach((context) => {
  if (stock === undefined) context.skip("glusterfs is not installed (libgfxdr.so.0)");
});

function agrees(type: string, bytes: Buffer): void {
  const { used, again } = stock!.recode(type, bytes);
  expect(used).toBe(bytes.length);
  expect(again).toEqual(bytes);
}

const CALLS: { readonly [F in FopProcName]?: string } = {
  readv: "gfx_read_req",
  writev: "gfx_write_req",
};

const REPLIES: Readonly<Record<string, readonly FopProcName[]>> = {
  gfx_common_rsp: [
    ...(["access", "flush", "setxattr", "fsetxattr", "removexattr", "fremovexattr", "fsyncdir"] as const),
    ...([
      "inodelk",
      "finodelk",
      "entrylk",
      "fentrylk",
      "setactivelk",
      "ipc",
      "release",
      "releasedir",
    ] as const),
  ],
  gfx_common_iatt_rsp: ["stat", "fstat", "icreate"],
  gfx_common_2iatt_rsp: [
    ...(["lookup", "setattr", "fsetattr", "unlink", "rmdir", "truncate", "ftruncate", "writev"] as const),
    ...(["fsync", "fallocate", "discard", "zerofill", "namelink"] as const),
  ],
  gfx_common_3iatt_rsp: ["mknod", "mkdir", "symlink", "link", "put", "copy_file_range"],
  gfx_common_dict_rsp: ["getxattr", "fgetxattr", "xattrop", "fxattrop"],
  gfx_open_rsp: ["open", "opendir"],
  gfx_read_rsp: ["readv"],
};

const replyTypes = new Map(
  Object.entries(REPLIES).flatMap(([type, fops]) => fops.map((fop) => [fop, type] as const)),
);

describe.each(Object.keys(FOP_PROC) as FopProcName[])("%s", (fop) => {
  it.each(["call", "reply"] as const)("%s", (side) => {
    const type =
      side === "call" ? (CALLS[fop] ?? `gfx_${fop}_req`) : (replyTypes.get(fop) ?? `gfx_${fop}_rsp`);
    const codec: XdrType<unknown> = FOP_CODECS[fop][side];
    fc.assert(
      fc.property(arbitrary.wireValue(fop, side), (value) => agrees(type, encode(codec, value))),
      { numRuns: 25 },
    );
  });
});

describe("dicts", () => {
  it("of every value type", () => {
    fc.assert(fc.property(arbitrary.dict, (value) => agrees("gfx_dict", encode(dict, value))));
  });
});

describe("control structs", () => {
  const gfid = newGfid();
  const status = { opRet: -1, opErrno: 2 };
  const some = new Dict().setStr("volname", "vv").setInt("flags", 1);
  const flock = {
    type: "wrlck" as const,
    whence: 0,
    start: 1n,
    len: 2n,
    pid: 3,
    lkOwner: Buffer.from("abc"),
  };
  const pair = <T>(type: string, codec: XdrType<T>, value: T) => [type, encode(codec, value)] as const;

  it.each([
    pair("gf_dump_req", control.dumpCall, { gfsId: control.DUMP_GFS_ID }),
    pair("gf_dump_rsp", control.dumpReply, {
      gfsId: 1,
      opRet: 0,
      opErrno: 0,
      programs: [
        { name: "one", number: 1, version: 2 },
        { name: "three", number: 3, version: 4 },
      ],
    }),
    pair("gf_common_rsp", control.pingReply, { ...status, xdata: Buffer.from("x") }),
    pair("gf_setvolume_req", control.setvolumeCall, { dict: some }),
    pair("gf_setvolume_rsp", control.setvolumeReply, { ...status, dict: some }),
    pair("gf_getspec_req", control.getspecCall, { flags: 1, key: "vv", xdata: some }),
    pair("gf_getspec_rsp", control.getspecReply, { opRet: 4, opErrno: 0, spec: "spec", xdata: undefined }),
    pair("gf_set_lk_ver_req", control.setLkVerCall, { uid: "uid", lkVersion: 1 }),
    pair("gf_set_lk_ver_rsp", control.setLkVerReply, { ...status, lkVersion: 1 }),
    pair("gf_event_notify_req", control.eventNotifyCall, { op: 1, dict: some }),
    pair("gf_event_notify_rsp", control.eventNotifyReply, { ...status, dict: some }),
    pair("gf_get_volume_info_req", control.volumeInfoCall, { dict: some }),
    pair("gf_get_volume_info_rsp", control.volumeInfoReply, { ...status, error: "no", dict: some }),
    pair("pmap_port_by_brick_req", control.portByBrickCall, { brick: "/bricks/b1" }),
    pair("pmap_port_by_brick_rsp", control.portByBrickReply, { ...status, status: 0, port: 49152 }),
    pair("pmap_signin_req", control.signinCall, { brick: "/b", port: 1, pid: 2 }),
    pair("pmap_signin_rsp", control.statusReply, status),
    pair("pmap_signout_req", control.signoutCall, { brick: "/b", port: 1, rdmaPort: 2 }),
    pair("gfs3_cbk_cache_invalidation_req", control.cacheInvalidation, {
      gfid: "be318638-e8a0-4c6d-977d-7a937aa84806",
      eventType: 1,
      flags: 2,
      expireSec: 3,
      stat: { ...ZERO_IATT, gfid, mode: 0o100644, rdev: 7, size: 5, blksize: 6, blocks: 8, mtime: 9 },
      parentStat: ZERO_IATT,
      oldParentStat: ZERO_IATT,
      xdata: some,
    }),
    pair("gfs3_recall_lease_req", control.recallLease, {
      gfid,
      leaseType: 1,
      tid: Buffer.alloc(16, 1),
      xdata: some,
    }),
    pair("gf_statedump", control.statedump, { pid: 7 }),
    pair("gfs4_inodelk_contention_req", control.inodelkContention, {
      gfid,
      flock,
      pid: 5,
      domain: "d",
      xdata: some,
    }),
    pair("gfs4_entrylk_contention_req", control.entrylkContention, {
      gfid,
      type: 1,
      pid: 5,
      name: "name",
      domain: "d",
      xdata: some,
    }),
  ])("%s", (type, bytes) => agrees(type, bytes));
});
