/**
 * Where a guest's pages lie in a chunk, so that equal ones can be found. In an image they lie at multiples
 * of a page. In a stream that QEMU saved each has 8 bytes of address and flags in front of it, or is one byte
 * if all its bytes are alike (QEMU 7.2, migration/ram.c, save_zero_page and save_normal_page).
 *
 * A guess decides nothing: what is found at a place is compared byte for byte.
 */
import { limits } from "../../../protocol/limits.ts";

const { pageBytes } = limits;

/** Flags of a page in the same RAM block as the one before it, and of one whose bytes are all alike (RAM_SAVE_FLAG_*). */
const normalPage = 0x28;
const alikePage = 0x22;
const headBytes = 8;
/** An address has no more than so many bits above its lower 32: 16 TiB of guest. */
const mostHigh = 2 ** 12;
/** In a stream a page begins within this; once it is known to be one, something else may lie between pages. */
const searchBytes = 2 * (headBytes + pageBytes);

/** Fewer pages than this may look like a stream's by chance. */
const fewPages = 8;

/**
 * Writes where whole pages begin in the bytes of a chunk, ascending, and returns how many there are. There is room
 * for `pagesPerChunk` places.
 */
export function findPages(data: Buffer, places: Int32Array): number {
  const inStream = streamPages(data, places);
  if (inStream > Math.min(fewPages, data.length / pageBytes / 2)) return inStream;
  const pages = Math.floor(data.length / pageBytes);
  for (let i = 0; i < pages; i++) places[i] = i * pageBytes;
  return pages;
}

function streamPages(data: Buffer, places: Int32Array): number {
  let count = 0;
  for (
    let at = begin(data, 0, searchBytes);
    at !== -1;
    at = begin(data, at, count > fewPages ? data.length : searchBytes)
  ) {
    for (let bytes = recordBytes(data, at); bytes !== 0; bytes = recordBytes(data, at)) {
      if (bytes > pageBytes && at + bytes <= data.length) places[count++] = at + headBytes;
      at += bytes;
    }
  }
  return count;
}

/** Where the next two records lie behind each other, within so many bytes; -1 where they do not. */
function begin(data: Buffer, from: number, bytes: number): number {
  const end = Math.min(from + bytes, data.length - headBytes);
  for (let at = from; at < end; at++) {
    const flags = data[at + 7]!;
    if (flags !== normalPage && flags !== alikePage) continue;
    const bytes = recordBytes(data, at);
    if (
      bytes !== 0 &&
      recordBytes(data, at + bytes) !== 0 &&
      pageOf(data, at + bytes) === pageOf(data, at) + 1
    ) {
      return at;
    }
  }
  return -1;
}

/** Length of the record at a place, 0 if there is none. */
function recordBytes(data: Buffer, at: number): number {
  if (at + headBytes > data.length || data.readUInt32BE(at) >= mostHigh) return 0;
  const flags = data.readUInt16BE(at + 6) & 0x0fff;
  if (flags === normalPage) return headBytes + pageBytes;
  return flags === alikePage ? headBytes + 1 : 0;
}

/** Number of the guest's page that the record at a place is of. */
function pageOf(data: Buffer, at: number): number {
  return data.readUInt32BE(at) * 2 ** 20 + (data.readUInt32BE(at + 4) >>> 12);
}
