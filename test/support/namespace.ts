/**
 * Mount namespaces for tests: what is done to /dev or to file systems ends with them.
 *
 * A new namespace has a copy of every mount there is, and such a copy keeps a file system of another test
 * alive after that test has unmounted it. So the copies of FUSE file systems go first.
 */

const FORGET_OTHERS =
  "awk '$3 ~ /^fuse/ { print $2 }' /proc/mounts | xargs -r -n 1 umount -l 2>/dev/null || true";

/** Arguments of unshare(1) that run a shell script in a mount namespace of its own; `$1` is `words[0]`. */
export function inOwnMounts(script: string, words: readonly string[] = []): string[] {
  return [
    ...["--mount", "--propagation", "private", "sh", "-ec", `${FORGET_OTHERS}\n${script}`, "sh"],
    ...words,
  ];
}
