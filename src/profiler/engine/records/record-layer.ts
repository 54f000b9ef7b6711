/**
 * The record layer of a measured lane: the thesis's secure channel over plain TCP.
 *
 *   header  u32 body bytes | u8 type | 3 bytes zero | u64 sequence number (big endian)
 *   body    as record-protection.ts has it
 *
 * Sequence numbers begin with 0 and have no gap, so that a record which is dropped, repeated or moved is
 * noticed; the last record says how many bytes there were, so that a lane which is cut short is, too.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import type { Meter } from "../account/operation-meter.ts";
import type { RecordProtection } from "./record-protection.ts";

export const recordHeaderBytes = 16;

/** Plaintext of a full record: large enough to make calls cheap, small enough for a core's own cache. */
export const recordBytes = 256 * 1024;

const dataType = 1;
const endType = 2;

export class RecordSealer {
  readonly #protection: RecordProtection;
  #sequence = 0n;
  #bytes = 0n;

  constructor(protection: RecordProtection) {
    this.#protection = protection;
  }

  /** A record around at most recordBytes of plaintext, in pieces. Throws RangeError for more. */
  seal(plain: Buffer): Buffer[] {
    if (plain.length > recordBytes) throw new RangeError(`a record has at most ${recordBytes} bytes`);
    this.#bytes += BigInt(plain.length);
    return this.#record(dataType, plain);
  }

  /** The last record. */
  end(): Buffer[] {
    const total = Buffer.alloc(8);
    total.writeBigUInt64BE(this.#bytes);
    return this.#record(endType, total);
  }

  #record(type: number, plain: Buffer): Buffer[] {
    const header = Buffer.alloc(recordHeaderBytes);
    header.writeUInt32BE(this.#protection.bodyBytes(plain.length), 0);
    header.writeUInt8(type, 4);
    header.writeBigUInt64BE(this.#sequence, 8);
    const body = this.#protection.seal(header, this.#sequence++, plain);
    return [header, ...body];
  }
}

export class RecordOpener {
  readonly #protection: RecordProtection;
  readonly #sink: (plain: Buffer) => void;
  readonly #meter: Meter;
  readonly #mostBodyBytes: number;
  /** Room for a record that spans several reads, used again and again. */
  readonly #room: Buffer;
  #filled = 0;
  #sequence = 0n;
  #bytes = 0n;
  #ended = false;

  /** Takes where plaintext goes; a piece is valid during the call only. */
  constructor(protection: RecordProtection, meter: Meter, sink: (plain: Buffer) => void) {
    this.#protection = protection;
    this.#meter = meter;
    this.#sink = sink;
    this.#mostBodyBytes = protection.bodyBytes(recordBytes);
    this.#room = Buffer.allocUnsafeSlow(recordHeaderBytes + this.#mostBodyBytes);
  }

  /** True once the last record has come. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Takes the lane's next bytes. Throws MigrateError "integrity" at a record that was changed, dropped,
   * repeated or moved, and "protocol" at one that is too long; nothing can be read after that.
   */
  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#ended)
        throw new MigrateError("integrity", "bytes came behind the lane's last record", onDestination);
      if (this.#filled === 0 && bytes.length - at >= recordHeaderBytes) {
        const whole = recordHeaderBytes + this.#bodyBytes(bytes.subarray(at, at + recordHeaderBytes));
        if (bytes.length - at >= whole) {
          // The whole record lies in this read: it is opened where it is.
          this.#open(bytes.subarray(at, at + whole));
          at += whole;
          continue;
        }
      }
      at += this.#gather(bytes, at);
    }
  }

  /** Throws MigrateError "integrity" if the lane has ended before its last record. */
  finish(): void {
    if (!this.#ended)
      throw new MigrateError("integrity", "the lane ended before its last record", onDestination);
  }

  /** Copies what the record in the room still lacks; returns how many bytes it took. */
  #gather(bytes: Buffer, at: number): number {
    const wanted =
      this.#filled < recordHeaderBytes ? recordHeaderBytes : recordHeaderBytes + this.#bodyBytes(this.#room);
    const taken = Math.min(wanted - this.#filled, bytes.length - at);
    this.#meter.to("socket-read");
    this.#room.set(bytes.subarray(at, at + taken), this.#filled);
    this.#meter.to("rest");
    this.#filled += taken;
    // A length that is too large is refused as soon as it is known.
    if (this.#filled === recordHeaderBytes) this.#bodyBytes(this.#room);
    if (this.#filled === wanted && wanted > recordHeaderBytes) {
      this.#filled = 0;
      this.#open(this.#room.subarray(0, wanted));
    }
    return taken;
  }

  /** The length a header claims, checked before anything is made of it. */
  #bodyBytes(header: Buffer): number {
    const bytes = header.readUInt32BE(0);
    if (bytes === 0 || bytes > this.#mostBodyBytes) {
      throw new MigrateError("protocol", `a record of ${bytes} bytes exceeds the limit`, onDestination);
    }
    return bytes;
  }

  #open(record: Buffer): void {
    const header = record.subarray(0, recordHeaderBytes);
    const sequence = header.readBigUInt64BE(8);
    if (sequence !== this.#sequence) {
      throw new MigrateError(
        "integrity",
        `record ${sequence} came where ${this.#sequence} was due`,
        onDestination,
      );
    }
    const plain = this.#protection.open(header, this.#sequence++, record.subarray(recordHeaderBytes));
    this.#meter.to("rest");
    const type = header.readUInt8(4);
    if (type === dataType) {
      this.#bytes += BigInt(plain.length);
      this.#sink(plain);
    } else if (type === endType && plain.length === 8 && plain.readBigUInt64BE(0) === this.#bytes) {
      this.#ended = true;
    } else {
      throw new MigrateError("integrity", "the lane's last record does not fit the others", onDestination);
    }
  }
}

const onDestination = { side: "destination" } as const;
