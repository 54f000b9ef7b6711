/** How much of an image is found in an older one, where both are cut in the same way. */
import { createCipheriv } from "node:crypto";
import type { Cutting } from "./cutting.ts";
import type { Image } from "./image.ts";

export interface Overlap {
  /** Bytes of the new image, in pages with data, whose chunk the old one has. */
  foundBytes: number;
  /** Those of them that the old one has at the same offset. */
  inPlaceBytes: number;
  /** Entries that an index of the old image has: its distinct chunks with data. */
  entries: number;
  /** CPU of cutting and of hashing both images, without reading them. */
  cutSeconds: number;
  hashSeconds: number;
}

interface Cut {
  offset: number;
  bytes: number;
  /** The chunk's digest, as text. */
  tag: string;
}

/** Measures one way to cut. Both images are read once; chunks of zeros alone are left out. */
export function measureOverlap(old: Image, young: Image, cutting: Cutting): Overlap {
  const spent = { cutSeconds: 0, hashSeconds: 0 };
  const places = new Map<number, string>();
  for (const { offset, tag } of cutAll(old, cutting, spent)) places.set(offset, tag);
  const index = new Set(places.values());
  let [foundBytes, inPlaceBytes] = [0, 0];
  for (const { offset, bytes, tag } of cutAll(young, cutting, spent)) {
    if (!index.has(tag)) continue;
    const dataBytes = young.dataWithin(offset, offset + bytes);
    foundBytes += dataBytes;
    if (places.get(offset) === tag) inPlaceBytes += dataBytes;
  }
  return { foundBytes, inPlaceBytes, entries: index.size, ...spent };
}

function* cutAll(
  image: Image,
  cutting: Cutting,
  spent: { cutSeconds: number; hashSeconds: number },
): Generator<Cut> {
  for (const piece of cutting.pieces(image)) {
    const bytes = image.read(piece);
    const ends: number[] = [];
    const begun = cpuSeconds();
    for (let start = 0; start < bytes.length; ) ends.push((start = cutting.end(bytes, start)));
    const cut = cpuSeconds();
    spent.cutSeconds += cut - begun;

    const cuts: Cut[] = [];
    let start = 0;
    for (const end of ends) {
      const offset = piece.offset + start;
      if (image.hasDataWithin(offset, piece.offset + end)) {
        cuts.push({ offset, bytes: end - start, tag: tagOf(bytes.subarray(start, end)) });
      }
      start = end;
    }
    spent.hashSeconds += cpuSeconds() - cut;
    yield* cuts;
  }
}

const key = Buffer.alloc(16, 1);
const nonce = Buffer.alloc(12);

/** AES-128-GMAC, as text that a Set compares by value. */
function tagOf(bytes: Uint8Array): string {
  const gmac = createCipheriv("aes-128-gcm", key, nonce).setAAD(bytes);
  gmac.final();
  return gmac.getAuthTag().toString("latin1");
}

function cpuSeconds(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1e6;
}
