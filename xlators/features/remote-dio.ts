/**
 * features/remote-dio: keeps O_DIRECT from the layers below, so that they may cache (spec translators.md
 * 8.2).
 *
 * With `filter-O_DIRECT` on, the bit is taken out of open and create and of each read and write; anonymous
 * fds go down as buffered ones. Layers above still see it on their fds, so that write-behind and shard know
 * what the caller wanted. What is not cached away is durability: fsync goes down as ever. The option is live
 * for files opened from then on; those that are open keep what they were opened with.
 *
 * In GlusterFS this is an option of protocol/client, and there it is here too; this is the same for graphs
 * whose bricks are not behind a network: `network.remote-dio` puts it in below features/shard there.
 */

import type { Call } from "../../src/core/call.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { Fd } from "../../src/core/inode.ts";
import { O_DIRECT } from "../../src/core/open-flags.ts";
import { bool, type OptionTable } from "../../src/core/options.ts";
import { defineXlator, exactly, Xlator } from "../../src/core/xlator.ts";

const options = {
  "filter-O_DIRECT": bool({
    default: false,
    live: true,
    describe: "Hide O_DIRECT from what is below, so that it may cache.",
  }),
} as const satisfies OptionTable;

export const remoteDio = defineXlator({
  type: "features/remote-dio",
  children: exactly(1),
  options,
  create: (init) => new RemoteDio(init),
});

class RemoteDio extends Xlator<typeof options> {
  /** Buffered twins of anonymous fds that ask for O_DIRECT. */
  readonly #buffered = new WeakMap<Fd, Fd>();

  override localFile(fd: Fd): number | undefined {
    // The brick's descriptor is what it was opened as, which is not what the caller's fd says.
    return this.options["filter-O_DIRECT"] ? undefined : this.child.localFile(fd);
  }

  override open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    return this.child.open(call, this.#filtered(args));
  }

  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    return this.child.readv(call, this.#throughFd(args));
  }

  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    return this.child.writev(call, this.#throughFd(args));
  }

  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.child.create(call, this.#filtered(args));
  }

  override put(call: Call, args: Args<"put">): Promise<Reply<"put">> {
    return this.child.put(call, this.#filtered(args));
  }

  #filtered<A extends { readonly flags: number }>(args: A): A {
    if ((args.flags & O_DIRECT) === 0 || !this.options["filter-O_DIRECT"]) return args;
    return { ...args, flags: args.flags & ~O_DIRECT };
  }

  #throughFd<A extends { readonly fd: Fd; readonly flags: number }>(args: A): A {
    const { fd } = args;
    if (!fd.anonymous || (fd.flags & O_DIRECT) === 0 || !this.options["filter-O_DIRECT"])
      return this.#filtered(args);
    let buffered = this.#buffered.get(fd);
    if (buffered === undefined) {
      buffered = Fd.anonymous(fd.inode, fd.flags & ~O_DIRECT);
      this.#buffered.set(fd, buffered);
    }
    return { ...args, fd: buffered, flags: args.flags & ~O_DIRECT };
  }
}
