/** Layouts: what GlusterFS computes for new directories, what it writes, what is wrong with one. */

import { describe, expect, it } from "vitest";
import { daviesMeyer } from "../../../../xlators/cluster/distribute/hash.ts";
import {
  decodePiece,
  encodePiece,
  failedPiece,
  Layout,
  type NewLayoutRequest,
  NO_COMMIT_HASH,
  newLayout,
  type Piece,
  unsetPiece,
} from "../../../../xlators/cluster/distribute/layout.ts";

function request(count: number, change: Partial<NewLayoutRequest> = {}): NewLayoutRequest {
  const children = Array.from({ length: count }, (_, child) => child);
  return {
    byName: children,
    usable: children.map(() => true),
    weights: undefined,
    startHash: 0,
    spread: 0,
    commitHash: 0,
    ...change,
  };
}

function hex(layout: Layout, child: number): string {
  return layout.diskPiece(child).toString("hex");
}

function piece(start: number, stop: number): Piece {
  return { start, stop, commitHash: 0 };
}

describe("a new layout", () => {
  it("is on three children what GlusterFS 10.3 wrote, rotated by the hash of the path", () => {
    const seen: readonly [path: string, pieces: readonly string[]][] = [
      ["/a", ["00000000-55555554", "55555555-aaaaaaa9", "aaaaaaaa-ffffffff"]],
      ["/a/b", ["aaaaaaaa-ffffffff", "00000000-55555554", "55555555-aaaaaaa9"]],
      ["/a/b/c", ["aaaaaaaa-ffffffff", "00000000-55555554", "55555555-aaaaaaa9"]],
      ["/d1", ["55555555-aaaaaaa9", "aaaaaaaa-ffffffff", "00000000-55555554"]],
      ["/d2", ["55555555-aaaaaaa9", "aaaaaaaa-ffffffff", "00000000-55555554"]],
      ["/", ["aaaaaaaa-ffffffff", "00000000-55555554", "55555555-aaaaaaa9"]],
    ];
    for (const [path, pieces] of seen) {
      const layout = newLayout(request(3, { startHash: daviesMeyer(Buffer.from(path)) }));
      expect(layout.toString(), path).toBe(pieces.map((one, child) => `${child}: ${one}`).join(", "));
    }
  });

  it("is one whole range on one child, and the odd hash goes to the last of two", () => {
    expect(hex(newLayout(request(1)), 0)).toBe("000000000000000000000000ffffffff");
    expect(newLayout(request(2)).toString()).toBe("0: 00000000-7ffffffe, 1: 7fffffff-ffffffff");
  });

  it("goes round in the order of names, not of the volfile", () => {
    const byName = [0, 2, 1];
    expect(newLayout(request(3, { byName, startHash: 1 })).toString()).toBe(
      "0: aaaaaaaa-ffffffff, 1: 55555555-aaaaaaa9, 2: 00000000-55555554",
    );
  });

  it("follows the children's sizes, unless one of them is unknown", () => {
    const sized = newLayout(request(2, { weights: [1, 3] }));
    expect(sized.toString()).toBe("0: 00000000-3ffffffe, 1: 3fffffff-ffffffff");
    expect(newLayout(request(2, { weights: [0, 3] })).toString()).toBe(newLayout(request(2)).toString());
  });

  it("leaves out children that cannot hold a part, and spreads no further than asked", () => {
    const some = newLayout(request(3, { usable: [true, false, true] }));
    expect(some.toString()).toBe("0: 00000000-7ffffffe, 1: none, 2: 7fffffff-ffffffff");
    expect(hex(some, 1)).toBe("00000000000000000000000000000000");
    const narrow = newLayout(request(4, { spread: 2, startHash: 3 }));
    expect(narrow.toString()).toBe("0: 7fffffff-ffffffff, 1: none, 2: none, 3: 00000000-7ffffffe");
    expect(narrow.isWhole).toBe(true);
  });

  it("is whole for any number of children, sizes and start, and gives every hash one child", () => {
    for (let count = 1; count <= 40; count++) {
      const weights = Array.from({ length: count }, (_, child) => 1 + ((child * 7919) % 1000));
      for (const startHash of [0, 1, 0xffffffff, 0x9e3779b9]) {
        const layout = newLayout(request(count, { weights, startHash }));
        expect(layout.isWhole, `${count} children`).toBe(true);
        for (const hash of [0, 0x7fffffff, 0x80000000, 0xffffffff])
          expect(layout.childFor(hash)).toBeGreaterThanOrEqual(0);
      }
    }
  });
});

