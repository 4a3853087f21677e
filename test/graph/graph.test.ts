/**
 * Building, starting, changing and stopping graphs: the checks GlusterFS makes, the order of life, and what
 * failures leave.
 */

import { describe, expect, it } from "vitest";
import { UserError } from "../../src/core/errors.ts";
import { bool, int } from "../../src/core/options.ts";
import { atLeast, type ChildEvent, defineXlator, exactly, Xlator } from "../../src/core/xlator.ts";
import { buildGraph, type Graph } from "../../src/graph/graph.ts";
import { linkVolfile, topNames } from "../../src/graph/link.ts";
import { parseVolfile } from "../../src/graph/volfile.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { type FakeEnv, fakeEnv, settle } from "../support/fake-env.ts";

const options = {
  live: bool({ default: false, live: true, describe: "May change." }),
  fixed: int({ default: 1, describe: "May not change." }),
} as const;

/** What translators do in life, as `name step`, in the order it happened. */
type Steps = string[];

interface Behaviour {
  /** Names whose init rejects. */
  readonly failInit?: ReadonlyMap<string, Error>;
  /** What a leaf says at parent-up; child-up by default, undefined for nothing. */
  readonly answer?: ChildEvent | undefined;
  readonly failFini?: boolean;
}

function probes(steps: Steps, behaviour: Behaviour = {}) {
  const answer: ChildEvent | undefined = "answer" in behaviour ? behaviour.answer : { type: "child-up" };
  class Probe extends Xlator<typeof options> {
    override async init() {
      steps.push(`${this.name} init`);
      const failure = behaviour.failInit?.get(this.name);
      if (failure) throw failure;
    }
    override async fini() {
      steps.push(`${this.name} fini`);
      if (behaviour.failFini) throw new Error("stuck");
    }
    override onParentEvent(event: Parameters<Xlator["onParentEvent"]>[0]) {
      steps.push(`${this.name} ${event.type}`);
      super.onParentEvent(event);
      if (this.children.length === 0 && event.type === "parent-up" && answer) this.notifyParents(answer);
    }
    override reconfigure(values: Probe["options"]) {
      super.reconfigure(values);
      steps.push(`${this.name} live=${values.live}`);
    }
  }
  const definition = (type: string, children = exactly(1)) =>
    defineXlator({
      type,
      children,
      options,
      // Its options contradict each other below another of its kind.
      check: ({ options: { live, fixed }, rawOptions, typesAbove }) =>
        live && fixed === 7 && rawOptions.has("fixed") && typesAbove.has("test/filter")
          ? "live and fixed 7; switch one of them off"
          : undefined,
      create: (init) => new Probe(init),
    });
  return new Map(
    [definition("test/leaf", exactly(0)), definition("test/filter"), definition("test/fan", atLeast(2))].map(
      (one) => [one.type, one],
    ),
  );
}

const STACK = `volume leaf
  type test/leaf
end-volume
volume mid
  type test/filter
  subvolumes leaf
end-volume
volume top
  type test/filter
  subvolumes mid
end-volume
`;

function build(text: string, steps: Steps = [], behaviour: Behaviour = {}, env: FakeEnv = fakeEnv()): Graph {
  return buildGraph(parseVolfile(text, "x.vol"), { registry: probes(steps, behaviour), env });
}

