/**
 * How the image of a mirrored disk is made: what qemu-img(1) is told when it makes one ("Notes" of its man page, on
 * raw and qcow2; qapi/block-core.json, BlockdevCreateOptionsQcow2). A schema, and what it cannot say. Pure.
 */
import * as v from "valibot";
import type { ImageFormat } from "./disk-head.ts";

const clusterBytes = Array.from({ length: 13 }, (_, power) => 512 * 2 ** power);

const qcow2Shape = v.object({
  /** The version of the format: 2 or 3. */
  compat: v.picklist(["0.10", "1.1"]),
  /** 512 bytes to 2 MiB, a power of two. */
  clusterBytes: v.picklist(clusterBytes),
  refcountBits: v.picklist([1, 2, 4, 8, 16, 32, 64]),
  lazyRefcounts: v.boolean(),
  extendedL2: v.boolean(),
  compression: v.picklist(["zlib", "zstd"]),
});
export type Qcow2Shape = v.InferOutput<typeof qcow2Shape>;

export const imageShape = v.object({
  /** What of its room it has before anybody writes: its tables alone, or all of it (fallocate(2)). */
  preallocation: v.optional(v.picklist(["metadata", "falloc"])),
  /** Of a qcow2 image. */
  qcow2: v.optional(qcow2Shape),
});
export type ImageShape = v.InferOutput<typeof imageShape>;

/** What qemu-img makes if it is told nothing, in every version that makes version 3 images. */
export const usualQcow2: Qcow2Shape = {
  compat: "1.1",
  clusterBytes: 65_536,
  refcountBits: 16,
  lazyRefcounts: false,
  extendedL2: false,
  compression: "zlib",
};

const usualShape: ImageShape = { qcow2: usualQcow2 };

/** True if an image of this shape is what one would be made as anyway. */
export function isUsual({ preallocation, qcow2 = usualQcow2 }: ImageShape): boolean {
  const names = Object.keys(usualQcow2) as (keyof Qcow2Shape)[];
  return preallocation === undefined && names.every((name) => qcow2[name] === usualQcow2[name]);
}

/** The size of an L2 entry, one a cluster; an extended one has two words. */
const entryBytes = 8;

/** Bytes of room that an image of this shape has from the start, for a disk of so many bytes. */
export function claimedBytes({ preallocation, qcow2 = usualQcow2 }: ImageShape, bytes: number): number {
  if (preallocation === undefined) return 0;
  if (preallocation === "falloc") return bytes;
  return Math.ceil(bytes / qcow2.clusterBytes) * entryBytes * (qcow2.extendedL2 ? 2 : 1);
}

/**
 * What is wrong with a disk that claims this shape, as the end of a sentence; null if nothing is. Room that is
 * claimed in advance must be room that the disk takes at the source, which the destination's free room was compared with.
 */
export function shapeFault(
  { preallocation, qcow2 }: ImageShape,
  disk: { format: ImageFormat; bytes: number; allocatedBytes: number },
): string | null {
  if (disk.format === "raw" && (qcow2 !== undefined || preallocation === "metadata")) return "it is raw";
  const { compat, clusterBytes, refcountBits, lazyRefcounts, extendedL2, compression } =
    qcow2 ?? usualShape.qcow2!;
  const isOfVersion3 = refcountBits !== 16 || lazyRefcounts || extendedL2 || compression !== "zlib";
  if (compat === "0.10" && isOfVersion3) return "version 2 of qcow2 has no such features";
  // block/qcow2.c: a sub-cluster, of which there are 32 in one, has at least 512 bytes.
  if (extendedL2 && clusterBytes < 32 * 512) return "its clusters are too small for extended L2 entries";
  return claimedBytes({ preallocation, qcow2 }, disk.bytes) > disk.allocatedBytes
    ? "it takes less room at the source than it claims"
    : null;
}
