/**
 * The command line: names, arguments and help. What a command does is in a file of its own, loaded when it is
 * asked for, so that `mortar umount` does not pay for the FUSE edge.
 *
 * Exit codes: 0 done, 1 a UserError, told in one line. Anything else is a bug and shows its stack.
 */

import { readFileSync } from "node:fs";
import { Command, Option } from "commander";
import { keepAlive } from "../core/env-node.ts";
import { FopError, UserError } from "../core/errors.ts";
import { addCompare } from "./compare/declare.ts";
import { addFileCommands } from "./files/declare.ts";
import { guardOutput } from "./output.ts";

const EDGES = ["auto", "dev-fuse", "fuse-native"];
const FORMATS = ["text", "dot", "mermaid", "json"];

const SOURCE_HELP = `
SOURCE is one of
  PATH                                          a volfile, or the data directory of a running \`mortar start\`
  HOST:/VOLUME[/DIR]                            a volume of a GlusterFS server
  gluster[+tcp]://[HOST[:PORT]]/VOLUME[/DIR]    the same; IPv6 addresses in brackets
  gluster+unix:///VOLUME[/DIR]?socket=PATH      the same over glusterd's unix socket`;

/** An option that may be given several times. */
function repeatable(flags: string, description: string): Option {
  return new Option(flags, description)
    .default([], "none")
    .argParser((value: string, before: string[]) => [...before, value]);
}

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  return version;
}

function logOptions(command: Command): Command {
  return command
    .option("--log-file <file>", "append the log to this file")
    .option("--log-level <level>", "trace, debug, info, warn, error or none (default: info)")
    .addOption(new Option("--log-format <format>", "of the log").choices(["text", "json"]).default("text"));
}

/** What the parser complains of, as all else is complained of. */
function inOneLine(text: string): string {
  const [, what = ""] = /^(?:error: )?(.*?)\.?$/s.exec(text.trim())!;
  return `${what.replace(/\s*\n\s*/g, " ")}; \`mortar [COMMAND] --help\` tells more`;
}

function program(): Command {
  const mortar = new Command("mortar")
    .description("A GlusterFS-compatible storage client stack for hosts that run virtual machines")
    .version(packageVersion(), "-V, --version")
    .configureOutput({ outputError: (text, write) => write(`mortar: ${inOneLine(text)}\n`) })
    .helpCommand(false);
  addMount(mortar);
  addUmount(mortar);
  addGraph(mortar);
  addBrick(mortar);
  addHeal(mortar);
  addHealDaemon(mortar);
  addStart(mortar);
  addTuning(mortar);
  addFileCommands(mortar);
  addCompare(mortar);
  addHelpers(mortar);
  return mortar;
}

function addMount(mortar: Command): void {
  const mount = mortar
    .command("mount <source> <mountpoint>")
    .description("mount a volume; returns when it can be used, and the mount goes on in the background")
    .addOption(repeatable("-o, --options <list>", "mount options, separated by commas; listed below"))
    .addOption(new Option("--edge <edge>", "how to speak to the kernel").choices(EDGES).default("auto"))
    .option("-f, --foreground", "stay, log to the terminal, unmount on SIGINT or SIGTERM")
    .option("--volume-name <name>", "volume of the volfile to stand at the top")
    .option("--volfile-id <key>", "volfile to ask the server for (default: the volume's name)")
    .addOption(repeatable("--xlator-option <pattern.key=value>", "set an option of matching volumes"))
    .addHelpText("after", SOURCE_HELP)
    .action(async (source, mountpoint, options) =>
      (await import("./mount-command.ts")).mountCommand(source, mountpoint, options),
    );
  logOptions(mount);
}

function addUmount(mortar: Command): void {
  mortar
    .command("umount <mountpoint>")
    .description("unmount")
    .option("-l, --lazy", "detach it even if it is in use")
    .action(async (mountpoint, options) =>
      (await import("./umount-command.ts")).umountCommand(mountpoint, options),
    );
}

