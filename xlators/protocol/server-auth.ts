/**
 * Who may use a brick: the vote of the modules addr and login (wire.md 11; GlusterFS xlators/protocol/auth).
 *
 * A module that has options in the section votes. One reject loses, else one accept wins, else the client
 * stays out. Having shown an accepted name and password makes a client trusted, which exempts some internal
 * callers from squashing.
 */

import { timingSafeEqual } from "node:crypto";
import ipaddr from "ipaddr.js";
import picomatch from "picomatch";
import type { Dict } from "../../src/core/dict.ts";
import type { PeerAddress } from "../../src/rpc/transport.ts";

/** Finds the addresses of a host name; empty when it has none. */
export type Resolve = (name: string) => Promise<readonly string[]>;

export interface AuthRules {
  /** The section's options as text. */
  readonly raw: ReadonlyMap<string, string>;
  readonly allowInsecure: boolean;
  readonly strict: boolean;
  readonly resolve: Resolve;
}

export interface Verdict {
  readonly allowed: boolean;
  readonly trusted: boolean;
  /** Why not, for the log of the brick; the client hears only that authentication failed. */
  readonly why: string;
}

type Vote = "accept" | "reject" | "no-opinion";

const UNPRIVILEGED_PORT_MIN = 1024;

/** Whether any rule could ever let somebody in to this brick. */
export function hasRules(raw: ReadonlyMap<string, string>, brick: string): boolean {
  return ["addr", "login", "ip"].some((module) => raw.has(`auth.${module}.${brick}.allow`));
}

/** Decides on a client that wants the brick; `params` is its SETVOLUME dict. */
export async function authenticate(
  rules: AuthRules,
  brick: string,
  peer: PeerAddress,
  params: Dict,
): Promise<Verdict> {
  const subdir = params.text("subdir-mount") ?? "/";
  const addr = await voteByAddress(rules, brick, peer, subdir);
  if (addr === "reject") return refused(`address ${peer.host}, port ${peer.port} is rejected`);
  const login = voteByLogin(rules, brick, params);
  if (login === "reject") return refused("wrong user name or password");
  const allowed = addr === "accept" || login === "accept";
  if (!allowed) return refused(`address ${peer.host} is not among the allowed ones`);
  return { allowed, trusted: login === "accept", why: "" };
}

function refused(why: string): Verdict {
  return { allowed: false, trusted: false, why };
}

async function voteByAddress(
  rules: AuthRules,
  brick: string,
  peer: PeerAddress,
  subdir: string,
): Promise<Vote> {
  const { raw } = rules;
  const allow = raw.get(`auth.addr.${brick}.allow`) ?? raw.get(`auth.ip.${brick}.allow`);
  const reject = raw.get(`auth.addr.${brick}.reject`);
  if (allow === undefined && reject === undefined) return "no-opinion";
  if (peer.host !== "unix" && peer.port >= UNPRIVILEGED_PORT_MIN && !rules.allowInsecure) return "reject";
  if (reject !== undefined && (await isListed(reject, peer.host, subdir, rules.resolve))) return "reject";
  if (allow !== undefined && (await isListed(allow, peer.host, subdir, rules.resolve))) return "accept";
  return "no-opinion";
}

/**
 * `a,b` applies to every directory of the volume; `/dir(a|b),/other(c)` to mounts of exactly that directory,
 * `/` being the whole volume.
 */
async function isListed(list: string, host: string, subdir: string, resolve: Resolve): Promise<boolean> {
  if (!list.startsWith("/") && !list.includes("(")) return matchesAny(list.split(","), host, resolve);
  for (const entry of list.split(",")) {
    const match = /^(\/[^(]*)\(([^)]*)\)$/.exec(entry.trim());
    if (match?.[1] === subdir && (await matchesAny(match[2]!.split("|"), host, resolve))) return true;
  }
  return false;
}

async function matchesAny(patterns: readonly string[], host: string, resolve: Resolve): Promise<boolean> {
  for (const item of patterns) {
    const pattern = item.trim();
    if (pattern === "") continue;
    const negated = pattern.startsWith("!");
    const matched = await matches(negated ? pattern.slice(1) : pattern, host, resolve);
    if (matched !== negated) return true;
  }
  return false;
}

async function matches(pattern: string, host: string, resolve: Resolve): Promise<boolean> {
  if (ipaddr.isValid(pattern)) return ipaddr.isValid(host) && sameAddress(pattern, host);
  if (pattern.includes("/")) return isInNetwork(pattern, host);
  if (/[*?[]/.test(pattern))
    return picomatch.isMatch(host, pattern, { bash: true, noextglob: true, nobrace: true });
  if (pattern === host) return true;
  const addresses = await resolve(pattern);
  return ipaddr.isValid(host) && addresses.some((address) => sameAddress(address, host));
}

function sameAddress(a: string, b: string): boolean {
  return ipaddr.process(a).toNormalizedString() === ipaddr.process(b).toNormalizedString();
}

function isInNetwork(network: string, host: string): boolean {
  if (!ipaddr.isValid(host) || !ipaddr.isValidCIDR(network)) return false;
  const address = ipaddr.process(host);
  const range = ipaddr.parseCIDR(network);
  return range[0].kind() === address.kind() && address.match(range);
}

function voteByLogin(rules: AuthRules, brick: string, params: Dict): Vote {
  const { raw, strict } = rules;
  const allowed = raw.get(`auth.login.${brick}.allow`);
  if (allowed === undefined && !strict) return "no-opinion";
  const missed: Vote = strict ? "reject" : "no-opinion";
  const user = params.text("username");
  const password = params.text("password");
  if (user === undefined || password === undefined || allowed === undefined) return missed;
  const names = allowed.split(/[ ,]+/).filter((name) => name !== "");
  if (!names.some((name) => picomatch.isMatch(user, name, { bash: true }))) return missed;
  const expected = raw.get(`auth.login.${user}.password`);
  return expected !== undefined && sameSecret(expected, password) ? "accept" : "reject";
}

/** Takes as long for a nearly right password as for a wrong one. */
function sameSecret(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
