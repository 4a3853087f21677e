/**
 * Keys, values, translators that come and go, profiles and warnings: all that is said about options, as
 * tables.
 */

import { describe, expect, it } from "vitest";
import { findKey } from "../../src/control/keys.ts";
import { parseProfile, profileNames, readProfile } from "../../src/control/profiles.ts";
import { warningsOf } from "../../src/control/rules.ts";
import { applySettings, checkSetting, keptValue, showAll, showOne } from "../../src/control/settings.ts";
import { isOn, switchedType, switchKeys, withTranslator } from "../../src/control/translators.ts";
import { parseVolfile, printVolfile, type Volfile } from "../../src/graph/volfile.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { GOOD_SETTINGS } from "../support/good-settings.ts";

const CLIENT = (index: number, more = ""): string => `volume v-client-${index}
  type protocol/client
  option remote-host h${index}
  option remote-subvolume /b${index}
  option password secret
${more}end-volume
`;

const TOP = (child: string): string => `volume v
  type debug/io-stats
  subvolumes ${child}
end-volume
`;

const REPLICA = parseVolfile(
  `${CLIENT(0)}${CLIENT(1, "  option ping-timeout 10\n")}${CLIENT(2)}volume v-replicate-0
  type cluster/replicate
  option afr-pending-xattr v-client-0,v-client-1,v-client-2
  option eager-lock off
  subvolumes v-client-0 v-client-1 v-client-2
end-volume
volume v-utime
  type features/utime
  subvolumes v-replicate-0
end-volume
${TOP("v-utime")}`,
  "v.vol",
);

/** Types from the top down, as long as there is one child. */
function chain(volfile: Volfile): string[] {
  const byName = new Map(volfile.sections.map((section) => [section.name, section]));
  const types: string[] = [];
  for (let at = volfile.sections.at(-1); at !== undefined; ) {
    types.push(at.type);
    at = at.subvolumes.length === 1 ? byName.get(at.subvolumes[0]!.name) : undefined;
  }
  return types;
}

function optionOf(volfile: Volfile, name: string, key: string): string | undefined {
  return volfile.sections.find((section) => section.name === name)?.options.findLast((one) => one.key === key)
    ?.value;
}

describe("a key", () => {
  it.each([
    ["cluster.eager-lock", "cluster.eager-lock", undefined],
    ["replicate.eager-lock", "cluster.eager-lock", undefined],
    ["eager-lock", "cluster.eager-lock", undefined],
    ["v-replicate-0.eager-lock", "cluster.eager-lock", "v-replicate-0"],
    ["v-client-1.ping-timeout", "network.ping-timeout", "v-client-1"],
    ["network.remote-dio", "network.remote-dio", undefined],
  ])("%s leads to %s", (key, name, section) => {
    expect(findKey(key, REPLICA, REGISTRY)).toMatchObject({
      kind: "option",
      option: { name },
      ...(section ? { section } : {}),
    });
  });

  it.each([
    ["client.remote-host", /^read-only: it says how the brick is reached$/],
    ["v-client-0.remote-subvolume", /^read-only: it says how/],
    ["replicate.afr-pending-xattr", /^read-only: the bricks have it/],
    ["server.root-squash", /^it is of the bricks; set it with gluster volume set$/],
    ["storage.reserve", /^it is of the bricks/],
    ["user.cifs", /^it is of other programs/],
    ["cluster.server-quorum-type", /^it is of glusterd; set it with/],
    ["features.shard", /^files on the bricks depend on it/],
    ["performance.low-prio-threads", /^it is of io-threads/],
    ["cluster.min-free-disk", /^this volume has no cluster\/distribute$/],
  ])("%s is refused with its reason", (key, why) => {
    expect(findKey(key, REPLICA, REGISTRY)).toEqual({ kind: "refused", why: expect.stringMatching(why) });
  });

  it.each([
    ["eager-lok", /did you mean cluster\.eager-lock/],
    ["performance.write-behin", /did you mean performance\.write-behind/],
    ["network.ping-timeuot", /did you mean network\.ping-timeout/],
    ["eager", /did you mean cluster\.eager-lock\?/],
    ["cluster.self-heal-algorithm", /did you mean cluster\.data-self-heal-algorithm/],
    ["zzzzzzzzzzzz", /`mortar get MOUNTPOINT` lists them/],
    ["", /no such option/],
  ])("%j is unknown, and the nearest are named", (key, message) => {
    expect(() => findKey(key, REPLICA, REGISTRY)).toThrow(message);
  });

  it("of GlusterFS' is one option's", () => {
    const keys = [...REGISTRY.values()].flatMap(({ options }) =>
      Object.values(options).flatMap(({ volumeKey }) => volumeKey ?? []),
    );
    expect(keys.filter((key, index) => keys.indexOf(key) !== index)).toEqual([]);
  });

  it("that several types have must say which", () => {
    const two = parseVolfile(
      `${CLIENT(0)}volume v-arb
  type features/read-only
  subvolumes v-client-0
end-volume
volume v-trace
  type debug/error-gen
  subvolumes v-arb
end-volume
volume v-late
  type debug/delay-gen
  subvolumes v-trace
end-volume
${TOP("v-late")}`,
      "two.vol",
    );
    expect(() => findKey("enable", two, REGISTRY)).toThrow(
      /several translators have it; say which: .*error-gen\.enable/,
    );
  });
});

