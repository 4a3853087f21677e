/**
 * mkdir over distributed children (spec translators.md 6.6; GlusterFS dht_mkdir).
 *
 * The child that the name belongs to decides: made there first, under the name's lock and with the
 * parent's layout as a guard; a layout that has changed is learned and mkdir begins anew. The other
 * children follow; one that is away or filled gets no share of the new directory's layout.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { S_IFDIR } from "../../../src/core/iatt.ts";
import { Inode } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { guard, layoutHasChanged } from "./entries.ts";
import { mergedDirectory } from "./iatts.ts";
import type { Layout } from "./layout.ts";
import { locked } from "./locks.ts";
import { isNamed, type Lookups, type NamedLoc } from "./lookup.ts";
import { asRoot, type SubvolumeSet } from "./subvolume-set.ts";

const ATTEMPTS_MAX = 4;
const CLEAN_MDS = Buffer.alloc(4);

interface Made {
  readonly replies: readonly Reply<"mkdir">[];
  /** By child: the directory is there. */
  readonly there: readonly boolean[];
}

export class MakeDirectory {
  readonly #set: SubvolumeSet;
  readonly #lookups: Lookups;

  constructor(set: SubvolumeSet, lookups: Lookups) {
    this.#set = set;
    this.#lookups = lookups;
  }

  async mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    const set = this.#set;
    const { loc } = args;
    if (!isNamed(loc)) throw set.error("EINVAL", "mkdir");
    if (args.xdata?.gfid(KEY.GFID_REQ) === undefined) throw set.error("EPERM", "mkdir");
    await set.renewSpace();
    let layout = await this.#lookups.layoutOf(call, loc.parent);
    for (let attempt = 1; ; attempt++) {
      const own = set.childFor(layout, loc.name);
      if (own < 0) throw set.hole("mkdir", loc.name);
      try {
        return await this.#make(call, { ...args, loc }, layout, own);
      } catch (error) {
        if (!layoutHasChanged(error) || attempt >= ATTEMPTS_MAX) throw error;
        layout = await this.#lookups.refreshLayout(call, loc.parent);
      }
    }
  }

  async #make(
    call: Call,
    args: Args<"mkdir"> & { loc: NamedLoc },
    parentLayout: Layout,
    own: number,
  ): Promise<Reply<"mkdir">> {
    const set = this.#set;
    const { parent, name } = args.loc;
    const { replies, there } = await locked(
      set,
      call,
      (locks) => locks.name({ parent, name, child: own }),
      () => this.#onAll(call, args, parentLayout, own),
    );
    const first = replies[0]!;
    const { gfid } = first.stat;
    const state = set.states.of(args.loc.inode, gfid);
    state.parent = parent;
    state.name = name;
    state.mds = own;
    const { generation } = set;
    const able = there.map((one, child) => one && !set.space.isFilled(child, set.options));
    const usable = able.some((one) => one) ? able : there;
    const inode = new Inode(gfid, S_IFDIR);
    state.laidOut(await this.#lookups.healer.layOut(asRoot(call), inode, own, usable), generation);
    const parents = set.states.of(parent);
    return {
      stat: state.shown(
        mergedDirectory(
          replies.map(({ stat }) => stat),
          first.stat,
        ),
      ),
      preParent: parents.shown(
        mergedDirectory(
          replies.map(({ preParent }) => preParent),
          first.preParent,
        ),
      ),
      postParent: parents.shown(
        mergedDirectory(
          replies.map(({ postParent }) => postParent),
          first.postParent,
        ),
      ),
    };
  }

  async #onAll(
    call: Call,
    args: Args<"mkdir"> & { loc: NamedLoc },
    parentLayout: Layout,
    own: number,
  ): Promise<Made> {
    const set = this.#set;
    const owned = (args.xdata?.clone() ?? new Dict()).setBytes(set.xattrs.mds, CLEAN_MDS);
    const guarded = { ...args, xdata: guard(set, owned, parentLayout, own) };
    const first = await set.children[own]!.mkdir(call, guarded);
    const others = set.all.filter((child) => child !== own);
    const outcomes = await set.onEach(others, "mkdir", call, args);
    const replies = [first];
    const there = set.all.map((child) => child === own);
    for (const [index, child] of others.entries()) {
      const outcome = outcomes[index]!;
      if (outcome.ok) replies.push(outcome.reply);
      // EEXIST: a lookup of another client has healed what it took for a missing directory.
      there[child] = outcome.ok || outcome.error.code === "EEXIST";
    }
    return { replies, there };
  }
}
