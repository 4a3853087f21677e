/**
 * features/selinux: keeps SELinux labels of the volume apart from the labels of the brick's own file system.
 *
 * Above it the label is `security.selinux`, below it `trusted.glusterfs.selinux`, as GlusterFS stores it
 * (selinux.c). Only a request for that very name is translated back; a list of all xattrs shows what the
 * brick has, as in GlusterFS.
 */

import type { Call } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { bool } from "../../src/core/options.ts";
import { defineXlator, exactly, Xlator } from "../../src/core/xlator.ts";

const ABOVE = "security.selinux";
const BELOW = "trusted.glusterfs.selinux";

const options = {
  selinux: bool({
    default: true,
    volumeKey: "features.selinux",
    describe: "Store labels under a name of their own on the brick.",
  }),
} as const;

export const selinux = defineXlator({
  type: "features/selinux",
  children: exactly(1),
  options,
  create: (init) => new Selinux(init),
});

class Selinux extends Xlator<typeof options> {
  override setxattr(call: Call, args: Args<"setxattr">) {
    return this.child.setxattr(
      call,
      this.#asks(args.xattrs) ? { ...args, xattrs: lowered(args.xattrs) } : args,
    );
  }
  override getxattr(call: Call, args: Args<"getxattr">) {
    if (!this.options.selinux || args.name !== ABOVE) return this.child.getxattr(call, args);
    return this.child.getxattr(call, { ...args, name: BELOW }).then(raised);
  }
  override fgetxattr(call: Call, args: Args<"fgetxattr">) {
    if (!this.options.selinux || args.name !== ABOVE) return this.child.fgetxattr(call, args);
    return this.child.fgetxattr(call, { ...args, name: BELOW }).then(raised);
  }
  override fsetxattr(call: Call, args: Args<"fsetxattr">) {
    return this.child.fsetxattr(
      call,
      this.#asks(args.xattrs) ? { ...args, xattrs: lowered(args.xattrs) } : args,
    );
  }

  #asks(xattrs: Dict): boolean {
    return this.options.selinux && xattrs.has(ABOVE);
  }
}

function lowered(xattrs: Dict): Dict {
  return renamed(xattrs, ABOVE, BELOW);
}

function raised(reply: Reply<"getxattr">): Reply<"getxattr"> {
  return { ...reply, xattrs: renamed(reply.xattrs, BELOW, ABOVE) };
}

function renamed(xattrs: Dict, from: string, to: string): Dict {
  return Dict.from([...xattrs].map(([key, value]) => [key === from ? to : key, value] as const));
}
