/**
 * One file's line: all changes that have not ended yet, in the order in which they came (spec translators.md
 * 7.1, where the line is called queues and generations).
 *
 * Rules. Changes of the same bytes reach the child one after the other, in the order of the line; changes of
 * other bytes go side by side (one at a time with strict-write-ordering). Whoever looks at bytes waits for
 * the batches that hold some of them. A batch that fails keeps its place: it is tried again when anybody asks
 * for its bytes, until it is written or given up; meanwhile nothing is acknowledged early, and a change of
 * the same bytes fails as the batch did. What is behind a failed batch fails with it, so that no promise here
 * waits for ever.
 */

import type { Call } from "../../../src/core/call.ts";
import { Deferred } from "../../../src/core/concurrency.ts";
import type { Timer } from "../../../src/core/env.ts";
import { FopError, toFopError } from "../../../src/core/errors.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { ZERO_IATT } from "../../../src/core/iatt.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { Applicant, Batch, overlap, type Place, type Span, Turn, WHOLE_FILE } from "./batch.ts";
import type { Loans } from "./loans.ts";
import type { WriteBehindOptions } from "./options.ts";
import type { Slabs } from "./slabs.ts";

/** What a line needs of the translator it belongs to. */
export interface Host {
  readonly slabs: Slabs;
  readonly loans: Loans;
  /** Batches of a file leave while less than so many bytes are under way; tests have room for less. */
  underWayMax: number;
  current(): WriteBehindOptions;
  /** Writes a batch. */
  send(batch: Batch): Promise<Reply<"writev">>;
  /** The line has a first entry, or lost its last one. */
  onBusy(backlog: Backlog): void;
  onIdle(backlog: Backlog): void;
  /** Acknowledged bytes reached the bricks. */
  onWritten(backlog: Backlog): void;
  onFailed(batch: Batch, error: FopError): void;
  after(delayMs: number, task: () => void): Timer;
}

/** How long a small write waits for the next one of its stream. */
const LINGER_MS = 4;
/**
 * What more was under way than this would all end together: the answers of large writes that make a file
 * longer wait for its new size, whose xattrop stands behind the others' payloads in the same connections.
 */
export const UNDER_WAY_MAX = 8 << 20;

export class Backlog {
  /** gfidKey of the file. */
  readonly key: string;
  readonly #host: Host;
  readonly #line: Place[] = [];
  readonly #applicants: Applicant[] = [];
  /** The batch that the next write may continue; only applicants stand behind it. */
  #open: Batch | undefined;
  #batches = 0;
  #failed = 0;
  #unsyncedBytes = 0;
  #sentBytes = 0;
  /** The file's size as far as known; 0 is always a safe guess. */
  #size = 0;
  /** Runs while a batch waits for more of its stream. */
  #lingering: Timer | undefined;
  #lost = 0;
  #lostTo: FopError | undefined;

  constructor(key: string, host: Host) {
    this.key = key;
    this.#host = host;
  }

  get isIdle(): boolean {
    return this.#line.length === 0;
  }
  /** Just one entry: whatever its reply tells of the file is the latest. */
  get isAlone(): boolean {
    return this.#line.length === 1;
  }
  /** Some acknowledged bytes are not written yet. */
  get isDirty(): boolean {
    return this.#batches > 0;
  }
  get hasFailed(): boolean {
    return this.#failed > 0;
  }
  /** Acknowledged bytes that are not written yet. */
  get unsyncedBytes(): number {
    return this.#unsyncedBytes;
  }
  /** How often acknowledged bytes were given up. */
  get lost(): number {
    return this.#lost;
  }
  /** Why they were, the last time. */
  get lostTo(): FopError | undefined {
    return this.#lostTo;
  }

  /** Takes note of the file's size, from a reply that is newer than everything in line. */
  noteSize(size: number): void {
    this.#size = size;
  }

