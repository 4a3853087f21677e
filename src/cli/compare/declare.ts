/** `mortar compare`: its arguments and help. What it does is loaded when it is asked for. */

import type { Command } from "commander";

const HELP = `
Rows: Base, a directory on the disk of a brick that is on this machine, or --base; Direct, the library in this
process; FUSE, a mount. All are driven by one load generator, and by fio and dd where there is a path.
Loads: seq-write, seq-read (four files, 128k, 4/32/8/16 in flight), 4k-write, 4k-read (one at a time),
4k-write-32, 4k-read-32 (32 in flight), dd (bs=1024).
What is written lies in a directory mortar-compare-... of the volume and is removed again, also on Ctrl-C. A
volume that has too little room is left alone.`;

export function addCompare(mortar: Command): void {
  mortar
    .command("compare <source>")
    .description("measure a volume: what FUSE costs against the direct path, and both against the disk")
    .option("--base <dir>", "make the Base row's files in this directory")
    .option("--all-edges", "with a mount by fuse-native too")
    .option("--quick", "small files and short runs: to see that it works, not to quote")
    .option("--rounds <n>", "measurements of each cell; the median counts", "3")
    .option("--loads <list>", "only these, separated by commas")
    .option("--no-fio", "without fio and dd")
    .option("--output <dir>", "where compare.json and compare.html go", "mortar-compare")
    .addHelpText("after", HELP)
    .action(async (source, flags) => (await import("./compare-command.ts")).compareCommand(source, flags));
}