describe("a value", () => {
  it.each([
    ["cluster.eager-lock", "maybe", /^cluster\.eager-lock: "maybe" is neither on/],
    ["network.ping-timeout", "-3", /^network\.ping-timeout: "-3" is not a time/],
    ["network.ping-timeout", "99999", /is above the maximum 1013/],
    ["cluster.quorum-type", "some", /is none of/],
    ["performance.write-behind", "3", /is neither on/],
  ])("of %s is not %s", (key, value, message) => {
    expect(() => checkSetting(key, value, REPLICA, REGISTRY)).toThrow(message);
  });

  it("goes to every section of its type, or to the one that is named", () => {
    const all = applySettings(REPLICA, new Map([["network.ping-timeout", "33"]]), REGISTRY);
    expect([0, 1, 2].map((index) => optionOf(all, `v-client-${index}`, "ping-timeout"))).toEqual([
      "33",
      "33",
      "33",
    ]);
    const one = applySettings(REPLICA, new Map([["v-client-2.ping-timeout", "33"]]), REGISTRY);
    expect([0, 1, 2].map((index) => optionOf(one, `v-client-${index}`, "ping-timeout"))).toEqual([
      undefined,
      "10",
      "33",
    ]);
  });

  it("is shown once where all sections have it, else section by section; secrets are not", () => {
    const shown = new Map(showAll(REPLICA, new Map(), REGISTRY).map(({ key, value }) => [key, value]));
    expect(shown.get("cluster.eager-lock")).toBe("off");
    expect(shown.get("network.ping-timeout")).toBeUndefined();
    expect(shown.get("v-client-0.ping-timeout")).toBe("42");
    expect(shown.get("v-client-1.ping-timeout")).toBe("10");
    expect(shown.get("features.shard")).toBe("off");
    expect(shown.get("features.ctime")).toBe("on");
    expect([...shown.values()]).not.toContain("secret");
    expect(showOne("ping-timeout", REPLICA, new Map(), REGISTRY).map(({ value }) => value)).toEqual([
      "42",
      "10",
      "42",
    ]);
    expect(() => showOne("server.root-squash", REPLICA, new Map(), REGISTRY)).toThrow(/no value of it/);
    expect(() => showOne("performance.flush-behind", REPLICA, new Map(), REGISTRY)).toThrow(
      /of performance\/write-behind, which is off \(performance\.write-behind\)/,
    );
  });

  it("for a translator that is off waits until it is on", () => {
    const settings = new Map([["performance.flush-behind", "off"]]);
    expect(printVolfile(applySettings(REPLICA, settings, REGISTRY))).toBe(printVolfile(REPLICA));
    settings.set("performance.write-behind", "on");
    expect(optionOf(applySettings(REPLICA, settings, REGISTRY), "v-write-behind", "flush-behind")).toBe(
      "off",
    );
  });
});

