/** The ways to cut an image that are compared: aligned blocks, and chunks whose ends the content decides. */
import { seededRandom } from "../statistics.ts";
import type { Extent, Image } from "./image.ts";

export interface Cutting {
  title: string;
  /** The pieces of an image that are cut each by itself. */
  pieces(image: Image): Iterable<Extent>;
  /** Where the chunk that begins at `start` ends: at most at bytes.length. */
  end(bytes: Uint8Array, start: number): number;
}

const kib = 1024;

/** Blocks of one size, each at a multiple of it. Takes a size that divides an image's window. */
export function aligned(blockBytes: number): Cutting {
  const title = blockBytes < 2 ** 20 ? `${blockBytes / kib} KiB` : `${blockBytes / 2 ** 20} MiB`;
  return {
    title: `aligned ${title}`,
    pieces: (image) => image.windows(),
    end: (bytes, start) => Math.min(start + blockBytes, bytes.length),
  };
}

/** One number for each value of a byte, the same on every run. */
const gear = (() => {
  const random = seededRandom(2016);
  return Int32Array.from({ length: 256 }, () => (random() * 2 ** 32) | 0);
})();

/** The highest bits: those on which the most of the last bytes bear. */
const highBits = (count: number): number => (-1 << (32 - count)) | 0;

/**
 * FastCDC (Xia and others, "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data
 * Deduplication", USENIX ATC 2016) with a gear hash of 32 bits: no cut before a quarter of the average, a
 * mask of two more bits up to the average and of two fewer bits behind it (section 3.4), and a cut at four times the
 * average whatever the content. Takes an average that is a power of two.
 */
export function contentDefined(averageBytes: number): Cutting {
  const bits = Math.log2(averageBytes);
  const [strict, lax] = [highBits(bits + 2), highBits(bits - 2)];
  return {
    title: `content-defined, ${averageBytes / kib} KiB`,
    pieces: (image) => image.extents(),
    end(bytes, start) {
      const longest = Math.min(start + averageBytes * 4, bytes.length);
      const middle = Math.min(start + averageBytes, longest);
      let place = Math.min(start + averageBytes / 4, longest);
      let hash = 0;
      for (; place < middle; place++) {
        hash = ((hash << 1) + gear[bytes[place]!]!) | 0;
        if ((hash & strict) === 0) return place + 1;
      }
      for (; place < longest; place++) {
        hash = ((hash << 1) + gear[bytes[place]!]!) | 0;
        if ((hash & lax) === 0) return place + 1;
      }
      return longest;
    },
  };
}

export const cuttings: readonly Cutting[] = [
  ...[4, 16, 64, 128, 256, 1024].map((size) => aligned(size * kib)),
  ...[16, 64, 256].map((size) => contentDefined(size * kib)),
];
