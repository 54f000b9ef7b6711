import { expect, test } from "bun:test";
import { imageWarning } from "../../../../src/migration/providers/qemu/image-warning.ts";
import { usualQcow2 } from "../../../../src/protocol/image-shape.ts";

// [IMG-4]
test("a destination that does not make images as they are here is told of, where that makes a difference", () => {
  const disk = { format: "qcow2", bytes: 1, allocatedBytes: 1 } as const;
  const usual = { ...disk, name: "a.qcow2", image: { qcow2: usualQcow2 } };
  const small = { ...disk, name: "b.qcow2", image: { qcow2: { ...usualQcow2, clusterBytes: 512 } } };
  expect(imageWarning({ disks: [usual, small] }, { images: true })).toBeNull();
  expect(imageWarning({ disks: [usual] }, {})).toBeNull();
  expect(imageWarning({ disks: [usual, small] }, {})).toContain("the images of b.qcow2 as they are here");
});
