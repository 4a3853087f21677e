/**
 * The children of one replicate translator: who they are, who is up, whether they are a quorum. What every
 * part of it (transactions, reads, heals) works on; none of them holds the translator itself.
 */

import type { Env } from "../../../src/core/env.ts";
import type { Logger } from "../../../src/core/log.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import { AFR_PREFIX } from "./changelog.ts";
import { allChildren, type ChildSet, NO_CHILDREN, only, withChild, withoutChild } from "./child-set.ts";
import type { ReplicateOptions } from "./options.ts";
import { hasQuorum, type QuorumRule, quorumRule } from "./quorum.ts";

export class ReplicaSet {
  /** Instance name of the translator: the domain of its locks (spec translators.md 4.4). */
  readonly name: string;
  readonly children: readonly XlatorBase[];
  /** By child: what marks call it. */
  readonly brickIds: readonly string[];
  /** By child: the xattr in which others record what it missed. */
  readonly pendingKeys: readonly string[];
  /** Index of the arbiter, -1 when there is none: it has names and marks, no data. */
  readonly arbiter: number;
  readonly all: ChildSet;
  readonly env: Env;
  readonly log: Logger;
  /** Current values; replaced as a whole by reconfigure. */
  options: ReplicateOptions;
  /** Children that said child-up and not child-down since. */
  up: ChildSet = NO_CHILDREN;
  /** Grows with every child that comes or goes; what was learned of an inode before is to be asked again. */
  generation = 1;
  quorum: QuorumRule;
  /** By child: last round trip of a ping, in milliseconds; 0 while unknown. */
  readonly latencyMs: number[];
  /** By child: the generation in which it last went away. */
  readonly #leftAt: number[];
  readonly #watchers = new Set<() => void>();

  constructor(init: {
    readonly name: string;
    readonly children: readonly XlatorBase[];
    readonly brickIds: readonly string[];
    readonly options: ReplicateOptions;
    readonly env: Env;
    readonly log: Logger;
  }) {
    this.name = init.name;
    this.children = init.children;
    this.brickIds = init.brickIds;
    this.pendingKeys = init.brickIds.map((id) => AFR_PREFIX + id);
    this.options = init.options;
    this.env = init.env;
    this.log = init.log;
    this.arbiter = init.options["arbiter-count"] > 0 ? init.children.length - 1 : -1;
    this.all = allChildren(init.children.length);
    this.quorum = ruleOf(init.options, init.children.length);
    this.latencyMs = init.children.map(() => 0);
    this.#leftAt = init.children.map(() => 0);
  }

  get count(): number {
    return this.children.length;
  }

  /** All but the arbiter. */
  get dataChildren(): ChildSet {
    return this.arbiter < 0 ? this.all : withoutChild(this.all, this.arbiter);
  }

  isArbiter(child: number): boolean {
    return child === this.arbiter;
  }

  isUp(child: number): boolean {
    return (this.up & only(child)) !== 0;
  }

  /** Whether these children may decide. */
  hasQuorum(children: ChildSet = this.up): boolean {
    return hasQuorum(this.quorum, children);
  }

  childIsUp(child: number): void {
    this.up = withChild(this.up, child);
    this.#changed();
  }

  childIsDown(child: number): void {
    this.up = withoutChild(this.up, child);
    this.#leftAt[child] = this.generation + 1;
    this.#changed();
  }

  /** Children that went away after this generation, whether they are back or not. */
  leftSince(generation: number): ChildSet {
    let left = NO_CHILDREN;
    for (const [child, at] of this.#leftAt.entries()) if (at > generation) left = withChild(left, child);
    return left;
  }

  reconfigure(options: ReplicateOptions): void {
    this.options = options;
    this.quorum = ruleOf(options, this.count);
    this.#changed();
  }

  /**
   * Calls `watcher` after every change of `up`, options or quorum, until the returned function is called. It
   * sets state and schedules work; it neither awaits nor throws.
   */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  #changed(): void {
    this.generation++;
    for (const watcher of [...this.#watchers]) watcher();
  }
}

function ruleOf(options: ReplicateOptions, childCount: number): QuorumRule {
  const type = options["quorum-type"];
  return quorumRule(
    { type: type === "unset" ? undefined : type, count: options["quorum-count"] },
    childCount,
  );
}
