/**
 * Reads what a TPM marshals: big-endian numbers, and bytes with their length before them (TPM 2.0 Library Part 2,
 * 4 and 10.4, TPM2B). The bytes may come from anybody, so every length is held against what is there and against a
 * limit before anything is taken. Pure.
 */
import { MigrateError } from "../../protocol/errors.ts";

/** The error that a reader throws; `what` reads like "a length that is over its end". */
export type Fault = (what: string) => MigrateError;

/** The longest TPM2B that is taken, in bytes: a certificate or a large key fits. */
export const sizedMaxBytes = 4096;

/** A fault in what another host has sent. */
export const peerFault =
  (name: string): Fault =>
  (what) =>
    new MigrateError("attestation", `${name} that the other host has shown cannot be read: ${what}.`, {
      hint: "Look at the TPM of that host with migrate doctor there.",
    });

export class StructureReader {
  readonly #bytes: Buffer;
  readonly #fault: Fault;
  #at = 0;

  constructor(bytes: Buffer, fault: Fault) {
    this.#bytes = bytes;
    this.#fault = fault;
  }

  /** Bytes that were not read yet. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.bytes(1).readUInt8(0);
  }

  u16(): number {
    return this.bytes(2).readUInt16BE(0);
  }

  u32(): number {
    return this.bytes(4).readUInt32BE(0);
  }

  u64(): bigint {
    return this.bytes(8).readBigUInt64BE(0);
  }

  /** The next `count` bytes, as a view. Throws the reader's fault where there are fewer. */
  bytes(count: number): Buffer {
    if (count > this.left) throw this.#fault(`it ends ${count - this.left} bytes too early`);
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  /** A TPM2B: a u16, and as many bytes. Throws the fault where they are more than `most`. */
  sized(most: number = sizedMaxBytes): Buffer {
    const count = this.u16();
    if (count > most) throw this.#fault(`${count} bytes stand where at most ${most} may`);
    return this.bytes(count);
  }

  /** A count of elements. Throws the fault where it is over `most`. */
  count(most: number): number {
    const count = this.u32();
    if (count > most) throw this.#fault(`${count} elements stand where at most ${most} may`);
    return count;
  }

  /** What is left, as a view. */
  rest(): Buffer {
    return this.bytes(this.left);
  }

  /** Throws the fault where something is left. */
  end(): void {
    if (this.left > 0) throw this.#fault(`${this.left} bytes follow its end`);
  }

  fault(what: string): MigrateError {
    return this.#fault(what);
  }
}
