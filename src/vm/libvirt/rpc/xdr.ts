/**
 * XDR (RFC 4506) as libvirt's RPC uses it: big-endian words of four bytes, everything padded to them.
 * What comes may be hostile: each length is compared with a limit, and with what is there, before anything is
 * made of it. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";

const wordBytes = 4;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads one value after the other. Every method throws MigrateError "protocol" if the next value is not one. */
export class XdrReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Unsigned integer of 32 bits. */
  u32(): number {
    return this.#view.getUint32(this.#take(wordBytes));
  }

  /** Signed integer of 32 bits. */
  i32(): number {
    return this.#view.getInt32(this.#take(wordBytes));
  }

  /** Unsigned hyper: 64 bits. */
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(2 * wordBytes));
  }

  /** Signed hyper: 64 bits. */
  i64(): bigint {
    return this.#view.getBigInt64(this.#take(2 * wordBytes));
  }

  double(): number {
    return this.#view.getFloat64(this.#take(2 * wordBytes));
  }

  /** A word that is 0 or 1. */
  bool(): boolean {
    const value = this.u32();
    if (value > 1) throw malformed("a truth value is neither 0 nor 1");
    return value === 1;
  }

  /** As many bytes as the type says; a copy. */
  fixed(bytes: number): Uint8Array {
    const padding = -bytes & (wordBytes - 1);
    const at = this.#take(bytes + padding);
    for (let pad = at + bytes; pad < this.#at; pad += 1) {
      if (this.#bytes[pad] !== 0) throw malformed("padding is not zero");
    }
    return this.#bytes.slice(at, at + bytes);
  }

  /** At most `limit` bytes, their number before them; a copy. */
  opaque(limit: number): Uint8Array {
    const bytes = this.u32();
    if (bytes > limit) throw malformed(`a value has more than ${limit} bytes`);
    return this.fixed(bytes);
  }

  /**
   * Text of at most `limit` bytes. Only UTF-8 without NUL: libvirt reads it as a C string, which would end there,
   * and so would not be what was judged here.
   */
  string(limit: number): string {
    const bytes = this.opaque(limit);
    if (bytes.includes(0)) throw malformed("text holds a NUL");
    try {
      return utf8.decode(bytes);
    } catch {
      throw malformed("text is not UTF-8");
    }
  }

  /** As `string`, for text that only people read: what is not UTF-8 becomes U+FFFD. */
  message(limit: number): string {
    return new TextDecoder().decode(this.opaque(limit));
  }

  /** A value that may be missing. */
  optional<Value>(read: () => Value): Value | null {
    return this.bool() ? read() : null;
  }

  /** At most `limit` values, their number before them. */
  array<Value>(limit: number, read: () => Value): Value[] {
    const count = this.u32();
    if (count > limit) throw malformed(`a list has more than ${limit} entries`);
    return Array.from({ length: count }, read);
  }

  /** That nothing follows. */
  end(): void {
    if (this.#at !== this.#bytes.length) throw malformed("bytes follow its last value");
  }

  /** Where the next `bytes` bytes are, which from now on are read. */
  #take(bytes: number): number {
    const at = this.#at;
    if (bytes > this.#bytes.length - at) throw malformed("it ends within a value");
    this.#at += bytes;
    return at;
  }
}

function malformed(what: string): MigrateError {
  return new MigrateError("protocol", `A message of libvirt cannot be read: ${what}`);
}

/** Writes one value after the other. What is written is ours: nothing is checked but what the types cannot hold. */
export class XdrWriter {
  readonly #parts: Buffer[] = [];

  u32(value: number): this {
    const part = Buffer.alloc(wordBytes);
    part.writeUInt32BE(value);
    return this.#add(part);
  }

  i32(value: number): this {
    const part = Buffer.alloc(wordBytes);
    part.writeInt32BE(value);
    return this.#add(part);
  }

  u64(value: bigint): this {
    const part = Buffer.alloc(2 * wordBytes);
    part.writeBigUInt64BE(value);
    return this.#add(part);
  }

  i64(value: bigint): this {
    const part = Buffer.alloc(2 * wordBytes);
    part.writeBigInt64BE(value);
    return this.#add(part);
  }

  double(value: number): this {
    const part = Buffer.alloc(2 * wordBytes);
    part.writeDoubleBE(value);
    return this.#add(part);
  }

  bool(value: boolean): this {
    return this.u32(value ? 1 : 0);
  }

  fixed(bytes: Uint8Array): this {
    const part = Buffer.alloc(bytes.length + (-bytes.length & (wordBytes - 1)));
    part.set(bytes);
    return this.#add(part);
  }

  opaque(bytes: Uint8Array): this {
    return this.u32(bytes.length).fixed(bytes);
  }

  string(text: string): this {
    return this.opaque(Buffer.from(text));
  }

  optional<Value>(value: Value | null, write: (value: Value) => void): this {
    this.bool(value !== null);
    if (value !== null) write(value);
    return this;
  }

  array<Value>(values: readonly Value[], write: (value: Value) => void): this {
    this.u32(values.length);
    for (const value of values) write(value);
    return this;
  }

  /** All of it, in memory of its own. */
  bytes(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#parts));
  }

  #add(part: Buffer): this {
    this.#parts.push(part);
    return this;
  }
}
