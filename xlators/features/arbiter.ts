/**
 * features/arbiter: the third brick of an arbiter volume, which has names, attributes and marks, but no data
 * (spec translators.md 4.12; GlusterFS features/arbiter).
 *
 * Promises: files stay of length zero. Fops that change data succeed without reaching the disk, with the
 * attributes that the last lookup found; replicate takes sizes from data bricks. Fops that read data are
 * ENOSYS: a reader that got here by mistake must not take nothing for the file's contents.
 */

import type { Call } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Args, FopName, PrePost, Reply } from "../../src/core/fops.ts";
import type { Iatt } from "../../src/core/iatt.ts";
import type { Fd, Inode } from "../../src/core/inode.ts";
import { iovSize } from "../../src/core/iovec.ts";
import { KEY } from "../../src/core/keys.ts";
import { defineXlator, exactly, Xlator, type XlatorDefinition } from "../../src/core/xlator.ts";

export const arbiter: XlatorDefinition = defineXlator({
  type: "features/arbiter",
  children: exactly(1),
  options: {},
  create: (init) => new Arbiter(init),
});

class Arbiter extends Xlator {
  readonly #stats = new WeakMap<Inode, Iatt>();
  readonly #opens = new WeakMap<Inode, Set<Fd>>();

  override async release(fd: Fd): Promise<void> {
    this.#opens.get(fd.inode)?.delete(fd);
    await this.child.release(fd);
  }

  override async truncate(call: Call, { loc }: Args<"truncate">): Promise<Reply<"truncate">> {
    return samePrePost(await this.#statOf(loc.inode, () => this.child.stat(call, { loc })));
  }

  override async open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    const reply = await this.child.open(call, args);
    this.#opened(args.fd);
    return reply;
  }

  override async readv(): Promise<Reply<"readv">> {
    throw this.#noData("readv");
  }

  override async writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    const { fd, data, xdata } = args;
    const reply = { ...samePrePost(await this.#fdStat(call, fd)), size: iovSize(data) };
    if (xdata === undefined) return reply;
    const answer = new Dict();
    if (xdata.has(KEY.OPEN_FD_COUNT)) answer.setUint(KEY.OPEN_FD_COUNT, this.#opens.get(fd.inode)?.size ?? 0);
    // Whoever asks wants to know whether a sync can be spared, and here it can.
    if (xdata.has(KEY.WRITE_IS_APPEND)) answer.setUint(KEY.WRITE_IS_APPEND, 1);
    return { ...reply, xdata: answer };
  }

  override async create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    const reply = await this.child.create(call, args);
    this.#stats.set(args.fd.inode, reply.stat);
    this.#opened(args.fd);
    return reply;
  }

  override async ftruncate(call: Call, { fd }: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return samePrePost(await this.#fdStat(call, fd));
  }

  override async lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const reply = await this.child.lookup(call, args);
    this.#stats.set(args.loc.inode, reply.stat);
    return reply;
  }

  override async rchecksum(): Promise<Reply<"rchecksum">> {
    throw this.#noData("rchecksum");
  }

  override async fallocate(call: Call, { fd }: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return samePrePost(await this.#fdStat(call, fd));
  }

  override async discard(call: Call, { fd }: Args<"discard">): Promise<Reply<"discard">> {
    return samePrePost(await this.#fdStat(call, fd));
  }

  override async zerofill(call: Call, { fd }: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return samePrePost(await this.#fdStat(call, fd));
  }

  override async seek(): Promise<Reply<"seek">> {
    throw this.#noData("seek");
  }

  override put(call: Call, args: Args<"put">): Promise<Reply<"put">> {
    return this.child.put(call, { ...args, data: [] });
  }

  override async copy_file_range(
    call: Call,
    { fdOut, size }: Args<"copy_file_range">,
  ): Promise<Reply<"copy_file_range">> {
    const stat = await this.#fdStat(call, fdOut);
    return { size, stat, ...samePrePost(stat) };
  }

  #opened(fd: Fd): void {
    const opens = this.#opens.get(fd.inode) ?? new Set();
    this.#opens.set(fd.inode, opens.add(fd));
  }

  #fdStat(call: Call, fd: Fd): Promise<Iatt> {
    return this.#statOf(fd.inode, () => this.child.fstat(call, { fd }));
  }

  /** As the last lookup found it; asked below when there was none, as after a restart of the brick. */
  async #statOf(inode: Inode, ask: () => Promise<{ stat: Iatt }>): Promise<Iatt> {
    const known = this.#stats.get(inode);
    if (known) return known;
    const { stat } = await ask();
    this.#stats.set(inode, stat);
    return stat;
  }

  #noData(fop: FopName): FopError {
    return new FopError("ENOSYS", { fop, xlator: this.name });
  }
}

function samePrePost(stat: Iatt): PrePost {
  return { pre: stat, post: stat };
}
