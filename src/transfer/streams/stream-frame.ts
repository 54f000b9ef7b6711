/**
 * A stream's frames on the wire, their tags and the digest over them (SPEC.md, Streams).
 *
 *   DATA       u64 offset | 16 bytes tag | bytes
 *   DATA-ZSTD  u64 offset | 16 bytes tag | a zstd frame of the bytes
 *   DATA-ACK   u64 received
 *   DATA-END   u64 bytes | 32 bytes digest
 */
import { createCipheriv, createHash, hkdfSync } from "node:crypto";
import { MigrateError, type Side } from "../../protocol/errors.ts";
import { encodeFrame, frameTypes, writeFrameHeader } from "../../protocol/frames.ts";
import { limits } from "../../protocol/limits.ts";

const { dataHeaderBytes, frameHeaderBytes, tagBytes } = limits;
const offsetBytes = 8;
const digestBytes = 32;

/**
 * The 16-byte key of the tags of what `sender` sends on a stream: HKDF-SHA256 (RFC 5869) of the session's
 * tag key, so that the two directions, and two QEMUs one after the other, never share a nonce.
 * `instance` is the hex 32 of STARTED.
 */
export function streamKey(tagKey: Uint8Array, instance: string, sender: Side): Buffer {
  const salt = Buffer.from(instance, "hex");
  return Buffer.from(hkdfSync("sha256", tagKey, salt, `migrate stream v1 ${sender}`, tagBytes));
}

/** Computes the tags of one direction of one stream: AES-128-GMAC (NIST SP 800-38D), as those of chunks. */
export class StreamTagger {
  readonly #key: Buffer;
  readonly #nonce = Buffer.alloc(12);

  /** Takes the 16 bytes that `streamKey` returns. */
  constructor(key: Uint8Array, stream: number) {
    this.#key = Buffer.from(key);
    this.#nonce.writeUInt32BE(stream, 0);
  }

  /** The 16-byte tag of a frame's bytes, which begin at `offset`. */
  tag(offset: number, bytes: Buffer): Buffer {
    writeNumber(this.#nonce, offset, 4);
    const gmac = createCipheriv("aes-128-gcm", this.#key, this.#nonce);
    gmac.setAAD(bytes);
    gmac.final();
    return gmac.getAuthTag();
  }
}

/** The digest of one direction of one stream, over the tags of its frames in their order. */
export class StreamDigest {
  readonly #hash = createHash("sha256").update("migrate stream v1\0");

  constructor(stream: number) {
    const number = Buffer.alloc(4);
    number.writeUInt32BE(stream, 0);
    this.#hash.update(number);
  }

  add(tag: Buffer): void {
    this.#hash.update(tag);
  }

  /** The 32 bytes for a direction of `bytes` bytes; nothing may be added or asked after that. */
  finish(bytes: number): Buffer {
    const number = Buffer.alloc(8);
    writeNumber(number, bytes, 0);
    return this.#hash.update(number).digest();
  }
}

/** What stands in front of a frame's `bytes` bytes, or of what they are as zstd: its header, the offset and the tag. */
export function dataHead(name: "data" | "dataZstd", offset: number, tag: Buffer, bytes: number): Buffer {
  const head = Buffer.allocUnsafe(frameHeaderBytes + dataHeaderBytes);
  writeFrameHeader(head, frameTypes[name], dataHeaderBytes + bytes);
  writeNumber(head, offset, frameHeaderBytes);
  tag.copy(head, frameHeaderBytes + offsetBytes);
  return head;
}

/**
 * Reads a DATA or DATA-ZSTD payload; tag and bytes are views of it, the bytes as they came. Throws MigrateError
 * "protocol" for one that is cut short or has no bytes: two frames with one offset would share a nonce.
 */
export function parseData(payload: Buffer): { offset: number; tag: Buffer; bytes: Buffer } {
  if (payload.length <= dataHeaderBytes) throw new MigrateError("protocol", "a data frame has no bytes");
  return {
    offset: readNumber(payload, 0),
    tag: payload.subarray(offsetBytes, dataHeaderBytes),
    bytes: payload.subarray(dataHeaderBytes),
  };
}

/** A DATA-ACK frame. */
export function encodeDataAck(received: number): Buffer {
  const payload = Buffer.allocUnsafe(offsetBytes);
  writeNumber(payload, received, 0);
  return encodeFrame(frameTypes.dataAck, payload);
}

/** Reads a DATA-ACK payload. Throws MigrateError "protocol" for one of another length. */
export function parseDataAck(payload: Buffer): number {
  if (payload.length !== offsetBytes) throw new MigrateError("protocol", "a dataAck frame has 8 bytes");
  return readNumber(payload, 0);
}

/** A DATA-END frame. */
export function encodeDataEnd(bytes: number, digest: Buffer): Buffer {
  const payload = Buffer.allocUnsafe(offsetBytes + digestBytes);
  writeNumber(payload, bytes, 0);
  digest.copy(payload, offsetBytes);
  return encodeFrame(frameTypes.dataEnd, payload);
}

/** Reads a DATA-END payload. Throws MigrateError "protocol" for one of another length. */
export function parseDataEnd(payload: Buffer): { bytes: number; digest: Buffer } {
  if (payload.length !== offsetBytes + digestBytes) {
    throw new MigrateError("protocol", "a dataEnd frame has 40 bytes");
  }
  return { bytes: readNumber(payload, 0), digest: payload.subarray(offsetBytes) };
}

/** u64, big endian. Two halves are several times as fast as a BigInt. */
function writeNumber(into: Buffer, number: number, at: number): void {
  into.writeUInt32BE(Math.floor(number / 2 ** 32), at);
  into.writeUInt32BE(number % 2 ** 32, at + 4);
}

function readNumber(from: Buffer, at: number): number {
  const number = from.readUInt32BE(at) * 2 ** 32 + from.readUInt32BE(at + 4);
  if (!Number.isSafeInteger(number)) throw new MigrateError("protocol", "a stream has at most 2^53 bytes");
  return number;
}
