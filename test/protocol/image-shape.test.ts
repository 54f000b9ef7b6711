import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import {
  type ImageShape,
  imageShape,
  isUsual,
  shapeFault,
  usualQcow2,
} from "../../src/protocol/image-shape.ts";

const mib = 2 ** 20;
const disk = { format: "qcow2", bytes: 1024 * mib, allocatedBytes: 1024 * mib } as const;
const qcow2 = (change: Partial<typeof usualQcow2>): ImageShape => ({ qcow2: { ...usualQcow2, ...change } });

// [IMG-4]
describe("the shape of an image", () => {
  test.each<[string, ImageShape, boolean]>([
    ["nothing said", {}, true],
    ["qemu-img's own", qcow2({}), true],
    ["another cluster size", qcow2({ clusterBytes: 512 }), false],
    ["version 2", qcow2({ compat: "0.10" }), false],
    ["room of its own", { preallocation: "falloc" }, false],
  ])("is usual or not: %s", (_what, shape, usual) => {
    expect(isUsual(shape)).toBe(usual);
    expect(v.parse(imageShape, shape)).toEqual(shape);
    expect(shapeFault(shape, disk)).toBeNull();
  });

  test.each([
    ["a cluster size that is no power of two", { qcow2: { ...usualQcow2, clusterBytes: 65_535 } }],
    ["clusters of 256 bytes", { qcow2: { ...usualQcow2, clusterBytes: 256 } }],
    ["clusters of 4 MiB", { qcow2: { ...usualQcow2, clusterBytes: 4 * mib } }],
    ["an option in a text", { qcow2: { ...usualQcow2, compression: "zlib,data_file=/etc/shadow" } }],
    ["another text", { qcow2: { ...usualQcow2, compat: "1.1,backing_file=/etc/shadow" } }],
    ["refcounts of 128 bits", { qcow2: { ...usualQcow2, refcountBits: 128 } }],
    ["a preallocation that writes", { preallocation: "full" }],
  ])("is not read with %s", (_what, shape) => {
    expect(v.safeParse(imageShape, shape).success).toBe(false);
  });

  test.each<
    [string, ImageShape, Partial<typeof disk> | { format: "raw" } | { allocatedBytes: number }, string]
  >([
    ["tables of a raw disk", { preallocation: "metadata" }, { format: "raw" }, "it is raw"],
    ["qcow2 of a raw disk", qcow2({}), { format: "raw" }, "it is raw"],
    ["lazy refcounts in version 2", qcow2({ compat: "0.10", lazyRefcounts: true }), {}, "version 2"],
    ["other refcounts in version 2", qcow2({ compat: "0.10", refcountBits: 8 }), {}, "version 2"],
    ["extended L2 in version 2", qcow2({ compat: "0.10", extendedL2: true }), {}, "version 2"],
    ["zstd in version 2", qcow2({ compat: "0.10", compression: "zstd" }), {}, "version 2"],
    ["extended L2 in small clusters", qcow2({ clusterBytes: 8192, extendedL2: true }), {}, "too small"],
    ["room that it does not take", { preallocation: "falloc" }, { allocatedBytes: 1023 * mib }, "less room"],
    [
      "tables that it does not have",
      { preallocation: "metadata", ...qcow2({ clusterBytes: 512 }) },
      { allocatedBytes: 16 * mib - 1 },
      "less room",
    ],
  ])("cannot be: %s", (_what, shape, change, says) => {
    expect(shapeFault(shape, { ...disk, ...change })).toContain(says);
  });

  test("may claim the room that the disk takes", () => {
    const raw = { format: "raw", bytes: mib, allocatedBytes: mib } as const;
    expect(shapeFault({ preallocation: "falloc" }, raw)).toBeNull();
  });
});
