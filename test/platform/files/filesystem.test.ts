import { describe, expect, test } from "bun:test";
import { closeSync, fstatSync, readdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  allocatedBytes,
  freeBytes,
  isMountPoint,
  mostNameBytes,
  openNameless,
  supportsHoles,
  unescaped,
} from "../../../src/platform/files/filesystem.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder: string;
eachTestInFolder("migrate-filesystem-", (made) => {
  folder = made;
});

describe("a file system", () => {
  test("tells its free room in bytes, as df does", async () => {
    const df = await Bun.$`df --output=avail -B1 ${folder}`.text();
    const free = freeBytes(folder);
    const told = Number(df.trim().split("\n").at(-1));
    // Others write at the same time.
    expect(Math.abs(free - told)).toBeLessThan(Math.max(told / 10, 2 ** 30));
    expect(() => freeBytes(join(folder, "none"))).toThrow(expect.objectContaining({ code: "ENOENT" }));
  });

  test("shows whether it keeps holes, and the probe leaves nothing behind", () => {
    expect(supportsHoles(folder)).toBe(true);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("cannot be probed in a folder that is not there", () => {
    expect(() => supportsHoles(join(folder, "none"))).toThrow(expect.objectContaining({ code: "ENOENT" }));
  });

  test("tells what a file takes on the disk, which a hole does not", () => {
    const path = join(folder, "sparse");
    expect(allocatedBytes(path)).toBe(0);
    writeFileSync(path, Buffer.alloc(64 * 1024, 1), { flush: true });
    const full = allocatedBytes(path);
    expect(full).toBeGreaterThanOrEqual(64 * 1024);
    truncateSync(path, 2 ** 30);
    expect(allocatedBytes(path)).toBeLessThan(2 * full);
  });

  test("has room for a file without a name", () => {
    const fd = openNameless(folder);
    expect(readdirSync(folder)).toEqual([]);
    expect(fstatSync(fd)).toMatchObject({ size: 0, nlink: 0 });
    closeSync(fd);
  });
});

test("how long a name may be, and where something is mounted, is told", () => {
  expect(mostNameBytes("/tmp")).toBe(255);
  expect(() => mostNameBytes("/nowhere")).toThrow(expect.objectContaining({ code: "ENOENT" }));
  expect(["/proc", "/proc/self", "/nowhere"].map(isMountPoint)).toEqual([true, false, false]);
  expect(unescaped("/a\\040b\\134c")).toBe("/a b\\c");
});