describe("anomalies", () => {
  const cases: readonly [name: string, pieces: readonly Piece[], expected: Partial<Layout["anomalies"]>][] = [
    ["none", [piece(0, 9), piece(10, 0xffffffff)], { holes: 0, overlaps: 0 }],
    ["a hole between", [piece(0, 9), piece(11, 0xffffffff)], { holes: 1, overlaps: 0 }],
    ["a hole at the start", [piece(5, 0xffffffff), piece(0, 0)], { holes: 1, overlaps: 0 }],
    ["a hole at the end", [piece(0, 9), piece(10, 99)], { holes: 1, overlaps: 0 }],
    ["an overlap", [piece(0, 10), piece(10, 0xffffffff)], { holes: 0, overlaps: 1 }],
    ["two whole ranges", [piece(0, 0xffffffff), piece(0, 0xffffffff)], { overlaps: 1 }],
    ["nothing set", [unsetPiece(), unsetPiece()], { holes: 1, missing: 0 }],
    ["a missing directory", [piece(0, 0xffffffff), failedPiece("ENOENT")], { holes: 0, missing: 1 }],
    ["a child away", [piece(0, 9), failedPiece("ENOTCONN")], { holes: 1, down: 1 }],
    ["an error", [piece(0, 0xffffffff), failedPiece("EIO")], { failed: 1 }],
    ["a child that is full", [piece(0, 0xffffffff), failedPiece("ENOSPC")], { failed: 0, down: 0 }],
  ];
  it.each(cases)("%s", (_name, pieces, expected) => {
    expect(new Layout(pieces).anomalies).toMatchObject(expected);
  });

  it("a hash in a hole has no child, one in an overlap the first", () => {
    const layout = new Layout([piece(0, 9), piece(11, 20)]);
    expect([layout.childFor(10), layout.childFor(9), layout.childFor(11)]).toEqual([-1, 0, 1]);
    expect(new Layout([piece(0, 10), piece(5, 20)]).childFor(7)).toBe(0);
  });
});

describe("a layout seen while a child is away", () => {
  it("keeps what was known of that child, unless the others have changed", () => {
    const known = new Layout([piece(0, 9), piece(10, 0xffffffff)]);
    const seen = new Layout([piece(0, 9), failedPiece("ENOTCONN")]);
    expect(seen.filledFrom(known).toString()).toBe(known.toString());
    const changed = new Layout([piece(0, 5), failedPiece("ENOTCONN")]);
    expect(changed.filledFrom(known)).toBe(changed);
    expect(seen.filledFrom(undefined)).toBe(seen);
  });
});

describe("on disk", () => {
  it("four big-endian words come back as they were", () => {
    const disk = Buffer.from("6000aabb0000000155555555aaaaaaa9", "hex");
    const decoded = decodePiece(disk)!;
    expect(decoded.byUser).toBe(true);
    expect(encodePiece(decoded.piece, true)).toEqual(disk);
  });

  it("other types and lengths are not understood", () => {
    expect(decodePiece(Buffer.from("00000000000000020000000055555554", "hex"))).toBeUndefined();
    expect(decodePiece(Buffer.alloc(15))).toBeUndefined();
  });

  it("the commit hash of a layout is its pieces', and none when they differ", () => {
    const at = (commitHash: number, start: number): Piece => ({ start, stop: start + 5, commitHash });
    expect(new Layout([at(7, 0), at(7, 6)]).commitHash).toBe(7);
    expect(new Layout([at(7, 0), at(8, 6)]).commitHash).toBe(NO_COMMIT_HASH);
    expect(new Layout([at(7, 0), failedPiece("ENOTCONN")]).commitHash).toBe(7);
  });
});
