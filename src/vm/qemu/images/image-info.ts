/**
 * What QEMU says of the image behind a disk (qapi/block-core.json: BlockDeviceInfo, ImageInfo,
 * ImageInfoSpecificQCow2, BlockDirtyInfo): how it was made, and what it holds besides the guest's data.
 */
import { closeSync, constants, openSync, statSync } from "node:fs";
import * as v from "valibot";
import { nextHole } from "../../../platform/files/holes.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { type ImageShape, imageShape, type Qcow2Shape } from "../../../protocol/image-shape.ts";

const qcow2Info = v.object({
  type: v.literal("qcow2"),
  data: v.object({
    compat: v.string(),
    "refcount-bits": v.optional(v.number(), 16),
    "lazy-refcounts": v.optional(v.boolean(), false),
    "extended-l2": v.optional(v.boolean(), false),
    "compression-type": v.optional(v.string(), "zlib"),
  }),
});

const imageEntries = {
  filename: v.string(),
  format: v.string(),
  "virtual-size": v.number(),
  "actual-size": v.optional(v.number()),
  "cluster-size": v.optional(v.number()),
  snapshots: v.optional(v.array(v.object({ name: v.string(), id: v.string() })), []),
  "format-specific": v.optional(v.union([qcow2Info, v.object({ type: v.string() })])),
};

/** `inserted.image` of query-block, with the images below it. */
export type ImageInfo = v.InferOutput<v.ObjectSchema<typeof imageEntries, undefined>> & {
  "backing-image"?: ImageInfo | undefined;
};
export const imageInfo: v.GenericSchema<unknown, ImageInfo> = v.object({
  ...imageEntries,
  "backing-image": v.optional(v.lazy(() => imageInfo)),
});

/** `inserted.dirty-bitmaps` of query-block; those without a name are QEMU's own, of its block jobs. */
export const dirtyBitmaps = v.optional(
  v.array(v.object({ name: v.optional(v.string()), persistent: v.optional(v.boolean(), false) })),
  [],
);
export type DirtyBitmaps = v.InferOutput<typeof dirtyBitmaps>;

/** What an image holds besides the guest's data, by name. */
export interface Besides {
  snapshots: string[];
  /** Dirty bitmaps that lie in the image. */
  bitmaps: string[];
  /** Those that QEMU has in its memory alone. */
  passingBitmaps: string[];
}

/** Returns what the image of a disk holds besides the guest's data. */
export function besidesOf({ snapshots }: ImageInfo, bitmaps: DirtyBitmaps): Besides {
  const named = bitmaps.filter(({ name }) => name !== undefined && name !== "");
  const names = (list: DirtyBitmaps) => list.map(({ name }) => name!);
  return {
    snapshots: snapshots.map(({ name, id }) => (name === "" ? id : name)),
    bitmaps: names(named.filter(({ persistent }) => persistent)),
    passingBitmaps: names(named.filter(({ persistent }) => !persistent)),
  };
}

/**
 * Returns how the image at `path` was made, so that one can be made alike. Its room is looked at: a file that is as
 * long as the disk has its tables made beforehand, and one whose room is there without being written has it reserved.
 * Throws MigrateError "vm-invalid" for a qcow2 image of a kind that is not known, and as node:fs does.
 */
export function shapeOf(path: string, format: "raw" | "qcow2", info: ImageInfo): ImageShape {
  const bytes = info["virtual-size"];
  const preallocation = preallocationOf(path, format, info);
  const specific = info["format-specific"];
  const qcow2: Partial<Record<keyof Qcow2Shape, unknown>> | undefined =
    format === "qcow2" && specific !== undefined && "data" in specific
      ? {
          compat: specific.data.compat,
          clusterBytes: info["cluster-size"],
          refcountBits: specific.data["refcount-bits"],
          lazyRefcounts: specific.data["lazy-refcounts"],
          extendedL2: specific.data["extended-l2"],
          compression: specific.data["compression-type"],
        }
      : undefined;
  const shape = v.safeParse(imageShape, {
    ...(bytes === 0 || preallocation === undefined ? {} : { preallocation }),
    ...(qcow2 === undefined ? {} : { qcow2 }),
  });
  if (shape.success) return shape.output;
  throw new MigrateError("vm-invalid", `${path} is a qcow2 image of a kind that is not known`, {
    side: "source",
    hint: "--mode stop moves it as it is.",
  });
}

function preallocationOf(
  path: string,
  format: "raw" | "qcow2",
  info: ImageInfo,
): ImageShape["preallocation"] {
  const bytes = info["virtual-size"];
  // The room of snapshots is none of the disk's, and a backing file's is elsewhere.
  if (info.snapshots.length > 0 || info["backing-image"] !== undefined) return undefined;
  // A qcow2 image has a head and three kinds of tables beside the disk, of a cluster each at least.
  const tablesBytes = format === "raw" ? 0 : 4 * (info["cluster-size"] ?? 0);
  const { size } = statSync(path);
  if (size < bytes + tablesBytes) return undefined;
  if ((info["actual-size"] ?? 0) >= bytes && hasHole(path, size)) return "falloc";
  return format === "qcow2" ? "metadata" : undefined;
}

/**
 * Room that is reserved and was never written reads as a hole (lseek(2), SEEK_HOLE). A file without any may as well be
 * full of what was written, zeros among it: these take no room where they arrive.
 */
function hasHole(path: string, size: number): boolean {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    return nextHole(fd, 0) < size;
  } finally {
    closeSync(fd);
  }
}
