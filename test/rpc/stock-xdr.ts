/**
 * GlusterFS' own codec as an oracle: libgfxdr of an installed glusterfs, called through koffi.
 *
 * `recode` lets the C code decode bytes and encode what it understood. What is known of C's layouts: an XDR
 * handle has the operation at byte 0 and the bytes left at byte 40 (x86-64 and arm64, libtirpc 1), and no
 * struct is larger than 8 KiB.
 */

import koffi from "koffi";

const XDR_ENCODE = 0;
const XDR_DECODE = 1;
const XDR_FREE = 2;
const HANDLE_BYTES = 128;
const HANDLE_LEFT_AT = 40;
const STRUCT_BYTES = 8192;

type Load = ReturnType<typeof koffi.load>;
type CFunction = (...args: unknown[]) => number;

export class StockXdr {
  readonly #gfxdr: Load;
  readonly #create: CFunction;
  readonly #codecs = new Map<string, CFunction>();

  private constructor(tirpc: Load, gfxdr: Load) {
    this.#gfxdr = gfxdr;
    this.#create = tirpc.func("void xdrmem_create(void *handle, void *memory, uint32_t size, int operation)");
  }

  /** Undefined where GlusterFS is not installed. */
  static load(): StockXdr | undefined {
    try {
      const tirpc = koffi.load("libtirpc.so.3", { global: true });
      koffi.load("libglusterfs.so.0", { global: true });
      return new StockXdr(tirpc, koffi.load("libgfxdr.so.0"));
    } catch {
      return undefined;
    }
  }

  /**
   * What C makes of `bytes` as a struct of the named type, encoded again; `used` is how many bytes it took.
   */
  recode(type: string, bytes: Buffer): { used: number; again: Buffer } {
    const codec = this.#codec(type);
    const input = Buffer.concat([bytes, Buffer.alloc(64)]);
    const output = Buffer.alloc(input.length + 64);
    const value = Buffer.alloc(STRUCT_BYTES);
    const handle = Buffer.alloc(HANDLE_BYTES);
    this.#create(handle, input, bytes.length, XDR_DECODE);
    try {
      if (codec(handle, value) === 0) throw new Error(`${type}: C cannot decode ${bytes.toString("hex")}`);
      const used = bytes.length - handle.readUInt32LE(HANDLE_LEFT_AT);
      this.#create(handle, output, output.length, XDR_ENCODE);
      if (codec(handle, value) === 0) throw new Error(`${type}: C cannot encode what it decoded`);
      return { used, again: output.subarray(0, output.length - handle.readUInt32LE(HANDLE_LEFT_AT)) };
    } finally {
      handle.writeInt32LE(XDR_FREE, 0);
      codec(handle, value);
    }
  }

  #codec(type: string): CFunction {
    const known = this.#codecs.get(type);
    if (known) return known;
    const codec: CFunction = this.#gfxdr.func(`int xdr_${type}(void *handle, void *value)`);
    this.#codecs.set(type, codec);
    return codec;
  }
}