describe("linking", () => {
  const section = (name: string, ...children: string[]) => {
    const subvolumes = children.length > 0 ? ` subvolumes ${children.join(" ")}\n` : "";
    return `volume ${name}\n type t\n${subvolumes}end-volume\n`;
  };
  const link = (text: string, top?: string) => linkVolfile(parseVolfile(text, "x.vol"), top);

  it("takes the last volume for the top, or the one that is named", () => {
    const text = section("a") + section("b", "a") + section("c", "a");
    expect(link(text).top.name).toBe("c");
    const named = link(text, "b");
    expect(named.needed.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(named.unused.map(({ name }) => name)).toEqual(["c"]);
    expect(topNames(parseVolfile(text, "x.vol"))).toEqual(["b", "c"]);
  });

  it.each([
    [
      "a duplicate name",
      section("a") + section("a"),
      /^x\.vol:4: volume "a": defined again, first on line 1/,
    ],
    ["a missing subvolume", section("a", "b"), /^x\.vol:3: volume "a": subvolume "b" is not defined/],
    [
      "a volume that is its own child",
      section("a", "a"),
      /^x\.vol:3: volume "a": has itself as a subvolume$/,
    ],
    [
      "a subvolume that comes later",
      section("a", "b") + section("b"),
      /"b" is defined only later, on line 5; move it above/,
    ],
    [
      "a cycle",
      section("a", "b") + section("b", "c") + section("c", "a"),
      /^x\.vol:3: volume "a": a cycle: "a" -> "b" -> "c" -> "a"$/,
    ],
  ])("refuses %s", (_what, text, message) => {
    expect(() => link(text)).toThrow(message);
  });

  it("names the candidates when the wanted top is not there", () => {
    expect(() => link(section("a") + section("b", "a"), "z")).toThrow(
      /no volume "z" in it; it has "b" at the top/,
    );
  });
});

describe("building", () => {
  const registryOnly = (text: string) =>
    buildGraph(parseVolfile(text, "x.vol"), { registry: REGISTRY, env: fakeEnv() });

  it("names line and nearest types for an unknown type", () => {
    expect(() => registryOnly("volume a\ntype performance/io-thread\nend-volume")).toThrow(
      /^x\.vol:2: volume "a": unknown type "performance\/io-thread"; did you mean performance\/io-threads/,
    );
    expect(() => registryOnly("volume a\ntype zzz\nend-volume")).toThrow(/mortar graph --types/);
  });

  it("refuses a wrong number of subvolumes", () => {
    expect(() => build("volume a\ntype test/filter\nend-volume")).toThrow(
      /test\/filter takes exactly 1 subvolume, but 0 are given/,
    );
    expect(() => build(`${STACK}volume f\ntype test/fan\nsubvolumes top\nend-volume`)).toThrow(
      /takes at least 2 subvolumes, but 1 is given/,
    );
    expect(() => build(`${STACK}volume l\ntype test/leaf\nsubvolumes top\nend-volume`)).toThrow(
      /takes no subvolumes/,
    );
  });

  it("names option, line and value of a bad value, and lets the last of repeated options count", () => {
    expect(() => build("volume a\ntype test/leaf\noption fixed one\nend-volume")).toThrow(
      /^x\.vol:3: volume "a": option fixed: "one" is not a whole number$/,
    );
    expect(() =>
      build("volume a\ntype test/leaf\noption fixed one\noption fixed 2\nend-volume"),
    ).not.toThrow();
  });

  it("ignores unknown options with a debug line, and log-level without", () => {
    const env = fakeEnv();
    build("volume a\ntype test/leaf\noption what 1\noption log-level DEBUG\nend-volume", [], {}, env);
    expect(env.log.lines.map(({ level, fields }) => [level, fields["unknown"]])).toEqual([
      ["debug", ["what"]],
    ]);
  });

  it("neither makes nor checks volumes that the top does not use, and says so", () => {
    const env = fakeEnv();
    const graph = build(`volume odd\ntype nobody/knows\nend-volume\n${STACK}`, [], {}, env);
    expect(graph.xlators.map(({ name }) => name)).toEqual(["leaf", "mid", "top"]);
    expect(env.log.lines[0]).toMatchObject({ level: "warn", fields: { unused: ["odd"] } });
  });
});

describe("life", () => {
  it("inits bottom-up, sends parent-up top-down, stops top-down", async () => {
    const steps: Steps = [];
    const graph = build(STACK, steps);
    await graph.start();
    await graph.stop();
    await graph.stop();
    expect(steps).toEqual([
      "leaf init",
      "mid init",
      "top init",
      "top parent-up",
      "mid parent-up",
      "leaf parent-up",
      "top parent-down",
      "mid parent-down",
      "leaf parent-down",
      "top fini",
      "mid fini",
      "leaf fini",
    ]);
  });

  it("inits and stops a shared child once", async () => {
    const steps: Steps = [];
    const text = `${STACK}volume other\ntype test/filter\nsubvolumes leaf\nend-volume
volume fan\ntype test/fan\nsubvolumes top other\nend-volume`;
    const fan = build(text, steps);
    await fan.start();
    await fan.stop();
    expect(steps.filter((step) => step === "leaf init" || step === "leaf fini")).toEqual([
      "leaf init",
      "leaf fini",
    ]);
  });

  it("stops what was initialised when a later init fails, and names volume and line", async () => {
    const steps: Steps = [];
    const graph = build(STACK, steps, { failInit: new Map([["top", new UserError("no disk")]]) });
    await expect(graph.start()).rejects.toThrow(/^x\.vol:8: volume "top": no disk$/);
    expect(steps.slice(3)).toEqual([
      "top parent-down",
      "mid parent-down",
      "leaf parent-down",
      "mid fini",
      "leaf fini",
    ]);
  });

  it("lets a bug in init through as it is", async () => {
    const bug = new TypeError("x is not a function");
    const graph = build(STACK, [], { failInit: new Map([["leaf", bug]]) });
    await expect(graph.start()).rejects.toBe(bug);
  });

  it("waits for child-up, and gives the last reason when it does not come in time", async () => {
    const env = fakeEnv();
    const graph = build(
      STACK,
      [],
      { answer: { type: "child-connecting", why: "leaf: connection refused" } },
      env,
    );
    const started = graph.start({ timeoutMs: 5000 });
    const failed = expect(started).rejects.toThrow(/^"top": not up after 5 s: leaf: connection refused$/);
    await env.clock.advance(5000);
    await failed;
  });

  it("gives up at once when the brick refuses this client", async () => {
    const graph = build(STACK, [], { answer: { type: "auth-failed", why: "wrong password" } });
    await expect(graph.start({ timeoutMs: 5000 })).rejects.toThrow(/refused: wrong password/);
  });

  it("rejects a start that is stopped meanwhile", async () => {
    const steps: Steps = [];
    const graph = build(STACK, steps, { answer: undefined });
    const failed = expect(graph.start()).rejects.toThrow(/stopped before it was up/);
    await settle();
    await graph.stop();
    await failed;
    expect(steps.at(-1)).toBe("leaf fini");
  });

  it("stops the others when one does not stop cleanly, and logs it", async () => {
    const steps: Steps = [];
    const env = fakeEnv();
    const graph = build(STACK, steps, { failFini: true }, env);
    await graph.start();
    await graph.stop();
    expect(steps.slice(-3)).toEqual(["top fini", "mid fini", "leaf fini"]);
    expect(env.log.lines.filter(({ level }) => level === "error")).toHaveLength(3);
  });

  it("tells listeners what the top says, until they leave", async () => {
    const graph = build(STACK);
    const heard: string[] = [];
    const leave = graph.onEvent((event) => heard.push(event.type));
    await graph.start();
    graph.xlators[0]!.onChildEvent({ type: "child-down" }, graph.xlators[0]!);
    leave();
    graph.xlators[0]!.onChildEvent({ type: "child-up" }, graph.xlators[0]!);
    await graph.stop();
    expect(heard).toEqual(["child-up", "child-down"]);
  });
});

describe("reconfigure", () => {
  const withOption = (line: string) =>
    STACK.replace("type test/filter\n", `type test/filter\n  option ${line}\n`);

  it("hands live options to the translators that have new ones, children first", async () => {
    const steps: Steps = [];
    const graph = build(STACK, steps);
    await graph.start();
    steps.length = 0;
    const text = withOption("live on").replace("type test/leaf\n", "type test/leaf\n  option live yes\n");
    expect(graph.reconfigure(parseVolfile(text, "y.vol"))).toEqual({
      kind: "reconfigured",
      changed: ["leaf.live", "mid.live"],
    });
    expect(steps).toEqual(["leaf live=true", "mid live=true"]);
    expect(graph.reconfigure(parseVolfile(text, "y.vol"))).toEqual({ kind: "unchanged" });
    expect(graph.reconfigure(parseVolfile(STACK, "z.vol"))).toMatchObject({ kind: "reconfigured" });
    await graph.stop();
  });

  it.each([
    ["another type", STACK.replace("test/filter", "test/fan"), /is test\/fan instead of test\/filter/],
    ["another name", STACK.replaceAll("mid", "middle"), /"middle" stands where "mid" was/],
    [
      "one volume more",
      `${STACK}volume more\ntype test/filter\nsubvolumes top\nend-volume`,
      /4 volumes instead of 3/,
    ],
    ["an option that cannot change", withOption("fixed 2"), /option fixed of volume "mid" cannot change/],
  ])("changes nothing for %s", (_what, text, why) => {
    const steps: Steps = [];
    const graph = build(STACK, steps);
    const result = graph.reconfigure(parseVolfile(text, "y.vol"));
    expect(result).toMatchObject({ kind: "other-tree", why: expect.stringMatching(why) });
    expect(steps).toEqual([]);
  });

  it("is refused as a whole where options contradict each other, before anybody hears of it", async () => {
    const steps: Steps = [];
    const clash = STACK.replace("type test/filter\n", "type test/filter\n  option fixed 7\n");
    const graph = build(clash, steps);
    // "mid" comes after the leaf, which has a new option that is right.
    const fresh = clash
      .replace("option fixed 7\n", "option fixed 7\n  option live on\n")
      .replace("type test/leaf\n", "type test/leaf\n  option live on\n");
    const refused = /^y\.vol:\d+: volume "mid": live and fixed 7; switch one of them off$/;
    expect(() => graph.reconfigure(parseVolfile(fresh, "y.vol"))).toThrow(refused);
    expect(() => graph.wouldReconfigure(parseVolfile(fresh, "y.vol"))).toThrow(refused);
    expect(() => build(fresh)).toThrow(/volume "mid": live and fixed 7/);
    expect(steps).toEqual([]);
    expect(graph.volfile.fileName).not.toBe("y.vol");
  });

  it("refuses a wrong value and keeps the old options", () => {
    const steps: Steps = [];
    const graph = build(STACK, steps);
    expect(() => graph.reconfigure(parseVolfile(withOption("live maybe"), "y.vol"))).toThrow(
      /option live: "maybe"/,
    );
    expect(steps).toEqual([]);
  });
});
