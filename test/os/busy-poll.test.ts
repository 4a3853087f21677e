import { describe, expect, it } from "vitest";
import { BusyPoll } from "../../src/os/busy-poll.ts";

/** A loop whose time moves by 5 us a turn and 2 us a look, as long as somebody keeps it awake. */
class FakeLoop {
  nowUs = 0;
  turns = 0;
  yields = 0;
  settled = 0;
  #next: (() => void) | undefined;
  nowMs(): number {
    return this.nowUs / 1000;
  }
  nextTurn(task: () => void): void {
    this.#next = task;
  }
  settle(): void {
    this.settled++;
    this.nowUs += 2;
  }
  yieldCore(): void {
    this.yields++;
    this.nowUs += 2;
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
    const before = loop.yields;
    events(loop, poll, 60, 10);
    expect(loop.yields - before).toBeGreaterThan(200);
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

  it("goes to sleep when it is disabled meanwhile, and polls again when it is enabled", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(100, loop);
    events(loop, poll, 60, 10);
    poll.enabled = false;
    events(loop, poll, 60, 10);
    expect(loop.awake).toBe(false);
    poll.enabled = true;
    events(loop, poll, 60, 10);
    expect(loop.awake).toBe(true);
  });

  it("does not wait for the end of the window when it is disabled", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(100, loop);
    events(loop, poll, 60, 10);
    poll.enabled = false;
    loop.runUntil(loop.nowUs + 20);
    expect(loop.awake).toBe(false);
  });

  it("sleeps while somebody is crowded, and polls again afterwards", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(100, loop);
    let isCrowded = false;
    const end = poll.standBackWhile(() => isCrowded);
    events(loop, poll, 60, 10);
    expect(loop.awake).toBe(true);
    isCrowded = true;
    events(loop, poll, 60, 2);
    expect(loop.awake).toBe(false);
    isCrowded = false;
    events(loop, poll, 60, 2);
    expect(loop.awake).toBe(true);
    isCrowded = true;
    expect(poll.mayPoll).toBe(false);
    end();
    expect(poll.mayPoll).toBe(true);
  });

  it("never polls when it is switched off", () => {
    const loop = new FakeLoop();
    events(loop, new BusyPoll(0, loop), 1, 100);
    expect(loop.turns).toBe(0);
  });

  it("asks its sources while it is awake, and what they find keeps it awake", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(100, loop);
    let asked = 0;
    const until = 2000;
    const source = {
      poll: () => {
        asked++;
        const found = asked % 16 === 0 && loop.nowUs < until;
        if (found) poll.touch();
        return found;
      },
    };
    poll.add(source);
    expect(asked).toBe(0);
    events(loop, poll, 60, 10);
    loop.runUntil(until);
    expect(poll.awake).toBe(true);
    expect(asked).toBeGreaterThan(400);
    loop.runUntil(until + 200);
    expect(poll.awake).toBe(false);
    const before = asked;
    loop.runUntil(until + 1000);
    expect(asked).toBe(before);
  });

  it("tells its sources when a look found nothing, and goes on with what comes of it", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(100, loop);
    const seen: string[] = [];
    let finds = 3;
    poll.add({
      poll: () => {
        if (finds-- <= 0) return false;
        seen.push("found");
        poll.touch();
        return true;
      },
      nothingElse: () => {
        if (seen.at(-1) !== "found") return false;
        seen.push("nothing else");
        return true;
      },
    });
    const settled = loop.settled;
    events(loop, poll, 60, 10);
    expect(seen).toEqual(["found", "found", "found", "nothing else"]);
    expect(loop.settled - settled).toBe(4);
  });

  it("does not go to sleep over something that came while a source was told to announce itself", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(100, loop);
    let late = 0;
    poll.add({ poll: () => false, rest: () => late-- <= 0 });
    events(loop, poll, 60, 10);
    late = 3;
    loop.runUntil(loop.nowUs + 200);
    expect(poll.awake).toBe(false);
    expect(late).toBe(-1);
  });

  it("gives Node its turn now and then, however much the sources have", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(100, loop);
    poll.add({
      poll: () => {
        poll.touch();
        return loop.nowUs < 5000;
      },
    });
    events(loop, poll, 60, 10);
    const { turns, settled } = loop;
    loop.runUntil(loop.nowUs + 1100);
    expect(loop.turns - turns).toBeGreaterThanOrEqual(18);
    expect(loop.settled - settled).toBeGreaterThan(300);
  });

  it("stays with its sources for long when one of them tells when Node is due, and leaves them then", () => {
    const loop = new FakeLoop();
    const poll = new BusyPoll(3000, loop);
    const source = {
      turnDue: false,
      poll: () => {
        poll.touch();
        return loop.nowUs < 20_000;
      },
    };
    poll.add(source);
    events(loop, poll, 60, 20);
    const { turns } = loop;
    loop.runUntil(loop.nowUs + 5000);
    expect(loop.turns - turns).toBeLessThan(8);
    source.turnDue = true;
    const before = loop.turns;
    loop.runUntil(loop.nowUs + 1000);
    expect(loop.turns - before).toBeGreaterThan(50);
  });
});