describe("permissions", () => {
  const BRICK = parseVolfile(
    `volume disk\n type storage/posix\n option force-create-mode 16\nend-volume\n${TOP("disk")}`,
    "b.vol",
  );
  const key = "storage.create-mask";
  const shown = (settings: ReadonlyMap<string, string>, asked = key): string | undefined =>
    showOne(asked, applySettings(BRICK, settings, REGISTRY), settings, REGISTRY)[0]?.value;

  it("are octal, however they were given, and where they are refused", () => {
    expect(shown(new Map())).toBe("0777");
    expect(shown(new Map(), "storage.force-create-mode")).toBe("0020");
    for (const given of ["0750", "488", "0x1e8"]) {
      const kept = keptValue(checkSetting(key, given, BRICK, REGISTRY), given);
      expect(kept).toBe("0750");
      expect(shown(new Map([[key, kept]]))).toBe("0750");
    }
    expect(() => checkSetting(key, "750", BRICK, REGISTRY)).toThrow(
      'storage.create-mask: "750" is above the maximum 0777; octal numbers begin with 0: 0750',
    );
  });
});

describe("a translator", () => {
  it("comes where glusterd has it, in whatever order they are switched on", () => {
    const all = switchKeys(REPLICA);
    const types = all.toReversed().map((key) => switchedType(REPLICA, key));
    const expected = ["debug/io-stats", ...types, "features/utime"];
    for (const keys of [all, all.toReversed(), [...all].sort()]) {
      let volfile = REPLICA;
      for (const key of keys) volfile = withTranslator(volfile, key, true);
      expect(chain(volfile)).toEqual([...expected, "cluster/replicate"]);
      expect(withTranslator(volfile, keys[0]!, true)).toBe(volfile);
      for (const key of keys) volfile = withTranslator(volfile, key, false);
      expect(printVolfile(volfile)).toBe(printVolfile(REPLICA));
    }
  });

  it("that hides O_DIRECT from bricks in this process comes below all that goes by it, above the copies", () => {
    const stacked = (...types: string[]): Volfile => {
      const bricks = [0, 1].map((index) => `volume b${index}\n type storage/memory\nend-volume\n`);
      const sections = types.map(
        (type, index) =>
          `volume s${index}\n type ${type}\n subvolumes ${index === 0 ? "b0 b1" : `s${index - 1}`}\nend-volume\n`,
      );
      return parseVolfile([...bricks, ...sections].join(""), "here.vol");
    };
    const key = "network.remote-dio";
    const copies = ["cluster/replicate", "features/shard", "features/utime", "debug/io-stats"];
    const here = stacked(...copies);
    expect(findKey(key, here, REGISTRY)).toEqual({ kind: "switch", key });
    let volfile = applySettings(here, new Map([[key, "enable"]]), REGISTRY);
    expect(chain(volfile).slice(-3)).toEqual(["features/shard", "features/remote-dio", "cluster/replicate"]);
    expect(optionOf(volfile, "s3-remote-dio", "filter-O_DIRECT")).toBe("on");
    expect(showOne(key, volfile, new Map(), REGISTRY)).toMatchObject([{ value: "on" }]);
    for (const on of [true, false])
      for (const other of ["performance.write-behind", "performance.stat-prefetch"])
        volfile = withTranslator(volfile, other, on);
    expect(printVolfile(withTranslator(volfile, key, false))).toBe(printVolfile(here));
    // One that is there and hides nothing is as good as none.
    const idle = stacked("cluster/replicate", "features/remote-dio", "debug/io-stats");
    expect([isOn(idle, key), isOn(withTranslator(idle, key, true), key)]).toEqual([false, true]);
    // Behind a network it is the client's.
    expect(switchKeys(REPLICA)).not.toContain(key);
  });

  it("gets a name that nobody has", () => {
    const named = parseVolfile(
      `${CLIENT(0)}${TOP("v-client-0")}`.replaceAll("v-client-0", "v-write-behind"),
      "x",
    );
    const { sections } = withTranslator(named, "performance.write-behind", true);
    expect(sections.map(({ name }) => name)).toEqual(["v-write-behind", "v-write-behind-2", "v"]);
  });

  it("has no place in a volfile without io-stats, and is not taken from the top", () => {
    const bare = parseVolfile(CLIENT(0), "bare.vol");
    expect(() => withTranslator(bare, "performance.write-behind", true)).toThrow(
      /no debug\/io-stats at its top/,
    );
    const top = parseVolfile(
      `${CLIENT(0)}volume wb\n type performance/write-behind\n subvolumes v-client-0\nend-volume`,
      "top.vol",
    );
    expect(() => withTranslator(top, "performance.write-behind", false)).toThrow(/at the top of the volfile/);
  });
});

