/** `mortar graph`: the same graph as text, dot, mermaid and JSON. */

import { describe, expect, it } from "vitest";
import { describeGraph, describeTypes, renderGraph, renderOutline } from "../../src/cli/graph-view.ts";
import { buildGraph } from "../../src/graph/graph.ts";
import { parseVolfile } from "../../src/graph/volfile.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { fakeEnv } from "../support/fake-env.ts";

const TEXT = `volume brick
  type storage/memory
  option capacity 1GB
  option ctime on
  option password-file secret
  option colour "sea green"
end-volume
volume guard
  type features/read-only
  option read-only yes
  subvolumes brick
end-volume
volume "the \\"top\\""
  type performance/io-threads
  subvolumes guard
end-volume
`;

const graph = describeGraph(buildGraph(parseVolfile(TEXT, "x.vol"), { registry: REGISTRY, env: fakeEnv() }));

describe("mortar graph", () => {
  it("describes layers, their fops, and options that are not at their default", () => {
    const [top, guard, brick] = graph.nodes;
    expect(top).toMatchObject({
      children: ["guard"],
      fops: [],
      passThrough: expect.stringContaining("asynchronous"),
    });
    expect(guard!.options).toEqual([{ key: "read-only", value: "yes", default: "off" }]);
    expect(guard!.fops).toContain("writev");
    expect(guard!.fops).not.toContain("readv");
    expect(brick!.options.map(({ key, value }) => [key, value])).toEqual([["capacity", "1GB"]]);
    expect(brick!.ignored).toEqual([
      { key: "password-file", value: "(hidden)" },
      { key: "colour", value: "sea green" },
    ]);
  });

  it("shows permissions in octal", () => {
    const text = "volume b\n type storage/posix\n option create-mask 0750\nend-volume\n";
    const bricks = buildGraph(parseVolfile(text, "b.vol"), { registry: REGISTRY, env: fakeEnv() });
    expect(describeGraph(bricks).nodes[0]!.options).toEqual([
      { key: "create-mask", value: "0750", default: "0777" },
    ]);
  });

  it("draws a tree", () => {
    const text = renderGraph(graph, "text");
    expect(text.split("\n").filter((line) => line.includes("["))).toEqual([
      'the "top"  [performance/io-threads]',
      "└─ guard  [features/read-only]",
      "   └─ brick  [storage/memory]",
    ]);
    expect(text).toContain("passes through: moves calls to threads");
    expect(text).toContain("read-only = yes (default off)");
    expect(text).toContain("handles every fop");
    expect(text).not.toContain("secret");
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(110);
  });

  it("draws an outline without what each layer handles", () => {
    expect(renderOutline(graph).split("\n")).toEqual([
      'the "top"  [performance/io-threads]',
      "│   passes through",
      "└─ guard  [features/read-only]",
      "   │   read-only = yes (default off)",
      "   └─ brick  [storage/memory]",
      expect.stringContaining("capacity = 1GB"),
      expect.stringContaining("ignored options: "),
      "",
    ]);
  });

  it("shows a shared child once", () => {
    const shared = `${TEXT}volume other\ntype features/selinux\nsubvolumes guard\nend-volume
volume snap\ntype features/snapview-client\nsubvolumes "the \\"top\\"" other\nend-volume`;
    const described = describeGraph(
      buildGraph(parseVolfile(shared, "x.vol"), { registry: REGISTRY, env: fakeEnv() }),
    );
    const text = renderGraph(described, "text");
    expect(text.match(/\[storage\/memory\]/g)).toHaveLength(1);
    expect(text).toContain("└─ guard  (shown above)");
  });

  it("says once what a type does", () => {
    const twice = `${TEXT}volume brick-2\ntype storage/memory\noption capacity 2GB\nend-volume
volume pair\ntype cluster/replicate\nsubvolumes "the \\"top\\"" brick-2\nend-volume`;
    const described = describeGraph(
      buildGraph(parseVolfile(twice, "x.vol"), { registry: REGISTRY, env: fakeEnv() }),
    );
    const text = renderGraph(described, "text");
    expect(text.match(/\[storage\/memory\]/g)).toHaveLength(2);
    // The pair's own, and the first brick's.
    expect(text.match(/handles every fop/g)).toHaveLength(2);
    expect(text).toContain("capacity = 2GB");
  });

  it("writes dot with quoted names", () => {
    const dot = renderGraph(graph, "dot");
    expect(dot).toMatch(/^digraph "the \\"top\\"" \{\n/);
    expect(dot).toContain('"the \\"top\\"" -> "guard";');
    expect(dot).toContain('"guard" -> "brick";');
  });

  it("writes mermaid", () => {
    expect(renderGraph(graph, "mermaid").split("\n").slice(0, 3)).toEqual([
      "flowchart TB",
      '  n0["the #quot;top#quot;<br/>performance/io-threads<br/>(passes through)"]',
      "  n0 --> n1",
    ]);
  });

  it("writes JSON", () => {
    expect(JSON.parse(renderGraph(graph, "json"))).toEqual(JSON.parse(JSON.stringify(graph)));
  });

  it("lists the types it knows", () => {
    const text = describeTypes(REGISTRY, "text");
    expect(text).toMatch(/^features\/cdc +refused: /m);
    expect(text).toMatch(/^performance\/nl-cache +passes through: /m);
    expect(text).toMatch(/^storage\/memory +implemented$/m);
    expect(JSON.parse(describeTypes(REGISTRY, "json"))).toHaveLength(REGISTRY.size);
  });
});
