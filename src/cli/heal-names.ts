/**
 * Names of objects as users know them: the block of a sharded image is not `/.shard/GFID.3` but block 3 of
 * `/vm1.raw`. `heal info` alone says it as GlusterFS does, to the byte.
 */

import { childrenOf } from "../../xlators/cluster/replicate/child-set.ts";
import { pathOn, shownName } from "../../xlators/cluster/replicate/crawl/names.ts";
import { internalCall } from "../core/call.ts";
import { type Gfid, parseGfid } from "../core/gfid.ts";
import type { OpenSet } from "../process/replicas.ts";
import { PID_HEAL_TOOL } from "./heal-info.ts";

const BLOCK = /^\/\.shard\/([-0-9a-f]{36})\.(\d+)$/;

/** Where the bytes of a block belong. */
export interface ImageBlock {
  readonly image: string;
  readonly block: number;
}

export class ObjectNames {
  readonly #sets: readonly OpenSet[];
  /** Paths of images by their gfids as text; undefined where no brick knows one. */
  readonly #images = new Map<string, string | undefined>();

  constructor(sets: readonly OpenSet[]) {
    this.#sets = sets;
  }

  /** Asks for the images of those paths that are blocks. Never rejects. */
  async learn(paths: readonly (string | undefined)[]): Promise<void> {
    for (const path of paths) {
      const image = BLOCK.exec(path ?? "")?.[1];
      const gfid = image === undefined ? undefined : parseGfid(image);
      if (gfid && !this.#images.has(image!)) this.#images.set(image!, await pathOf(this.#sets, gfid));
    }
  }

  /** The image and number of a block; undefined for what is none, and where the image was not learned. */
  blockOf(path: string | undefined): ImageBlock | undefined {
    const [, gfid = "", block] = BLOCK.exec(path ?? "") ?? [];
    const image = this.#images.get(gfid);
    return image === undefined ? undefined : { image, block: Number(block) };
  }

  /** Of a block whose image was not learned: the path. */
  readonly of = (path: string | undefined, gfid: Gfid): string => {
    const place = this.blockOf(path);
    return place === undefined ? shownName(path, gfid) : `${place.image} (block ${place.block})`;
  };
}

/** A path of an object on any brick of any set: blocks may lie on other bricks than their image. */
export async function pathOf(sets: readonly OpenSet[], gfid: Gfid): Promise<string | undefined> {
  const call = internalCall(PID_HEAL_TOOL);
  for (const { set } of sets)
    for (const child of childrenOf(set.up)) {
      try {
        const path = await pathOn(set.children[child]!, call, gfid);
        if (path !== undefined) return path;
      } catch {
        // Another copy may know it.
      }
    }
  return undefined;
}
