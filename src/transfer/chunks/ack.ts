/**
 * ACK: chunks that the destination has checked and written (SPEC.md, ACK). Pure.
 *
 *   pairs of u32 file | u32 chunk
 */
import { MigrateError } from "../../protocol/errors.ts";
import { encodeFrame, frameTypes } from "../../protocol/frames.ts";

const placeBytes = 8;

export interface Place {
  file: number;
  chunk: number;
}

/** An ACK frame for at most `limits.ackChunks` chunks. */
export function encodeAck(places: readonly Place[]): Buffer {
  const payload = Buffer.allocUnsafe(places.length * placeBytes);
  places.forEach(({ file, chunk }, i) => {
    payload.writeUInt32BE(file, i * placeBytes);
    payload.writeUInt32BE(chunk, i * placeBytes + 4);
  });
  return encodeFrame(frameTypes.ack, payload);
}

/** Reads an ACK payload. Throws MigrateError "protocol" for one that is cut short, or acknowledges nothing. */
export function parseAck(payload: Buffer): Place[] {
  if (payload.length === 0 || payload.length % placeBytes !== 0)
    throw new MigrateError("protocol", "an ack frame is cut short");
  return Array.from({ length: payload.length / placeBytes }, (_, i) => ({
    file: payload.readUInt32BE(i * placeBytes),
    chunk: payload.readUInt32BE(i * placeBytes + 4),
  }));
}
