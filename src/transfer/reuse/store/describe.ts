/**
 * DESCRIBE and WANT: what the blocks of a chunk look like, and which of them the destination found in its
 * store (SPEC.md, What the destination has already). Pure.
 *
 *   DESCRIBE  u32 file | u32 chunk | 16 bytes tag | 8 bytes fingerprint of each of its blocks
 *   WANT      per chunk: u32 file | u32 chunk | u16 blocks found (bit 0 is the first one)
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { encodeFrame, frameTypes } from "../../../protocol/frames.ts";
import { limits } from "../../../protocol/limits.ts";
import { lengthOf } from "../../chunks/chunk.ts";

const { tagBytes, blockHashBytes, blockBytes } = limits;
const headBytes = 8 + tagBytes;
const wantBytes = 10;

export interface Description {
  file: number;
  chunk: number;
  /** Length of the chunk in bytes. */
  bytes: number;
  tag: Buffer;
  /** 8 bytes for each block in order; zeros for one without data. */
  hashes: Buffer;
}

export interface Want {
  file: number;
  chunk: number;
  found: number;
}

/** A DESCRIBE frame; `hashes` has blockHashBytes for each block of the chunk. */
export function encodeDescribe(file: number, chunk: number, tag: Uint8Array, hashes: Uint8Array): Buffer {
  const payload = Buffer.allocUnsafe(headBytes + hashes.length);
  payload.writeUInt32BE(file, 0);
  payload.writeUInt32BE(chunk, 4);
  payload.set(tag, 8);
  payload.set(hashes, headBytes);
  return encodeFrame(frameTypes.describe, payload);
}

/**
 * Reads a DESCRIBE payload; `fileBytes` are the sizes of the session's files. Throws MigrateError
 * "protocol" if the VM has no such chunk, or it has another number of blocks.
 */
export function parseDescribe(payload: Buffer, fileBytes: readonly number[]): Description {
  if (payload.length < headBytes) throw new MigrateError("protocol", "a description is cut short");
  const file = payload.readUInt32BE(0);
  const chunk = payload.readUInt32BE(4);
  const bytes = lengthOf(file, chunk, fileBytes);
  if (payload.length !== headBytes + Math.ceil(bytes / blockBytes) * blockHashBytes) {
    throw new MigrateError("protocol", "a description does not have the blocks of its chunk");
  }
  return { file, chunk, bytes, tag: payload.subarray(8, headBytes), hashes: payload.subarray(headBytes) };
}

/** A WANT frame for at most `limits.describedChunks` chunks. */
export function encodeWant(wants: readonly Want[]): Buffer {
  const payload = Buffer.allocUnsafe(wants.length * wantBytes);
  wants.forEach(({ file, chunk, found }, i) => {
    payload.writeUInt32BE(file, i * wantBytes);
    payload.writeUInt32BE(chunk, i * wantBytes + 4);
    payload.writeUInt16BE(found, i * wantBytes + 8);
  });
  return encodeFrame(frameTypes.want, payload);
}

/** Reads a WANT payload. Throws MigrateError "protocol" for one that is cut short or wants nothing. */
export function parseWant(payload: Buffer): Want[] {
  if (payload.length === 0 || payload.length % wantBytes !== 0) {
    throw new MigrateError("protocol", "a want frame is cut short");
  }
  return Array.from({ length: payload.length / wantBytes }, (_, i) => ({
    file: payload.readUInt32BE(i * wantBytes),
    chunk: payload.readUInt32BE(i * wantBytes + 4),
    found: payload.readUInt16BE(i * wantBytes + 8),
  }));
}
