/**
 * WRITEs that were read from the kernel together and follow one another in a file go to the volume as one
 * fop, as a block device merges what lies in its queue: locks, messages and system calls on each brick are
 * paid once.
 *
 * Promises: no WRITE waits for one that is not there yet, and none is answered before its bytes were. Where
 * the fop wrote less than it got, or failed as only a part of it may (no space, a limit), what is unanswered
 * is written again one by one, so that each gets its own answer. Any other failure is the answer of them all.
 *
 * All of them are in flight at once, so the kernel gives them no order; appends, whose place the brick
 * chooses, are not for this.
 */

import type { Call } from "../../src/core/call.ts";
import { type ErrnoName, toFopError } from "../../src/core/errors.ts";
import type { Reply } from "../../src/core/fops.ts";
import type { Fd } from "../../src/core/inode.ts";
import type { XlatorBase } from "../../src/core/xlator.ts";
import type { KernelRequest } from "../dev-fuse/request.ts";

/**
 * Bytes in one fop, at most. Twice as many were no faster: who has few requests in flight gets all answers
 * at once and sends nothing meanwhile.
 */
const RUN_BYTES_MAX = 256 * 1024;
/** Runs kept for use again. */
const SPARE_MAX = 32;
/** What a part of a write can fail with while another part does not. */
const OF_A_PART: ReadonlySet<ErrnoName> = new Set(["ENOSPC", "EDQUOT", "EFBIG", "EINVAL"]);

/** What one WRITE asks for. */
export interface PlainWrite {
  readonly request: KernelRequest;
  readonly call: Call;
  readonly fd: Fd;
  readonly offset: number;
  readonly size: number;
  /** The file's, as the kernel has them now. */
  readonly flags: number;
}

export class WriteRuns {
  readonly #top: XlatorBase;
  /** They grow until all that was read together is known. */
  readonly #growing: Run[] = [];
  readonly #spare: Run[] = [];

  constructor(top: XlatorBase) {
    this.#top = top;
  }

  /** Answers the request, in time. Throws FopError (EINVAL) for a message that is shorter than it says. */
  add(write: PlainWrite): void {
    const growing = this.#growing;
    for (let i = 0; i < growing.length; i++) if (growing[i]!.take(write)) return;
    const run = this.#spare.pop() ?? new Run(this.#top, this.#spare);
    run.push(write);
    if (growing.push(run) === 1) process.nextTick(passOn, growing);
  }
}

function passOn(growing: Run[]): void {
  for (let i = 0; i < growing.length; i++) growing[i]!.send();
  growing.length = 0;
}

/** Used again, with its callbacks. */
class Run {
  readonly #top: XlatorBase;
  readonly #home: Run[];
  #writes: PlainWrite[] = [];
  /** Payload of each; the fop borrows the list. */
  #data: Buffer[] = [];
  #bytes = 0;

  constructor(top: XlatorBase, home: Run[]) {
    this.#top = top;
    this.#home = home;
  }

  /** Whether `write` goes on where this ends, on the same terms. */
  take(write: PlainWrite): boolean {
    const first = this.#writes[0]!;
    if (write.fd !== first.fd || write.offset !== first.offset + this.#bytes) return false;
    if (this.#bytes + write.size > RUN_BYTES_MAX || write.flags !== first.flags) return false;
    if (!isSameCaller(write.call, first.call)) return false;
    this.push(write);
    return true;
  }

  /** The first of a run; what follows comes by `take`. */
  push(write: PlainWrite): void {
    this.#data.push(write.request.payload(write.size)[0]!);
    this.#writes.push(write);
    this.#bytes += write.size;
  }

  send(): void {
    const { call, fd, offset, flags } = this.#writes[0]!;
    this.#top.writev(call, { fd, data: this.#data, offset, flags }).then(this.#written, this.#failed);
  }

  readonly #written = (reply: Reply<"writev">): void => {
    const writes = this.#end();
    let left = reply.size;
    for (let i = 0; i < writes.length; i++) {
      const write = writes[i]!;
      if (left > 0) write.request.replyCount(Math.min(left, write.size));
      else this.#sendAlone(write);
      left -= write.size;
    }
  };

  readonly #failed = (error: unknown): void => {
    const writes = this.#end();
    const again = writes.length > 1 && OF_A_PART.has(toFopError(error).code);
    for (let i = 0; i < writes.length; i++)
      if (again) this.#sendAlone(writes[i]!);
      else writes[i]!.request.fail(error);
  };

  #sendAlone({ request, call, fd, offset, size, flags }: PlainWrite): void {
    const args = { fd, data: request.payload(size), offset, flags };
    this.#top.writev(call, args).then(request.replyWritten, request.fail);
  }

  /** Gives the run back; its writes, to be answered. */
  #end(): PlainWrite[] {
    const writes = this.#writes;
    this.#writes = [];
    this.#data = [];
    this.#bytes = 0;
    if (this.#home.length < SPARE_MAX) this.#home.push(this);
    return writes;
  }
}

/** A process' threads are one caller. */
function isSameCaller(one: Call, other: Call): boolean {
  return (
    one === other || (one.uid === other.uid && one.gid === other.gid && one.lkOwner.equals(other.lkOwner))
  );
}
