/** Ten options of a replicated volume, of each kind that there is, and a good value of each (VOL-09). */
export const GOOD_SETTINGS: readonly (readonly [key: string, value: string])[] = [
  ["cluster.eager-lock", "on"],
  ["cluster.quorum-type", "auto"],
  ["cluster.quorum-count", "2"],
  ["cluster.data-self-heal-algorithm", "full"],
  ["cluster.locking-scheme", "granular"],
  ["cluster.choose-local", "off"],
  ["cluster.post-op-delay-secs", "3"],
  ["cluster.favorite-child-policy", "mtime"],
  ["network.ping-timeout", "20"],
  ["network.remote-dio", "disable"],
];
