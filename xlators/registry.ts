/**
 * Every translator type that a volfile may name: explicit imports and one map, sorted by type.
 *
 * Nothing registers itself and nothing is looked up on disk: what is not imported here does not exist.
 */

import type { XlatorDefinition } from "../src/core/xlator.ts";
import { distribute } from "./cluster/distribute/distribute.ts";
import { replicate } from "./cluster/replicate/replicate.ts";
import { contract } from "./debug/contract.ts";
import { delayGen } from "./debug/delay-gen.ts";
import { errorGen } from "./debug/error-gen.ts";
import { ioStats } from "./debug/io-stats.ts";
import { trace } from "./debug/trace.ts";
import { accessControl, posixAcl } from "./features/access-control/access-control.ts";
import { arbiter } from "./features/arbiter.ts";
import { index } from "./features/index/index-xlator.ts";
import { locks } from "./features/locks/locks.ts";
import { readOnly } from "./features/read-only.ts";
import { remoteDio } from "./features/remote-dio.ts";
import { selinux } from "./features/selinux.ts";
import { shard } from "./features/shard/shard.ts";
import { upcall } from "./features/upcall.ts";
import { utime } from "./features/utime.ts";
import { PASS_THROUGH } from "./pass-through.ts";
import { ioCache } from "./performance/io-cache.ts";
import { mdCache } from "./performance/md-cache.ts";
import { openBehind } from "./performance/open-behind.ts";
import { quickRead } from "./performance/quick-read.ts";
import { readAhead } from "./performance/read-ahead.ts";
import { readdirAhead } from "./performance/readdir-ahead.ts";
import { writeBehind } from "./performance/write-behind/write-behind.ts";
import { protocolClient } from "./protocol/client.ts";
import { protocolServer } from "./protocol/server.ts";
import { storageMemory } from "./storage/memory.ts";
import { posix } from "./storage/posix/posix.ts";

const IMPLEMENTED: readonly XlatorDefinition[] = [
  distribute,
  replicate,
  contract,
  delayGen,
  errorGen,
  ioStats,
  trace,
  accessControl,
  posixAcl,
  arbiter,
  index,
  locks,
  readOnly,
  remoteDio,
  selinux,
  shard,
  upcall,
  utime,
  ioCache,
  mdCache,
  quickRead,
  readAhead,
  readdirAhead,
  openBehind,
  writeBehind,
  protocolClient,
  protocolServer,
  storageMemory,
  posix,
];

function byType(definitions: readonly XlatorDefinition[]): ReadonlyMap<string, XlatorDefinition> {
  const sorted = [...definitions].sort((a, b) => (a.type < b.type ? -1 : 1));
  const map = new Map(sorted.map((definition) => [definition.type, definition]));
  if (map.size !== sorted.length) throw new Error("registry: a translator type is defined twice");
  return map;
}

/** Type name, as in a volfile's `type` line, to definition. */
export const REGISTRY: ReadonlyMap<string, XlatorDefinition> = byType([...IMPLEMENTED, ...PASS_THROUGH]);
