import { describe, expect, it } from "vitest";
import { BusyPoll } from "../../src/os/busy-poll.ts";

/** A loop whose time moves by 5 us a turn, as long as somebody keeps it awake. */
class FakeLoop {
  nowUs = 0;
  turns = 0;
  yields = 0;
  #next: (() => void) | undefined;
  nowMs(): number {
    return this.nowUs / 1000;
  }
  nextTurn(task: () => void): void {
    this.#next = task;
  }
  yieldCore(): void {
    this.yields++;
  }
  get awake(): boolean {
    return this.#next !== undefined;
  }
  runUntil(us: number): void {
    while (this.nowUs < us) {
      const task = this.#next;
      this.#next = undefined;
      if (task === undefined) this.nowUs = us;
      else {
        this.nowUs += 5;
        this.turns++;
        task();
      }
    }
  }
}

function events(loop: FakeLoop, poll: BusyPoll, gapUs: number, count: number): void {
  for (let i = 0; i < count; i++) {
    loop.runUntil(loop.nowUs + gapUs);
    poll.touch();
  }
}

describe("adaptive polling", () => {
  it("stays awake between events that come in quick succession, and lets others have the core", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(100, loop);
    events(loop, poll, 60, 10);
    const before = loop.turns;
    events(loop, poll, 60, 10);
    expect(loop.turns - before).toBeGreaterThanOrEqual(110);
    expect(loop.yields).toBeGreaterThan(100);
  });

  it("sleeps when the events stop, after the window at the latest", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(100, loop);
    events(loop, poll, 60, 10);
    loop.runUntil(loop.nowUs + 120);
    expect(loop.awake).toBe(false);
  });

  it("does not poll for events that are far apart", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(100, loop);
    events(loop, poll, 60, 10);
    events(loop, poll, 5000, 10);
    const before = loop.turns;
    events(loop, poll, 5000, 10);
    expect(loop.turns).toBe(before);
  });

  it("never polls when it is switched off", () => {
    const loop = new FakeLoop();
    events(loop, new BusyPoll(0, loop), 1, 100);
    expect(loop.turns).toBe(0);
  });
});
