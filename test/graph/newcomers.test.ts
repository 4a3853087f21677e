/** Bricks that a graph reaches for the first time: it is waited for all of them, and not for ever. */

import { describe, expect, it } from "vitest";
import { type ChildEvent, Xlator } from "../../src/core/xlator.ts";
import { notUp } from "../../src/graph/newcomers.ts";
import { type FakeEnv, fakeEnv, settle } from "../support/fake-env.ts";

const TIMEOUT_MS = 1000;

class Leaf extends Xlator {
  constructor(name: string, env: FakeEnv) {
    super({ name, type: "test/leaf", options: {}, rawOptions: new Map(), children: [], env });
  }

  say(event: ChildEvent): void {
    this.notifyParents(event);
  }
}

function scene() {
  const env = fakeEnv(1);
  const [a, b] = [new Leaf("a", env), new Leaf("b", env)];
  let missing: string[] | undefined;
  const wait = (): void =>
    void notUp([a, b], env.clock, TIMEOUT_MS).then((left) => {
      missing = left.map(({ name }) => name);
    });
  return { env, a, b, wait, missing: () => missing };
}

describe("new bricks", () => {
  it("are all there when the last one is up, whenever the others came up", async () => {
    const { a, b, wait, missing } = scene();
    a.say({ type: "child-up" });
    wait();
    await settle();
    expect(missing()).toBeUndefined();
    b.say({ type: "child-connecting", why: "not yet" });
    await settle();
    expect(missing()).toBeUndefined();
    b.say({ type: "child-up" });
    await settle();
    expect(missing()).toEqual([]);
    expect([...a.parents, ...b.parents]).toEqual([]);
  });

  it("that went again are waited for again", async () => {
    const { a, b, wait, missing } = scene();
    wait();
    a.say({ type: "child-up" });
    a.say({ type: "child-down" });
    b.say({ type: "child-up" });
    await settle();
    expect(missing()).toBeUndefined();
    a.say({ type: "child-up" });
    await settle();
    expect(missing()).toEqual([]);
  });

  it("that do not come in time are told", async () => {
    const { env, a, wait, missing } = scene();
    wait();
    a.say({ type: "child-up" });
    await env.clock.advance(TIMEOUT_MS);
    await settle();
    expect(missing()).toEqual(["b"]);
  });

  it("are none, and nobody waits", async () => {
    const { env } = scene();
    expect(await notUp([], env.clock, TIMEOUT_MS)).toEqual([]);
  });
});
