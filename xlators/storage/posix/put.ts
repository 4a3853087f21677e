/**
 * put: a whole small file in one call. Made of create, writev and fsetxattr; a failure on the way takes the
 * file back.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { Fd } from "../../../src/core/inode.ts";
import { O_RDWR } from "../../../src/core/open-flags.ts";
import type { Brick } from "./brick.ts";
import { createFop } from "./create.ts";
import { writeFop } from "./io.ts";
import { unlinkFop } from "./remove.ts";
import { setxattr } from "./xattrs.ts";

export async function putFop(brick: Brick, call: Call, args: Args<"put">): Promise<Reply<"put">> {
  const { loc, mode, umask, data, offset, xattrs, xdata } = args;
  const fd = new Fd(loc.inode, O_RDWR);
  const created = await createFop(brick, call, { loc, fd, flags: args.flags | O_RDWR, mode, umask, xdata });
  try {
    await writeFop(brick, call, { fd, data, offset, flags: args.flags });
    const stat = await brick.withFd(fd, async (subject) => {
      if (xattrs.size > 0) await setxattr(brick, call, subject, { xattrs, flags: 0 });
      return brick.iattNow(subject);
    });
    return { ...created, stat };
  } catch (error) {
    await unlinkFop(brick, call, { loc, flags: 0 }).catch(() => {});
    throw error;
  } finally {
    await brick.files.release(fd);
  }
}
