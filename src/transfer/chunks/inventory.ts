/**
 * INVENTORY: what the destination has already, as tags (SPEC.md, INVENTORY). Pure.
 *
 *   u32 file | u32 first chunk | the tags of that chunk and the next ones, 16 bytes each
 */
import { MigrateError } from "../../protocol/errors.ts";
import { encodeFrame, frameTypes } from "../../protocol/frames.ts";
import { limits } from "../../protocol/limits.ts";

const { tagBytes } = limits;
const headerBytes = 8;

export interface Inventory {
  file: number;
  firstChunk: number;
  /** One for each chunk from `firstChunk` on; views, valid as long as the payload is. */
  tags: Buffer[];
}

/** An INVENTORY frame; `tags` are at most `limits.inventoryTags` tags in a row. */
export function encodeInventory(file: number, firstChunk: number, tags: Uint8Array): Buffer {
  const payload = Buffer.alloc(headerBytes + tags.length);
  payload.writeUInt32BE(file, 0);
  payload.writeUInt32BE(firstChunk, 4);
  payload.set(tags, headerBytes);
  return encodeFrame(frameTypes.inventory, payload);
}

/**
 * Reads an INVENTORY payload; `chunks` are the numbers of chunks of the VM's files. Throws
 * MigrateError "protocol" for one that is cut short or names chunks that the VM does not have.
 */
export function parseInventory(payload: Buffer, chunks: readonly number[]): Inventory {
  const count = (payload.length - headerBytes) / tagBytes;
  if (!Number.isInteger(count) || count < 0) throw wrong();
  const file = payload.readUInt32BE(0);
  const firstChunk = payload.readUInt32BE(4);
  if (firstChunk + count > (chunks[file] ?? -1)) throw wrong();
  const tags = Array.from({ length: count }, (_, i) => {
    const at = headerBytes + i * tagBytes;
    return payload.subarray(at, at + tagBytes);
  });
  return { file, firstChunk, tags };
}

function wrong(): MigrateError {
  return new MigrateError("protocol", "tags came for chunks that the VM does not have", {
    side: "destination",
  });
}
