/**
 * Settings that contradict each other or are unsafe for images of virtual machines: tables of pure rules. A
 * rule warns: whoever sets it may know better. What no volume could be mounted with, its translators refuse.
 */

/**
 * What a rule may ask: values by key, as `mortar get` shows them; undefined for what the volume has not got.
 */
export type Values = (key: string) => string | undefined;

interface Rule {
  /** Keys that it is about: setting one of them brings its warning up. */
  readonly about: readonly string[];
  readonly when: (value: Values) => boolean;
  readonly warning: string;
}

const RULES: readonly Rule[] = [
  {
    about: ["network.remote-dio", "performance.strict-o-direct"],
    when: (value) => value("network.remote-dio") === "on" && value("performance.strict-o-direct") === "on",
    warning:
      "network.remote-dio hides O_DIRECT from the bricks, performance.strict-o-direct honours it before: writes go " +
      "past the client's memory and into that of the bricks all the same; switch one of them off",
  },
  {
    about: ["performance.write-behind", "performance.strict-o-direct"],
    when: (value) =>
      value("performance.write-behind") === "on" && value("performance.strict-o-direct") === "off",
    warning:
      "performance.strict-o-direct is off: writes of a guest with cache=none are answered from this host's memory, and a " +
      "second host that takes the guest over does not see them before a flush",
  },
  {
    about: ["performance.write-behind", "performance.resync-failed-syncs-after-fsync"],
    when: (value) =>
      value("performance.write-behind") === "on" &&
      value("performance.resync-failed-syncs-after-fsync") === "off",
    warning:
      "performance.resync-failed-syncs-after-fsync off: a write that failed is forgotten once an fsync has told of it; QEMU, " +
      "which stops the guest on ENOSPC and repeats the fsync alone, then goes on without the data",
  },
  {
    about: ["cluster.quorum-type"],
    when: (value) => value("cluster.quorum-type") === "none",
    warning:
      "cluster.quorum-type none: each side of a split network writes on, and the image is lost to split brain; use auto",
  },
  {
    about: ["cluster.quorum-type", "cluster.quorum-count"],
    when: (value) => value("cluster.quorum-type") === "fixed" && value("cluster.quorum-count") === "1",
    warning: "cluster.quorum-count 1 is as good as no quorum: split brain is possible; use quorum-type auto",
  },
  {
    about: ["cluster.eager-lock"],
    when: (value) => value("cluster.eager-lock") === "off",
    warning:
      "cluster.eager-lock off: every write of a guest takes and gives back a lock on each brick, four trips more",
  },
  {
    about: ["cluster.ensure-durability"],
    when: (value) => value("cluster.ensure-durability") === "off",
    warning:
      "cluster.ensure-durability off: after a power failure copies may differ without a mark that makes a heal look at them",
  },
  {
    about: ["network.ping-timeout"],
    when: (value) => value("network.ping-timeout") === "0",
    warning: "network.ping-timeout 0: a brick that hangs is never given up, and guests hang with it",
  },
  {
    about: ["network.ping-timeout"],
    when: (value) => seconds(value("network.ping-timeout")) > 0 && seconds(value("network.ping-timeout")) < 5,
    warning:
      "network.ping-timeout below 5 s: a busy brick is taken for a dead one, and has to be healed each time",
  },
  {
    about: ["performance.io-cache", "performance.quick-read", "performance.read-ahead"],
    when: (value) =>
      value("features.shard") === "on" &&
      ["performance.io-cache", "performance.quick-read", "performance.read-ahead"].some(
        (key) => value(key) === "on",
      ),
    warning:
      "a read cache on a volume of images: guests cache by themselves, and one that moved to another host may be shown " +
      "what was cached there before",
  },
  {
    about: ["cluster.lookup-optimize"],
    when: (value) => value("cluster.lookup-optimize") === "on" && value("features.shard") === "on",
    warning:
      "cluster.lookup-optimize on a sharded volume: shards that were moved may be taken for missing; switch it off",
  },
];

/**
 * Warnings of what the values are now; with `changed`, only of rules about one of these keys. One line each.
 */
export function warningsOf(value: Values, changed?: readonly string[]): string[] {
  return RULES.filter(({ about }) => changed === undefined || about.some((key) => changed.includes(key)))
    .filter(({ when }) => when(value))
    .map(({ warning }) => warning);
}

/** A time as the options take it: a number with an optional unit. */
function seconds(text: string | undefined): number {
  const match = /^(\d+)\s*(s|sec|m|min)?$/.exec(text ?? "");
  return match ? Number(match[1]) * (match[2]?.startsWith("m") ? 60 : 1) : Number.NaN;
}
