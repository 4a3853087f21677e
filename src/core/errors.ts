/**
 * Errno names, their Linux numbers and the one error class that a fop may reject with.
 *
 * On the wire `op_errno` is the Linux number (shared/spec wire.md 7.1); on Linux the mapping is the identity.
 * Expected errors (ENOENT, ENODATA ...) are created without a stack: they are replies, not bugs.
 */

/** Every errno that Mortar names, with its Linux number (asm-generic/errno.h). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  EDOM: 33,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  ETIME: 62,
  EREMOTE: 66,
  EPROTO: 71,
  EBADMSG: 74,
  EOVERFLOW: 75,
  EBADFD: 77,
  EUSERS: 87,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETUNREACH: 101,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
  EALREADY: 114,
  EINPROGRESS: 115,
  ESTALE: 116,
  EDQUOT: 122,
  ECANCELED: 125,
} as const;

/** An errno by name, as fops reject with it. */
export type ErrnoName = keyof typeof ERRNO;

const NAME_BY_NUMBER = new Map<number, ErrnoName>(
  (Object.entries(ERRNO) as [ErrnoName, number][]).map(([name, number]) => [number, name]),
);

/** The name of a Linux errno number; EIO for a number without a name here (the caller should log it). */
export function errnoName(number: number): ErrnoName {
  return NAME_BY_NUMBER.get(Math.abs(number)) ?? "EIO";
}

/** What a failed fop rejects with: the errno, where it happened, and (rarely) why. */
export class FopError extends Error {
  readonly code: ErrnoName;
  /** The fop or step that failed, for the log. */
  readonly fop: string;
  /** The translator (instance name) or module that decided, for the log. */
  readonly xlator: string;
  /** Reply xdata that travels with the failure, e.g. `glusterfs.preop.check.failed`. */
  readonly xdata: import("./dict.ts").Dict | undefined;

  constructor(
    code: ErrnoName,
    where: {
      fop?: string;
      xlator?: string;
      message?: string;
      cause?: unknown;
      xdata?: import("./dict.ts").Dict;
    } = {},
  ) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(where.message ?? code, where.cause === undefined ? undefined : { cause: where.cause });
    Error.stackTraceLimit = limit;
    this.name = "FopError";
    this.code = code;
    this.fop = where.fop ?? "";
    this.xlator = where.xlator ?? "";
    this.xdata = where.xdata;
  }

  /** The Linux errno number, as the wire and the kernel want it. */
  get errno(): number {
    return ERRNO[this.code];
  }
}

/**
 * A rejection as an errno: FopError keeps its code, a Node system error is translated, anything else is a
 * bug.
 */
export function toFopError(error: unknown, where: { fop?: string; xlator?: string } = {}): FopError {
  if (error instanceof FopError) return error;
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (typeof code === "string" && code in ERRNO)
    return new FopError(code as ErrnoName, { ...where, cause: error });
  return new FopError("EIO", { ...where, message: `unexpected: ${String(error)}`, cause: error });
}

/** True when the error is a bug (no errno behind it) and must be logged whole. */
export function isBug(error: unknown): boolean {
  if (error instanceof FopError) return false;
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return !(typeof code === "string" && code in ERRNO);
}

/** A bad input from a person (volfile, option, command line): one clear line, exit code 1, no stack. */
export class UserError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "UserError";
  }
}
