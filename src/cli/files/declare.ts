/**
 * The commands on files of volumes: names, arguments and help. What they do is loaded when it is asked for.
 */

import type { Command } from "commander";

const PLACES_HELP = `
A file of a volume is written as one of
  gluster[+tcp]://HOST[:PORT]/VOLUME/PATH       as QEMU does; an IPv6 address stands in brackets
  gluster+unix:///VOLUME/PATH?socket=SOCKET     the same over glusterd's unix socket
  HOST:/VOLUME/PATH                             the same as the first
  VOLFILE:/PATH  or  DATADIR:/PATH              by a volfile here, or the data directory of \`mortar start\`
The volume is used in this process; nothing is mounted.`;

export function addFileCommands(mortar: Command): void {
  addLs(mortar);
  addCp(mortar);
  addCat(mortar);
  addStat(mortar);
  addRm(mortar);
  addTruncate(mortar);
}

function addLs(mortar: Command): void {
  mortar
    .command("ls <source...>")
    .description("list files of a volume")
    .option("-l, --long", "with mode, links, owner, size and time")
    .option("-a, --all", "names that begin with a dot too")
    .option("-h, --human-readable", "sizes in KiB, MiB ... with --long")
    .option("-d, --directory", "directories themselves, not what is in them")
    .option("--json", "for programs")
    .helpOption("--help", "display help for command")
    .addHelpText("after", PLACES_HELP)
    .action(async (words, flags) => (await import("./ls-command.ts")).lsCommand(words, flags));
}

const CP_HELP = `
Each file is written under a passing name, synced, and then renamed: whoever looks sees the old file or
the new one. Holes stay holes and blocks of zeroes become holes. "-" is standard input or output.`;

function addCp(mortar: Command): void {
  mortar
    .command("cp <places...>")
    .usage("[options] SOURCE... TARGET")
    .description("copy files into, out of and between volumes")
    .option("-r, --recursive", "directories with all that is in them")
    .option("-p, --preserve", "owner, mode and times too")
    .option("-n, --no-clobber", "leave files alone that are there already")
    .option("--no-progress", "no progress bar on a terminal")
    .addHelpText("after", `${CP_HELP}\n${PLACES_HELP}`)
    .action(async (words, flags) => (await import("./cp-command.ts")).cpCommand(words, flags));
}

function addCat(mortar: Command): void {
  mortar
    .command("cat <source...>")
    .description("write files of a volume to standard output")
    .addHelpText("after", PLACES_HELP)
    .action(async (words) => (await import("./cat-command.ts")).catCommand(words));
}

function addStat(mortar: Command): void {
  mortar
    .command("stat <source...>")
    .description("show all attributes of files in a volume; of its root also how full it is")
    .option("-L, --dereference", "of what a symbolic link leads to")
    .option("--json", "for programs")
    .addHelpText("after", PLACES_HELP)
    .action(async (words, flags) => (await import("./stat-command.ts")).statCommand(words, flags));
}

function addRm(mortar: Command): void {
  mortar
    .command("rm <source...>")
    .description("remove files of a volume")
    .option("-r, --recursive", "directories with all that is in them")
    .option("-f, --force", "say nothing of what is not there")
    .option("--wait <seconds>", "at most, until the blocks of sharded files are gone too", "60")
    .addHelpText("after", PLACES_HELP)
    .action(async (words, flags) => (await import("./rm-command.ts")).rmCommand(words, flags));
}

function addTruncate(mortar: Command): void {
  mortar
    .command("truncate <source...>")
    .description("set the size of files in a volume; those that are not there are made")
    .requiredOption(
      "-s, --size <size>",
      "10G, or +512M and -1G for more and less; K, M, G, T are powers of 1024",
    )
    .option("-c, --no-create", "leave alone what is not there")
    .addHelpText("after", PLACES_HELP)
    .action(async (words, flags) => (await import("./truncate-command.ts")).truncateCommand(words, flags));
}
