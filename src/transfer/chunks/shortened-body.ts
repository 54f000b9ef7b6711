/**
 * The body of a chunk without what the destination has received already (SPEC.md, What a VM has twice). Pure.
 *
 *   shortened  u16 repeats | repeats x (u32 at | u32 bytes | u32 file | u64 from) | the rest of the body
 */
import { MigrateError } from "../../protocol/errors.ts";
import { chunkBodyBytes, limits, pagesPerChunk } from "../../protocol/limits.ts";

const countBytes = 2;
const repeatBytes = 20;

/** Bytes of a body that a file of the same VM has as well: a copy in SPEC.md. */
export interface Repeat {
  /** Where they begin in the body. */
  at: number;
  bytes: number;
  file: number;
  /** Where they begin in that file. */
  from: number;
}

/**
 * Reads what was received of a file into all of `into`. False if it cannot be read, or has no such
 * place; what stands in `into` then is of no meaning.
 */
export type ReadReceived = (file: number, from: number, into: Buffer) => boolean;

const wrong = (what: string) => new MigrateError("protocol", `a chunk ${what}`);

/**
 * Shortens a body that ends at `end` of a room and begins at `begin`, in place: what is left is moved
 * towards the end, and the repeats are written in front of it, for which there is room where they were.
 * Returns where the shortened body begins. The repeats ascend, each of a page at least.
 */
export function shortenInPlace(room: Buffer, begin: number, end: number, repeats: readonly Repeat[]): number {
  let to = end;
  let pieceEnd = end;
  for (const { at, bytes } of repeats.toReversed()) {
    const pieceAt = begin + at + bytes;
    to -= pieceEnd - pieceAt;
    room.copyWithin(to, pieceAt, pieceEnd);
    pieceEnd = begin + at;
  }
  to -= pieceEnd - begin;
  room.copyWithin(to, begin, pieceEnd);
  const headAt = to - countBytes - repeats.length * repeatBytes;
  room.writeUInt16BE(repeats.length, headAt);
  repeats.forEach(({ at, bytes, file, from }, i) => {
    const place = headAt + countBytes + i * repeatBytes;
    room.writeUInt32BE(at, place);
    room.writeUInt32BE(bytes, place + 4);
    room.writeUInt32BE(file, place + 8);
    room.writeUInt32BE(Math.floor(from / 2 ** 32), place + 12);
    room.writeUInt32BE(from % 2 ** 32, place + 16);
  });
  return headAt;
}

/**
 * The body that a peer shortened, put together in `room`, which is as long as a body can be, or in a new one;
 * `fileBytes` are the sizes of the session's files. Repeats that cannot be read leave something wrong in the
 * body, which its tag tells. Throws MigrateError "protocol", before anything is read, if the repeats make no
 * sense; its sentences call them copies, as SPEC.md does.
 */
export function lengthenBody(
  shortened: Buffer,
  fileBytes: readonly number[],
  read: ReadReceived,
  room: Buffer = Buffer.allocUnsafe(chunkBodyBytes),
): { body: Buffer; repeats: number } {
  const { repeats, rest, bytes } = parseRepeats(shortened, fileBytes);
  let from = 0;
  let to = 0;
  for (const repeat of repeats) {
    from += rest.copy(room, to, from, from + repeat.at - to);
    const place = room.subarray(repeat.at, repeat.at + repeat.bytes);
    // What stood in the room may be another VM's: nobody may find out by a tag whether it is what he thinks.
    if (!read(repeat.file, repeat.from, place)) place.fill(0);
    to = repeat.at + repeat.bytes;
  }
  rest.copy(room, to, from);
  return { body: room.subarray(0, bytes), repeats: repeats.length };
}

function parseRepeats(
  shortened: Buffer,
  fileBytes: readonly number[],
): { repeats: Repeat[]; rest: Buffer; bytes: number } {
  if (shortened.length < countBytes) throw wrong("is cut short");
  const count = shortened.readUInt16BE(0);
  const restAt = countBytes + count * repeatBytes;
  if (restAt + 2 > shortened.length) throw wrong("is cut short");
  if (count === 0) throw wrong("is shortened by nothing");
  if (count > pagesPerChunk) throw wrong("has more copies than pages");
  const rest = shortened.subarray(restAt);
  const repeats: Repeat[] = [];
  // The runs are never among the repeats: where the pages begin is known before anything is read.
  let free = 2 + rest.readUInt16BE(0) * 4;
  let restBytes = free;
  let bytes = rest.length;
  for (let i = 0; i < count; i++) {
    const repeat = readRepeat(shortened, countBytes + i * repeatBytes, fileBytes);
    if (repeat.at < free) throw wrong("has copies that are out of order or in its runs");
    restBytes += repeat.at - free;
    free = repeat.at + repeat.bytes;
    bytes += repeat.bytes;
    repeats.push(repeat);
  }
  if (bytes > chunkBodyBytes || restBytes > rest.length) throw wrong("has copies that lie outside of it");
  return { repeats, rest, bytes };
}

function readRepeat(from: Buffer, at: number, fileBytes: readonly number[]): Repeat {
  const file = from.readUInt32BE(at + 8);
  // Beyond 2^53 it is not exact, and beyond any file.
  const place = from.readUInt32BE(at + 12) * 2 ** 32 + from.readUInt32BE(at + 16);
  const repeat = { at: from.readUInt32BE(at), bytes: from.readUInt32BE(at + 4), file, from: place };
  if (repeat.bytes < limits.pageBytes) throw wrong("has a copy of less than a page");
  const size = fileBytes[file];
  if (size === undefined || place + repeat.bytes > size) {
    throw wrong("copies what the VM does not have");
  }
  return repeat;
}
