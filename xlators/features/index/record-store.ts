/**
 * Where records of changed ranges are kept: small files that grow at their end. All calls reject with
 * FopError.
 *
 * A store promises that no record survives a time in which something else than features/index of Mortar
 * changed the brick's marks. It does not promise that what was written survives a power failure.
 */

export interface RecordStore {
  open(): Promise<void>;
  /** No I/O. */
  has(name: string): boolean;
  /** Number of records; no I/O. */
  readonly count: number;
  /** Records whose names begin so; no I/O. */
  namesFrom(prefix: string): readonly string[];
  read(name: string): Promise<Buffer>;
  /** Writes a whole record; after a crash it is the old one, the new one or a broken one. */
  replace(name: string, content: Buffer): Promise<void>;
  /** Adds to a record that is there. */
  append(name: string, content: Buffer): Promise<void>;
  /** A record that is not there is fine. */
  remove(name: string): Promise<void>;
}