function addGraph(mortar: Command): void {
  mortar
    .command("graph [source]")
    .description(
      "show the translators of a volume, what each does, and options that are not at their default",
    )
    .addOption(new Option("--format <format>", "of the output").choices(FORMATS).default("text"))
    .option("--volume-name <name>", "volume of the volfile to stand at the top")
    .option("--volfile-id <key>", "volfile to ask the server for (default: the volume's name)")
    .option("--types", "list all translator types that Mortar knows instead")
    .addHelpText("after", SOURCE_HELP)
    .action(async (source, options) => (await import("./graph-command.ts")).graphCommand(source, options));
}

function addBrick(mortar: Command): void {
  const brick = mortar
    .command("brick <volfile...>")
    .description(
      "serve bricks, all in one process: run volfiles whose tops are protocol/server, in the foreground",
    )
    .option("--listen <address>", "HOST:PORT, [IPV6]:PORT, PORT or unix:PATH instead of the volfile's")
    .option("--volume-name <name>", "volume of the volfile to stand at the top")
    .addOption(repeatable("--xlator-option <pattern.key=value>", "set an option of matching volumes"))
    .action(async (volfiles, options) =>
      (await import("./brick-command.ts")).brickCommand(volfiles, options),
    );
  logOptions(brick);
}

const HEAL_HELP = `
WORDS say what to do; without any, what the bricks list as due is healed, here and now
  info [summary|split-brain]                    what waits for healing, as \`gluster volume heal\` shows it
  info --watch                                  how much is left and for how long, until nothing is
  full                                          heal all that differs, listed or not, e.g. after a loss
  FILE...                                       heal these only; a path from the volume's root, or gfid:UUID
  split-brain bigger-file FILE...               settle a split brain: the largest copy stays
  split-brain latest-mtime FILE...              the copy that was modified last stays
  split-brain majority FILE...                  what more than half of the copies say stays
  split-brain source-brick BRICK [FILE...]      the copy on BRICK stays; without FILE of all that it lists
A heal needs all bricks; \`mortar heal-daemon\` heals by itself when they come back.`;

function addHeal(mortar: Command): void {
  const heal = mortar
    .command("heal <source> [words...]")
    .description("show and heal what the copies of a replicated volume lack, settle split brain")
    .option("--json", "for programs")
    .option("--dry-run", "with split-brain: say which copy would stay, change nothing")
    .option("--watch", "with info: look again until nothing is left to heal; bytes, rate and time to go")
    .addHelpText("after", `${HEAL_HELP}\n${SOURCE_HELP}`)
    .action(async (source, words, options) =>
      (await import("./heal-command.ts")).healCommand(source, words, options),
    );
  logOptions(heal);
}

function addHealDaemon(mortar: Command): void {
  const daemon = mortar
    .command("heal-daemon <source>")
    .description("heal a replicated volume for as long as it runs: copies that come back are made alike")
    .option("-f, --foreground", "stay and log to the terminal, end on SIGINT or SIGTERM")
    .addHelpText("after", SOURCE_HELP)
    .action(async (source, options) =>
      (await import("./heal-daemon-command.ts")).healDaemonCommand(source, options),
    );
  logOptions(daemon);
}

function addStart(mortar: Command): void {
  const start = mortar
    .command("start")
    .description("run the embedded volume `instances` and mount it (what `npm start` does)")
    .option("--data <dir>", "where its data is (default: ./var/instances)")
    .option("--mount <dir>", "where to mount it (default: /srv/instances as root, else ./mnt)")
    .option("--replica <copies>", "of a new volume: 1, 3, or 2+1 for two and an arbiter (default: 3)")
    .option("--shard <size>", "of a new volume: cut files into blocks of this size, or off (default: 64MB)")
    .option("--profile <name>", "set a profile's options, for good: virt (new volumes have it) or virt-2013")
    .option("--new-brick <index>", "fill the empty directory of this brick (0, 1, 2) from the others")
    .addOption(repeatable("-o, --options <list>", "mount options, separated by commas"))
    .addOption(new Option("--edge <edge>", "how to speak to the kernel").choices(EDGES).default("auto"))
    .action(async (options) => (await import("./start-command.ts")).startCommand(options));
  logOptions(start);
}