describe("values", () => {
  it.each(GOOD_SETTINGS)(
    "VOL-09: of %s are refused when empty or blank, and %s is taken and shown",
    (key, value) => {
      for (const bad of ["", " ", "\t  "])
        expect(() => checkSetting(key, bad, REPLICA, REGISTRY), `"${bad}"`).toThrow(key);
      const settings = new Map([[key, value]]);
      const shown = showOne(key, applySettings(REPLICA, settings, REGISTRY), settings, REGISTRY);
      expect(new Set(shown.map((one) => one.value)).size).toBe(1);
      expect(["on", "off", value]).toContain(shown[0]!.value);
    },
  );
});

describe("profiles", () => {
  it("are virt and virt-2013, and every line of them leads somewhere", () => {
    expect(profileNames()).toEqual(["virt", "virt-2013"]);
    for (const name of profileNames())
      for (const [key, value] of readProfile(name))
        expect(() => checkSetting(key, value, REPLICA, REGISTRY)).not.toThrow();
    expect(readProfile("virt")).toHaveLength(25);
    expect(new Map(readProfile("virt-2013"))).toEqual(
      new Map([
        ["performance.quick-read", "off"],
        ["performance.read-ahead", "off"],
        ["performance.io-cache", "off"],
        ["performance.stat-prefetch", "off"],
        ["cluster.eager-lock", "enable"],
        ["network.remote-dio", "enable"],
        ["cluster.quorum-type", "auto"],
        ["cluster.server-quorum-type", "server"],
      ]),
    );
  });

  it("that are unknown or damaged are refused", () => {
    expect(() => readProfile("../../package")).toThrow(
      /profile "\.\.\/\.\.\/package": unknown; there are virt/,
    );
    expect(() => readProfile("vrit")).toThrow(/did you mean "virt"/);
    expect(() => parseProfile("a=b\nnonsense\n", "mine")).toThrow(/line 2: "nonsense" is not KEY=VALUE/);
    expect(() => parseProfile("a=\n", "mine")).toThrow(/line 1/);
    expect(parseProfile("# x\n\na = b c \na=d\nb=e", "mine")).toEqual([
      ["a", "d"],
      ["b", "e"],
    ]);
  });
});

describe("warnings", () => {
  const of = (values: Readonly<Record<string, string>>, changed?: readonly string[]): string[] =>
    warningsOf((key) => values[key], changed).map((warning) => warning.split(/[: ]/)[0]!);

  it.each([
    [{ "network.remote-dio": "on", "performance.strict-o-direct": "on" }, ["network.remote-dio"]],
    [{ "network.remote-dio": "on", "performance.strict-o-direct": "off" }, []],
    [
      { "performance.write-behind": "on", "performance.strict-o-direct": "off" },
      ["performance.strict-o-direct"],
    ],
    [{ "performance.write-behind": "off", "performance.strict-o-direct": "off" }, []],
    [{ "cluster.quorum-type": "none" }, ["cluster.quorum-type"]],
    [{ "cluster.quorum-type": "fixed", "cluster.quorum-count": "1" }, ["cluster.quorum-count"]],
    [{ "cluster.quorum-type": "fixed", "cluster.quorum-count": "2" }, []],
    [{ "cluster.eager-lock": "off" }, ["cluster.eager-lock"]],
    [{ "cluster.ensure-durability": "off" }, ["cluster.ensure-durability"]],
    [{ "network.ping-timeout": "0" }, ["network.ping-timeout"]],
    [{ "network.ping-timeout": "3" }, ["network.ping-timeout"]],
    [{ "network.ping-timeout": "1min" }, []],
    [{ "features.shard": "on", "performance.io-cache": "on" }, ["a"]],
    [{ "features.shard": "on", "cluster.lookup-optimize": "on" }, ["cluster.lookup-optimize"]],
    [{}, []],
  ] as const)("%j: %j", (values, expected) => {
    expect(of(values as Record<string, string>)).toEqual(expected);
  });

  it("after a change are only of what it is about", () => {
    const values = { "cluster.quorum-type": "none", "cluster.eager-lock": "off" };
    expect(of(values, ["cluster.eager-lock"])).toEqual(["cluster.eager-lock"]);
    expect(of(values, ["network.ping-timeout"])).toEqual([]);
  });
});