  /**
   * Takes a write over, if it may be acknowledged: the answer comes at once, or when there is room in the
   * window. Undefined: the caller shall write it himself, in its turn.
   */
  offer(call: Call, args: Args<"writev">, size: number): Promise<Reply<"writev">> | undefined {
    if (this.#failed > 0) return undefined;
    if (this.#applicants.length === 0 && this.#borrow(call, args, size, this.#line.length)) {
      this.#advance();
      return Promise.resolve(acknowledgement(size));
    }
    const options = this.#host.current();
    const isLarge = size >= options["aggregate-size"];
    // One whose memory can be borrowed waits for that: something is under way, and ends.
    const mayBorrow = isLarge && args.cached !== undefined && this.#batches > 0;
    if (size >= options["cache-size"] && this.#isAwaited && !mayBorrow) return undefined;
    if (this.#applicants.length === 0 && this.#unsyncedBytes <= options["cache-size"]) {
      this.#admit(call, args, size, this.#line.length);
      this.#trickle();
      this.#advance();
      return Promise.resolve(acknowledgement(size));
    }
    // Any other large one gains nothing by waiting to be copied.
    if (isLarge && !mayBorrow) return undefined;
    const applicant = new Applicant(call, args, size);
    this.#push(applicant);
    this.#applicants.push(applicant);
    return applicant.answer.promise;
  }

  /** Makes a batch of a large write whose payload may stay where it is, at a place in line. */
  #borrow(call: Call, args: Args<"writev">, size: number, index: number): boolean {
    if (args.cached === undefined) return false;
    if (size < this.#host.current()["aggregate-size"]) return false;
    const lease = this.#host.loans.take(args.cached, size);
    if (lease === undefined) return false;
    const batch = this.#enter(call, args, index);
    batch.borrow(args.data, size, lease);
    this.#count(batch, size);
    this.#close();
    return true;
  }

  /**
   * Somebody waits for a change, and yet comes with more: the kernel that writes its cache back. What fills
   * the window by itself is not worth a copy then.
   */
  get #isAwaited(): boolean {
    return this.#line.some((place) => place instanceof Turn);
  }

  /**
   * Enters a change. When `started` is set, the caller waits for it (it rejects when acknowledged bytes
   * before it could not be written); then he does his work and says `end`.
   */
  begin(span: Span, supersedes = false): Turn {
    const turn = new Turn(span, supersedes);
    this.#close();
    this.#push(turn);
    if (this.#failed > 0 && this.#line.some((place) => isFailed(place) && this.#isInTheWay(place, turn)))
      this.#readyAgain();
    if (!this.#isFree(this.#line.length - 1)) turn.started = new Deferred();
    this.#advance();
    return turn;
  }

  /** A change is over. One that was refused its turn is not in line any more, which is right too. */
  end(turn: Turn, succeeded: boolean): void {
    if (turn.supersedes && succeeded) this.#dropCleared(turn);
    this.#remove(turn);
    if (turn.supersedes && !succeeded) this.#readyAgain();
    this.#goOn();
  }

  /**
   * Has all batches that hold something of `span` written, failed ones again; undefined when there are none.
   * Resolves to the error of the first that could not be.
   */
  settle(span: Span = WHOLE_FILE): Promise<FopError | undefined> | undefined {
    if (this.#batches === 0) return undefined;
    const concerned = this.#line.filter((place) => place instanceof Batch && place.isSeenBy(span)) as Batch[];
    if (concerned.length === 0) return undefined;
    if (concerned.some(({ state }) => state === "failed")) this.#readyAgain();
    if (concerned.some(({ state }) => state === "open")) this.#close();
    this.#advance();
    return firstError(concerned);
  }

  /** Tries what failed once more and looks at the options again: the child is back, or they changed. */
  wake(): void {
    this.#readyAgain();
    this.#trickle();
    this.#goOn();
  }

  /** Whether a failure has been kept from everybody so far; from now on it is not. */
  takeUnreported(): boolean {
    let found = false;
    for (const place of this.#line)
      if (isFailed(place) && !place.reported) {
        place.reported = true;
        found = true;
      }
    return found;
  }

  /** Forgets the batches that failed, those of one fd or all of them; returns how many bytes that were. */
  giveUp(fd?: Fd): number {
    let bytes = 0;
    for (const place of [...this.#line])
      if (isFailed(place) && (fd === undefined || place.fd === fd)) {
        bytes += place.size;
        this.#lostTo = place.error;
        this.#failed--;
        this.#leave(place, place.error);
      }
    if (bytes > 0) {
      this.#lost++;
      this.#size = 0;
    }
    this.#goOn();
    return bytes;
  }

  /** Makes a batch of a write, or a part of the one before it. `index`: its place in line. */
  #admit(call: Call, args: Args<"writev">, size: number, index: number): void {
    const sizeMax = this.#host.current()["aggregate-size"];
    let batch = this.#open;
    if (batch === undefined || this.#line[index - 1] !== batch || !batch.continues(call, args, size, sizeMax))
      batch = this.#enter(call, args, index);
    batch.add(args.data);
    this.#count(batch, size);
    if (batch.size >= sizeMax) this.#close();
  }

  /** A batch without bytes yet, open, at a place in line. */
  #enter(call: Call, args: Args<"writev">, index: number): Batch {
    this.#close();
    const batch = new Batch(call, args, this.#size, this.#host.slabs);
    this.#batches++;
    if (index === this.#line.length) this.#push(batch);
    else this.#line.splice(index, 0, batch);
    this.#open = batch;
    return batch;
  }

  /** `size` bytes more are acknowledged, at the end of the batch. */
  #count(batch: Batch, size: number): void {
    this.#unsyncedBytes += size;
    if (!batch.isAppend) this.#size = Math.max(this.#size, batch.end);
  }

  /** While nothing is under way a write goes at once, unless it is one of a stream (`#linger`). */
  #trickle(): void {
    if (this.#sentBytes === 0 && this.#lingering === undefined && this.#host.current()["trickling-writes"])
      this.#close();
  }

  /**
   * A batch came back, and others were acknowledged meanwhile: this is a stream, and what follows in a moment
   * belongs into the same batch. Nobody waits for it: whoever needs its bytes sends it.
   */
  #linger(): void {
    if (this.#open === undefined || this.#sentBytes > 0 || this.#lingering !== undefined) return;
    if (this.#host.current()["trickling-writes"])
      this.#lingering = this.#host.after(LINGER_MS, this.#onPause);
  }

  readonly #onPause = (): void => {
    this.#lingering = undefined;
    this.#trickle();
    this.#advance();
  };

  #push(place: Place): void {
    this.#line.push(place);
    if (this.#line.length === 1) this.#host.onBusy(this);
  }

  #remove(place: Place): void {
    const index = this.#line.indexOf(place);
    if (index >= 0) this.#line.splice(index, 1);
  }

  #close(): void {
    if (this.#open === undefined) return;
    this.#open.state = "ready";
    this.#open = undefined;
  }

  /** Starts what nothing before it holds back. */
  #advance(): void {
    const line = this.#line;
    for (let index = 0; index < line.length; index++) {
      const place = line[index]!;
      if (!place.waits || !this.#isFree(index)) continue;
      if (place instanceof Batch) {
        if (this.#sentBytes < this.#host.underWayMax) this.#send(place);
      } else if (place instanceof Turn) {
        place.started!.resolve();
        place.started = undefined;
      }
    }
  }

  #isFree(index: number): boolean {
    const line = this.#line;
    const place = line[index]!;
    for (let before = 0; before < index; before++) if (this.#isInTheWay(line[before]!, place)) return false;
    return true;
  }

  /** Whether `later` has to wait for `earlier`. */
  #isInTheWay(earlier: Place, later: Place): boolean {
    if (!overlap(earlier, later) && !this.#host.current()["strict-write-ordering"]) return false;
    return !(isFailed(earlier) && later instanceof Turn && later.clears(earlier));
  }

  #send(batch: Batch): void {
    batch.state = "sent";
    const { size } = batch;
    this.#sentBytes += size;
    this.#host.send(batch).then(
      (reply) => this.#onReply(batch, size, reply),
      (error) => this.#onFailure(batch, size, toFopError(error)),
    );
  }

  #onReply(batch: Batch, sent: number, reply: Reply<"writev">): void {
    const { size, post } = reply;
    if (size === 0) {
      this.#onFailure(batch, sent, new FopError("EIO", { fop: "writev", message: "nothing was written" }));
      return;
    }
    this.#sentBytes -= sent;
    if (size < sent) {
      this.#unsyncedBytes -= size;
      batch.shorten(size);
      batch.state = "ready";
    } else {
      this.#leave(batch, undefined);
      if (this.#batches === 0 && post.mode !== 0) this.#size = post.size;
    }
    this.#host.onWritten(this);
    this.#goOn();
  }

  #onFailure(batch: Batch, sent: number, error: FopError): void {
    this.#sentBytes -= sent;
    this.#host.onFailed(batch, error);
    this.#fail(batch, error);
    for (const applicant of this.#applicants.splice(0)) {
      this.#remove(applicant);
      applicant.answer.reject(error);
      batch.reported = true;
    }
    this.#failBehind();
    this.#goOn();
  }

  #fail(batch: Batch, error: FopError): void {
    if (this.#open === batch) this.#open = undefined;
    batch.fail(error);
    this.#failed++;
  }

  /** What waits for bytes of a failed batch fails as well, and what waits for that. */
  #failBehind(): void {
    let failed: Batch[] = [];
    for (const place of [...this.#line]) {
      const obstacle = failed.find((batch) => this.#isInTheWay(batch, place));
      if (place instanceof Turn) {
        if (obstacle !== undefined && place.started !== undefined) {
          this.#remove(place);
          place.started.reject(obstacle.error!);
        } else failed = failed.filter((batch) => !place.clears(batch));
      } else if (place instanceof Batch) {
        const hasBegun = place.state !== "open" && place.state !== "ready";
        if (obstacle !== undefined && !hasBegun) this.#fail(place, obstacle.error!);
        if (isFailed(place)) failed.push(place);
      }
    }
  }

  /** Failed batches become ready, but for those that nobody will need. */
  #readyAgain(): void {
    // Backwards: what becomes ready may need what is before it.
    for (let index = this.#line.length - 1; index >= 0; index--) {
      const place = this.#line[index]!;
      if (!isFailed(place) || this.#isSuperseded(place, index)) continue;
      place.state = "ready";
      this.#failed--;
    }
  }

  /** Whether a turn will clear a failed batch, and nothing to be written before that turn waits for it. */
  #isSuperseded(batch: Batch, index: number): boolean {
    for (let after = index + 1; after < this.#line.length; after++) {
      const place = this.#line[after]!;
      if (place instanceof Turn && place.clears(batch)) return true;
      if (place instanceof Batch && !isFailed(place) && this.#isInTheWay(batch, place)) return false;
    }
    return false;
  }

  /** What failed before a turn that made it pointless is not wanted any more. */
  #dropCleared(turn: Turn): void {
    for (const place of this.#line.slice(0, Math.max(0, this.#line.indexOf(turn)))) {
      if (!isFailed(place) || !turn.clears(place)) continue;
      this.#failed--;
      this.#leave(place, undefined);
    }
  }

  #leave(batch: Batch, error: FopError | undefined): void {
    this.#remove(batch);
    this.#batches--;
    this.#unsyncedBytes -= batch.size;
    batch.leave(error);
  }

  /** Something ended: others may come in, and go. */
  #goOn(): void {
    while (this.#applicants.length > 0 && this.#failed === 0 && this.#admitted(this.#applicants[0]!))
      this.#applicants.shift();
    this.#linger();
    this.#advance();
    if (this.#line.length === 0) this.#host.onIdle(this);
  }

  /** Acknowledges the first applicant when there is room, in the window or on loan; whether there was. */
  #admitted(applicant: Applicant): boolean {
    const { call, args, size, answer } = applicant;
    const index = this.#line.indexOf(applicant);
    // The batch takes the applicant's place in line.
    if (this.#borrow(call, args, size, index)) this.#line.splice(index + 1, 1);
    else if (this.#unsyncedBytes > this.#host.current()["cache-size"]) return false;
    else {
      this.#line.splice(index, 1);
      this.#admit(call, args, size, index);
      // Only applicants may stand behind an open batch.
      if (this.#line.some((place, at) => at > index && !(place instanceof Applicant))) this.#close();
    }
    answer.resolve(acknowledgement(size));
    return true;
  }
}

function isFailed(place: Place): place is Batch {
  return place instanceof Batch && place.state === "failed";
}

/** The answer to a write that is only promised. */
function acknowledgement(size: number): Reply<"writev"> {
  return { size, pre: ZERO_IATT, post: ZERO_IATT };
}

async function firstError(batches: readonly Batch[]): Promise<FopError | undefined> {
  let first: FopError | undefined;
  for (const batch of batches) {
    const error = await batch.outcome();
    first ??= error;
  }
  return first;
}
