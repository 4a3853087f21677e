/** What the layers above hear of children that come and go. */

import { describe, expect, it } from "vitest";
import type { ChildEvent } from "../../../../src/core/xlator.ts";
import { outcome } from "../../../conformance/suite.ts";
import { Spread } from "./spread.ts";

function heardBy(spread: Spread): string[] {
  const heard: string[] = [];
  spread.distribute.addParent({ onChildEvent: (event: ChildEvent) => void heard.push(event.type) });
  return heard;
}

describe("a distribute", () => {
  it("is up while any child is, and says what changes in between", async () => {
    await using spread = await Spread.start({ count: 2, contracts: false });
    const heard = heardBy(spread);
    spread.wires[0]!.cut();
    spread.wires[1]!.cut();
    spread.wires[1]!.mend();
    spread.wires[0]!.mend();
    expect(heard).toEqual(["some-descendent-down", "child-down", "child-up", "some-descendent-up"]);
  });

  it("logs that all are down, unless it is being stopped", async () => {
    await using spread = await Spread.start({ count: 2, contracts: false });
    const goAll = (): string[] => {
      for (const wire of spread.wires) wire.cut();
      const said = spread.env.log.lines
        .filter(({ level }) => level === "error")
        .map(({ message }) => message);
      for (const wire of spread.wires) wire.mend();
      return said;
    };
    expect(goAll()).toEqual(["all subvolumes are down"]);
    spread.distribute.onParentEvent({ type: "parent-down" });
    expect(goAll()).toEqual(["all subvolumes are down"]);
  });

  it("with assert-no-child-down is up only while all are", async () => {
    await using spread = await Spread.start({
      count: 2,
      contracts: false,
      options: { "assert-no-child-down": "on" },
    });
    const heard = heardBy(spread);
    spread.wires[0]!.cut();
    spread.wires[0]!.mend();
    expect(heard).toEqual(["child-down", "child-up"]);
  });

  it("serves files of children that are up, and says ENOTCONN for the others", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const gone = await session.create(await spread.nameOn(0, "gone"));
    const there = await session.create(await spread.nameOn(1, "there"));
    spread.wires[0]!.cut();
    expect(await outcome(session.write(gone, "x"))).toBe("ENOTCONN");
    expect(await outcome(session.write(there, "x"))).toBe("ok");
    expect(await outcome(session.create(await spread.nameOn(0, "new")))).toBe("ENOTCONN");
    expect(await outcome(session.create(await spread.nameOn(1, "new")))).toBe("ok");
  });
});
