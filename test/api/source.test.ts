/** The SOURCE grammar: what each form means, and one clear line for each that means nothing. */

import { describe, expect, it } from "vitest";
import { parseSource, sourceText } from "../../src/api/source.ts";

function tcp(host: string, port: number, volume: string, directory = "/") {
  return { kind: "server", server: { transport: "tcp", host, port }, volume, directory };
}

describe("source", () => {
  it.each([
    ["/etc/mortar/client.vol", { kind: "volfile", path: "/etc/mortar/client.vol" }],
    ["./h:/v", { kind: "volfile", path: "./h:/v" }],
    ["../a.vol", { kind: "volfile", path: "../a.vol" }],
    ["client.vol", { kind: "volfile", path: "client.vol" }],
    ["dir/client.vol", { kind: "volfile", path: "dir/client.vol" }],
    ["host:/volume", tcp("host", 24007, "volume")],
    ["host:volume", tcp("host", 24007, "volume")],
    ["10.0.0.1:/volume/some/dir/", tcp("10.0.0.1", 24007, "volume", "/some/dir")],
    ["[2001:db8::1]:/volume", tcp("2001:db8::1", 24007, "volume")],
    ["2001:db8::1:/volume", tcp("2001:db8::1", 24007, "volume")],
    ["host:/snaps/monday/volume/dir", tcp("host", 24007, "snaps/monday/volume", "/dir")],
    ["gluster://host/volume", tcp("host", 24007, "volume")],
    ["gluster://host:0/volume", tcp("host", 24007, "volume")],
    ["gluster:///volume", tcp("localhost", 24007, "volume")],
    ["gluster+tcp://host:24008/volume/a/b", tcp("host", 24008, "volume", "/a/b")],
    ["gluster://[::1]:24008/volume/with%20blank", tcp("::1", 24008, "volume", "/with blank")],
    [
      "gluster+unix:///volume/dir?socket=/run/glusterd.socket",
      {
        kind: "server",
        server: { transport: "unix", path: "/run/glusterd.socket" },
        volume: "volume",
        directory: "/dir",
      },
    ],
  ])("%s", (text, meaning) => {
    expect(parseSource(text)).toEqual(meaning);
  });

  it.each([
    ["", /is empty/],
    ["gluster+rdma://host/volume", /rdma is not supported: .* use gluster\+tcp$/],
    ["gluster+udp://host/volume", /unknown transport "udp"/],
    ["http://host/volume", /unknown scheme/],
    ["gluster://host", /the volume's name is missing/],
    ["gluster://host/", /the volume's name is missing/],
    ["gluster://host/vol ume", /"vol ume" cannot be a volume's name/],
    ["gluster://host/volume/../x", /has "\.\." in it/],
    ["gluster://host:99999/volume", /port 99999 is above 65535/],
    ["gluster://ho:st:1/volume", /is no HOST\[:PORT\]/],
    ["gluster://::1/volume", /IPv6 address stands in brackets/],
    ["gluster://[nonsense]/volume", /"nonsense" is no IPv6 address/],
    ["[nonsense]:/volume", /"nonsense" is no IPv6 address/],
    ["host:24007:/volume", /a port goes into gluster:\/\/HOST:PORT\/VOLUME/],
    ["gluster+unix:///volume", /needs \?socket=PATH/],
    ["gluster+unix://host/volume?socket=/s", /takes no host/],
    ["gluster+unix:///volume?socket=s", /absolute path/],
    ["gluster+unix:///volume?socket=/s&socket=/t", /given twice/],
    ["gluster+unix:///volume?server=/s", /unknown parameter "server"/],
    ["gluster://host/volume?socket=/s", /goes with gluster\+unix only/],
    ["gluster://host/volume#part", /"#" part/],
    ["gluster://host/%zz", /begins no code/],
  ])("refuses %j", (text, message) => {
    expect(() => parseSource(text)).toThrow(message);
    expect(() => parseSource(text)).toThrow(/^source "/);
  });

  it.each(["h:/v", "h:/v/d", "[::1]:/v", "/a/b.vol", "unix:/run/s:/v"])("is shown as %s", (shown) => {
    const texts: Record<string, string> = { "unix:/run/s:/v": "gluster+unix:///v?socket=/run/s" };
    expect(sourceText(parseSource(texts[shown] ?? shown))).toBe(shown);
  });
});
