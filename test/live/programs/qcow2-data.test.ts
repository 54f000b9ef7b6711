/** What is counted in images that a real qemu-img has made, against what it says itself. */
import { expect, test } from "bun:test";
import { closeSync, openSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { qcow2DataBytes } from "../../../src/vm/disks/qcow2-data.ts";
import { runChild } from "../../support/system/child.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const mebibyte = 1024 ** 2;
let folder = "";
eachTestInFolder("migrate-qcow2-", (made) => {
  folder = made;
});

function dataBytes(path: string): number | null {
  const fd = openSync(path, "r");
  try {
    return qcow2DataBytes(fd);
  } finally {
    closeSync(fd);
  }
}

const io = (path: string, ...commands: string[]) =>
  runChild(["qemu-io", "-f", "qcow2", ...commands.flatMap((command) => ["-c", command]), path]);

test.each([
  ["usual", ""],
  ["old", "compat=0.10"],
  ["with subclusters", "extended_l2=on,cluster_size=128k"],
  ["with large clusters", "cluster_size=2M"],
])(
  "a %s qcow2 image has the data that was written, and neither zeros nor what lies below it",
  async (_, options) => {
    const [base, path] = [join(folder, "base"), join(folder, "disk")];
    await runChild(["qemu-img", "create", "-q", "-f", "qcow2", base, "64M"]);
    await io(base, "write 0 16M");
    const made = options === "" ? [] : ["-o", options];
    await runChild(["qemu-img", "create", "-q", "-f", "qcow2", ...made, "-b", base, "-F", "qcow2", path]);
    expect(dataBytes(path)).toBe(0);
    await io(path, "write 2M 4M", "write 40M 2M");
    expect(dataBytes(path)).toBe(6 * mebibyte);
    expect(dataBytes(base)).toBe(16 * mebibyte);
    if (options !== "compat=0.10") {
      await io(path, "write -z 40M 2M");
      expect(dataBytes(path)).toBe(4 * mebibyte);
    }
  },
);

test("a compressed image has what its clusters hold, however little the file takes", async () => {
  const [raw, path] = [join(folder, "raw"), join(folder, "disk")];
  writeFileSync(raw, Buffer.alloc(32 * mebibyte, "x"));
  await runChild(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, path]);
  expect(statSync(path).size).toBeLessThan(mebibyte);
  expect(dataBytes(path)).toBe(32 * mebibyte);
});

test("what is no image, or ends in the middle of its tables, is not taken for one", async () => {
  const path = join(folder, "disk");
  writeFileSync(path, "no image");
  expect(dataBytes(path)).toBeNull();
  await runChild(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"]);
  await io(path, "write 0 64M");
  await runChild(["truncate", "-s", "100", path]);
  expect(dataBytes(path)).toBe(0);
});