const SET_HELP = `
KEY is one of \`gluster volume set\`, or SECTION.OPTION of the volfile; \`mortar get MOUNTPOINT\` lists
them. What is set ends with the mount; on the volume of \`mortar start\` it is kept. A translator that is
switched on or off (performance.write-behind ...) makes a new graph take over, under open files.`;

/** Commands that ask and tell a running mount. */
function addTuning(mortar: Command): void {
  mortar
    .command("stats <mountpoint>")
    .description(
      "show what a mount's file operations cost: at the kernel's edge, in the graph, at each brick",
    )
    .option("-w, --watch", "again and again, each time what happened in between")
    .option("--interval <seconds>", "between two looks", "1")
    .option("--count <rounds>", "how often to look with --watch (default: until Ctrl-C)")
    .option("--json", "for programs")
    .option("--prometheus", "as Prometheus reads it, e.g. for node_exporter's textfile collector")
    .action(async (mountpoint, options) =>
      (await import("./stats-command.ts")).statsCommand(mountpoint, options),
    );
  mortar
    .command("set <mountpoint> <key> [value]")
    .description("set an option of a running mount, or `group NAME`: all of a profile (virt, virt-2013)")
    .option("--reset", "take KEY back to what the volfile says")
    .addHelpText("after", SET_HELP)
    .action(async (mountpoint, key, value, options) =>
      (await import("./tune-command.ts")).setCommand(mountpoint, key, value, options),
    );
  mortar
    .command("get <mountpoint> [key]")
    .description("show options of a running mount; all of them without KEY")
    .option("--json", "for programs, with descriptions")
    .action(async (mountpoint, key, options) =>
      (await import("./tune-command.ts")).getCommand(mountpoint, key, options),
    );
  mortar
    .command("statedump <mountpoint>")
    .description("show the state of a running mount: graph, options, what each translator holds")
    .option("--json", "for programs")
    .action(async (mountpoint, options) =>
      (await import("./tune-command.ts")).statedumpCommand(mountpoint, options),
    );
}

function addHelpers(mortar: Command): void {
  mortar
    .command("install-helper")
    .description("write /sbin/mount.mortar, so that `mount -t mortar` and fstab work")
    .option("--dir <dir>", "where mount(8) looks for helpers", "/sbin")
    .action(async (options) => (await import("./mount-helper.ts")).installHelper(options.dir));
  mortar
    .command("mount-helper", { hidden: true })
    .allowUnknownOption()
    .helpOption(false)
    .argument("[arguments...]")
    .action(async () => (await import("./mount-helper.ts")).mountHelper(process.argv.slice(3)));
}

/** The table of mount options comes with a good part of the program, which no other command needs. */
async function addMountOptionsHelp(mortar: Command): Promise<void> {
  const args = process.argv.slice(2);
  if (args[0] !== "mount" || !args.some((arg) => arg === "--help" || arg === "-h")) return;
  const { mountOptionsHelp } = await import("./mount-options-help.ts");
  const mount = mortar.commands.find((command) => command.name() === "mount");
  mount?.addHelpText("after", `\n${mountOptionsHelp()}`);
}

guardOutput(process.argv[2]);
const release = keepAlive();
try {
  const mortar = program();
  await addMountOptionsHelp(mortar);
  await mortar.parseAsync();
  release();
} catch (error) {
  if (error instanceof UserError || error instanceof FopError) {
    const { reportFailure } = await import("./ready.ts");
    reportFailure(error.message);
    process.exit(1);
  }
  throw error;
}
