/** `-o` lists: every option of mount.glusterfs is applied, ignored with a line, or refused; none is lost. */

import { describe, expect, it } from "vitest";
import { parseSource } from "../../src/api/source.ts";
import { parseHelperArguments } from "../../src/cli/mount-helper.ts";
import { adjustSource, backupServers, OTHER_OPTIONS, parseOptionLists } from "../../src/cli/mount-options.ts";
import { mountOptionsHelp } from "../../src/cli/mount-options-help.ts";

/**
 * Every name in mount.glusterfs.in of 10.3 (with_options, without_options), with a value where it wants one.
 */
const OF_THE_C_HELPER = [
  "log-level=INFO log-file=/l transport=tcp direct-io-mode=enable volume-name=v volume-id=v subdir-mount=/d",
  "volfile-check=1 server-port=24007 attribute-timeout=1 entry-timeout=1.5 negative-timeout=0 gid-timeout=300",
  "lru-limit=1 invalidate-limit=1 background-qlen=64 backup-volfile-servers=a:b backupvolfile-server=a",
  "fetch-attempts=2 congestion-threshold=48 oom-score-adj=0 xlator-option=a.b=c fuse-mountopts=x use-readdirp=yes",
  "event-history=on reader-thread-count=1 auto-invalidation=on no-root-squash=yes root-squash=no",
  "kernel-writeback-cache=on attr-times-granularity=0 dump-fuse=/f fuse-flush-handle-interrupt=1",
  "fuse-dev-eperm-ratelimit-ns=1 context=x fscontext=x defcontext=x rootcontext=x halo-max-latency=1",
  "halo-max-replicas=1 halo-min-replicas=1 process-name=p fopen-keep-cache=on io-engine=x x-systemd.automount",
  "ro acl selinux worm enable-ino32 mem-accounting aux-gfid-mount thin-client resolve-gids rw global-threading",
  "localtime-logging async sync dirsync mand nomand silent loud iversion noiversion nofail atime noatime diratime",
  "nodiratime relatime norelatime strictatime nostrictatime lazyatime nolazyatime dev nodev exec noexec suid nosuid",
  "auto_unmount auto noauto _netdev capability",
].flatMap((line) => line.split(" "));

const REFUSED =
  /^mount: option (aux-gfid-mount|context|fscontext|defcontext|rootcontext|enable-ino32|fuse-mountopts|no-root-squash|root-squash|thin-client|worm): refused: /;

describe("mount options", () => {
  it.each(OF_THE_C_HELPER)("%s is known", (text) => {
    try {
      parseOptionLists([text]);
    } catch (error) {
      expect((error as Error).message).toMatch(REFUSED);
    }
  });

  it("go to the edge, to the source, to the kernel and to this command", () => {
    const options = parseOptionLists([
      "ro,acl,attribute-timeout=0.5,noatime,nosuid,log-level=WARNING,server-port=1234,transport=tcp",
      "xlator-option=*-client-*.ping-timeout=5,xlator-option=a.b=c=d,_netdev,x-systemd.requires=a",
    ]);
    expect(options.edge).toMatchObject({ "read-only": true, acl: true, "attribute-timeout": 0.5 });
    expect(options.kernelFlags).toEqual(["noatime", "nosuid"]);
    expect(options.logLevel).toBe("warn");
    expect(options.xlatorOptions).toEqual([
      { pattern: "*-client-*", key: "ping-timeout", value: "5" },
      { pattern: "a", key: "b", value: "c=d" },
    ]);
    expect(options.warnings).toEqual([]);
    expect(adjustSource(parseSource("h:/v"), options)).toMatchObject({
      server: { port: 1234 },
      volume: "v.tcp",
    });
  });

  it("name a profile to begin with", () => {
    expect(parseOptionLists(["ro,profile=virt"]).profile).toBe("virt");
    expect(parseOptionLists(["profile=virt", "profile=virt-2013"]).profile).toBe("virt-2013");
    expect(parseOptionLists(["ro"]).profile).toBeUndefined();
  });

  it("let a later one win", () => {
    expect(parseOptionLists(["ro", "rw"]).edge["read-only"]).toBe(false);
    expect(parseOptionLists(["entry-timeout=1,entry-timeout=2"]).edge["entry-timeout"]).toBe(2);
  });

  it("are told in one line each when they mean nothing here", () => {
    expect(parseOptionLists(["sync,io-engine=x,noauto"]).warnings).toEqual([
      "mount: option sync is ignored: FUSE mounts have no such mode",
      expect.stringMatching(/^mount: option io-engine is ignored: /),
    ]);
  });

  it("are not refused when they ask for nothing", () => {
    for (const text of ["no-root-squash=no", "root-squash=yes", "worm=off", "aux-gfid-mount=disable"])
      expect(parseOptionLists([text]).warnings).toEqual([]);
  });

  it.each([
    ["nonsense", /^mount: option nonsense: unknown/],
    ["entry-timeout=soon", /^mount: option entry-timeout: "soon" is not a number of seconds/],
    ["server-port=70000", /"70000" is not a whole number from 1 to 65535$/],
    ["oom-score-adj=x", /oom-score-adj: "x" is not a whole number/],
    ["transport=rdma", /GlusterFS removed that transport/],
    ["transport=udp", /neither tcp nor unix/],
    ["log-level=LOUD", /log level "LOUD"/],
    ["xlator-option=a", /is not PATTERN\.KEY=VALUE/],
    ["volume-name", /volume-name: a value is missing/],
    ["profile=vrit", /^mount: option profile "vrit": unknown; did you mean "virt"\?$/],
    ["profile=../virt", /^mount: option profile "..\/virt": unknown; there are virt, virt-2013$/],
    ["profile", /profile: a value is missing/],
    ["toString", /^mount: option toString: unknown/],
  ])("refuse %s with its reason", (text, message) => {
    expect(() => parseOptionLists([text])).toThrow(message);
  });

  it("name the servers to ask next, IPv6 in brackets", () => {
    const options = parseOptionLists([
      "backup-volfile-servers=a:[::1]:b,backupvolfile-server=c,server-port=99",
    ]);
    const source = adjustSource(parseSource("h:/v"), options);
    expect(source.kind === "server" && backupServers(source, options)).toEqual(
      ["c", "a", "::1", "b"].map((host) => ({ transport: "tcp", host, port: 99 })),
    );
  });

  it("are all in the help", () => {
    const help = mountOptionsHelp();
    for (const name of [...Object.keys(OTHER_OPTIONS), "direct-io-mode"]) expect(help).toContain(name);
  });
});

describe("mount.mortar", () => {
  it("takes mount(8)'s order of arguments", () => {
    const parsed = parseHelperArguments([
      "h:/v",
      "/mnt",
      "-sn",
      "-o",
      "rw,acl",
      "-t",
      "mortar",
      "-v",
      "-oro",
    ]);
    expect(parsed).toEqual({ source: "h:/v", mountpoint: "/mnt", lists: ["rw,acl", "ro"], fake: false });
    expect(parseHelperArguments(["-f", "-r", "h:/v", "/mnt"])).toMatchObject({ lists: ["ro"], fake: true });
  });

  it.each([
    [["h:/v"], /usage/],
    [["h:/v", "/mnt", "more"], /usage/],
    [["h:/v", "/mnt", "-o"], /-o needs a value/],
    [["h:/v", "/mnt", "-q"], /unknown option -q/],
    [["h:/v", "/mnt", "-N", "1"], /namespaces are not supported/],
  ])("refuses %j", (args, message) => {
    expect(() => parseHelperArguments(args)).toThrow(message);
  });
});
