/**
 * Reads the little-endian fields of a measurement log, which is a stranger's: each length is held against what is left
 * before it is used, and nothing is copied. Pure.
 */
import { MigrateError } from "../../protocol/errors.ts";

export class LogReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #at = 0;

  /** `what` is the log's name in the sentences of errors, as "the firmware's log". */
  constructor(bytes: Buffer, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  /** Where the next field begins, in bytes from the start. */
  get at(): number {
    return this.#at;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2));
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4));
  }

  /** A u64 that is a length or an address; one beyond 2^53 is told as Infinity, which no bound lets pass. */
  u64(): number {
    const value = this.#bytes.readBigUInt64LE(this.#take(8));
    return value <= Number.MAX_SAFE_INTEGER ? Number(value) : Number.POSITIVE_INFINITY;
  }

  /**
   * The next `count` bytes, a view of the log.
   * @throws MigrateError "attestation" if fewer are left.
   */
  bytes(count: number): Buffer {
    const from = this.#take(count);
    return this.#bytes.subarray(from, from + count);
  }

  skip(count: number): void {
    this.#take(count);
  }

  /** The error that says what is wrong with this log. */
  fault(says: string): MigrateError {
    return brokenLog(`${this.#what} ${says}`);
  }

  #take(count: number): number {
    const from = this.#at;
    if (!(count <= this.left)) throw this.fault(`ends in the middle of a field, at byte ${from}`);
    this.#at += count;
    return from;
  }
}

/** Of a log that cannot be believed. The sentence holds nothing that the log's writer chose but numbers. */
export function brokenLog(sentence: string): MigrateError {
  return new MigrateError("attestation", `${sentence[0]?.toUpperCase()}${sentence.slice(1)}.`, {
    hint: "Compare with tpm2_eventlog on that host. A log that its firmware wrote wrongly cannot be used: let the policy name values of registers instead of events.",
  });
}
