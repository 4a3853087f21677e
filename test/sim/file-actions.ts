/**
 * What programs do with the contents and attributes of the few files that all clients share: each has an fd
 * of its own per file, writes, reads, cuts, syncs and makes holes, locks bytes, and closes now and then.
 */

import { FopError } from "../../src/core/errors.ts";
import { SETATTR } from "../../src/core/iatt.ts";
import type { Fd } from "../../src/core/inode.ts";
import { O_DSYNC } from "../../src/core/open-flags.ts";
import { type Acting, whenMissing } from "./acting.ts";
import type { Hold } from "./lock-model.ts";
import {
  ABSENT,
  CELL_BYTES,
  cellBytes,
  EMPTY,
  type FileModel,
  modeText,
  type Span,
  writeName,
} from "./model.ts";

const XATTR = "user.sim";
/** Bytes of a file that programs lock. */
const LOCK_BYTES = 2;

export class FileActions {
  readonly #acting: Acting;
  readonly #fds: (Fd | undefined)[] = [];
  /** The one lock it has. Who never has two never waits in a circle. */
  #held: { readonly fd: Fd; readonly byte: number; readonly hold: Hold } | undefined;

  constructor(acting: Acting) {
    this.#acting = acting;
  }

  async write(): Promise<void> {
    const { random, plan, numbers, edge } = this.#acting;
    const { file, fd } = await this.#file();
    const span = this.#range(file);
    const [from, to] = span;
    const number = numbers.next++;
    const value = writeName(number);
    const bytes = cellBytes(file.number, from, to, number);
    const dsync = random.chance(plan.dsyncShare);
    await this.#acting.change(
      `write ${value} ${file.name} [${from},${to})${dsync ? " dsync" : ""}`,
      (change) => file.write(change, span, value),
      async () => {
        const size = await edge.write(fd, bytes, from * CELL_BYTES, dsync ? O_DSYNC : 0);
        return size === bytes.length;
      },
      !dsync && this.#acting.cluster.plan.stack?.writeBehind !== undefined,
    );
  }

  async read(): Promise<void> {
    const { model, plan, edge, session } = this.#acting;
    const { file, fd } = await this.#file();
    const span = this.#range(file);
    const [from, to] = span;
    const startTick = model.tick();
    if (plan.freshReads) await edge.refresh(fd.inode);
    const bytes = await edge.read(fd, from * CELL_BYTES, (to - from) * CELL_BYTES);
    if (this.#acting.abandoned) return;
    this.#acting.note(`read ${file.name} [${from},${to})`);
    model.judgeBytes(this.#acting.client.name, file, span, bytes, { startTick, session });
  }

  async truncate(): Promise<void> {
    const { edge } = this.#acting;
    const { file, fd } = await this.#file();
    const [cell] = this.#range(file);
    await this.#acting.change(
      `truncate ${file.name} ${cell}`,
      (change) => file.cut(change, cell),
      async () => {
        await edge.top.ftruncate(edge.call, { fd, offset: cell * CELL_BYTES });
        return true;
      },
    );
  }

  async fsync(): Promise<void> {
    const { model, edge, random, session, cluster } = this.#acting;
    const { file, fd } = await this.#file();
    const startTick = model.tick();
    try {
      await edge.top.fsync(edge.call, { fd, datasync: random.chance(0.5) });
    } catch (error) {
      if (!this.#acting.abandoned) model.doubted(session, file);
      throw error;
    }
    if (this.#acting.abandoned) return;
    this.#acting.note(`fsync ${file.name}`);
    model.settled(session, file);
    // Blocks that another client wrote are synced by that one alone.
    model.synced(file, startTick, cluster.plan.stack?.shard ? session : undefined);
  }

  async allocate(): Promise<void> {
    const { edge, random } = this.#acting;
    const { file, fd } = await this.#file();
    const [from, to] = this.#range(file);
    const range = { offset: from * CELL_BYTES, size: (to - from) * CELL_BYTES };
    const keepSize = random.chance(0.5);
    file.mayReach(keepSize ? 0 : to);
    await edge.top.fallocate(edge.call, { fd, keepSize, ...range });
    this.#acting.note(`fallocate ${file.name} [${from},${to})`);
  }

  async punch(): Promise<void> {
    const { edge, random } = this.#acting;
    const { file, fd } = await this.#file();
    const span = this.#range(file);
    const [from, to] = span;
    const fop = random.chance(0.5) ? "discard" : "zerofill";
    const range = { offset: from * CELL_BYTES, size: (to - from) * CELL_BYTES };
    await this.#acting.change(
      `${fop} ${file.name} [${from},${to})`,
      (change) => file.write(change, span, EMPTY),
      async () => {
        await edge.top[fop](edge.call, { fd, ...range });
        return true;
      },
    );
  }

  async chmod(): Promise<void> {
    const { edge, random } = this.#acting;
    const { file, fd } = await this.#file();
    const mode = 0o600 + random.int(0, 0o77);
    await this.#acting.change(
      `chmod ${file.name} ${modeText(mode)}`,
      (change) => file.mode.write(change, modeText(mode)),
      async () => {
        await edge.setattr(fd.inode, SETATTR.MODE, { mode });
        return true;
      },
    );
  }

  async setxattr(): Promise<void> {
    const { edge, numbers } = this.#acting;
    const { file, fd } = await this.#file();
    const value = `x${numbers.next++}`;
    await this.#acting.change(
      `setxattr ${file.name} ${value}`,
      (change) => file.xattr.write(change, value),
      async () => {
        await edge.setxattr(fd.inode, XATTR, value);
        return true;
      },
    );
  }

  /** Mode and xattr of a file. */
  async look(): Promise<void> {
    const { model, edge, plan, client } = this.#acting;
    const { file, fd } = await this.#file();
    const startTick = model.tick();
    const { mode } = await edge.refresh(fd.inode);
    if (this.#acting.abandoned) return;
    model.judge(`${client.name}: mode of ${file.name}`, file.mode, modeText(mode), startTick);
    const second = model.tick();
    if (plan.freshReads) await edge.refresh(fd.inode);
    const value = await edge.getxattr(fd.inode, XATTR).catch(whenMissing("ENODATA", ABSENT));
    if (this.#acting.abandoned) return;
    this.#acting.note(`look at ${file.name}: ${modeText(mode)} ${value}`);
    model.judge(`${client.name}: xattr of ${file.name}`, file.xattr, value, second);
  }

  /** Takes a lock, or gives back the one it has. */
  async lock(): Promise<void> {
    const { random, client, cluster, edge, locks } = this.#acting;
    const held = this.#held;
    if (held) {
      this.letGo();
      await edge.unlock(held.fd, held.byte);
      this.#acting.note(`unlock ${held.hold.place}`);
      return;
    }
    const { file, fd } = await this.#file();
    const byte = random.int(0, LOCK_BYTES - 1);
    const wait = random.chance(0.3);
    const place = `${file.name} byte ${byte}`;
    const hold = { client: client.name, place, sinceMs: cluster.clock.nowMs() };
    await edge.lock(fd, byte, wait);
    if (this.#acting.abandoned) return;
    this.#acting.note(`lock ${place}`);
    this.#held = { fd, byte, hold };
    locks.granted(hold);
  }

  /** The lock counts as given back; the brick may hear of that later. */
  letGo(): void {
    if (this.#held) this.#acting.locks.released(this.#held.hold);
    this.#held = undefined;
  }

  async reopen(): Promise<void> {
    const { random, model } = this.#acting;
    await this.#close(model.files[random.int(0, model.files.length - 1)]!);
  }

  async closeAll(): Promise<void> {
    this.letGo();
    for (const file of this.#acting.model.files)
      await this.#close(file).catch((error: unknown) => {
        if (!(error instanceof FopError)) throw error;
      });
  }

  async #close(file: FileModel): Promise<void> {
    const { edge, model, session } = this.#acting;
    const fd = this.#fds[file.number];
    this.#fds[file.number] = undefined;
    if (this.#held?.fd === fd) this.letGo();
    if (fd)
      try {
        await edge.close(fd);
        if (!this.#acting.abandoned) model.settled(session, file);
      } catch (error) {
        if (!this.#acting.abandoned) model.givenUp(session, file);
        throw error;
      }
    this.#acting.note(`close ${file.name}`);
  }

  /** A file and an open fd of it. */
  async #file(): Promise<{ file: FileModel; fd: Fd }> {
    const { random, model, edge } = this.#acting;
    const file = random.pick(model.files);
    const open = this.#fds[file.number];
    if (open) return { file, fd: open };
    const { inode } = await edge.lookup(edge.root, file.name);
    const fd = await edge.open(inode);
    this.#fds[file.number] = fd;
    return { file, fd };
  }

  /** A range of cells: near the beginning, near the step of a heal, or anywhere. */
  #range(file: FileModel): Span {
    const { random, plan } = this.#acting;
    const size = random.int(1, plan.writeCellsMax);
    const last = Math.max(0, file.cellCount - size);
    const hot = random.pick([0, Math.floor(last / 2), last]);
    const near = Math.min(last, Math.max(0, hot + random.int(-8, 8)));
    const from = random.chance(0.7) ? near : random.int(0, last);
    return [from, Math.min(file.cellCount, from + size)];
  }
}
