import { describe, expect, test } from "bun:test";
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { nextData, nextHole, punchHole } from "../../../src/platform/files/holes.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const mebibyte = 1024 * 1024;
let folder: string;
let fd: number;

eachTestInFolder("migrate-holes-", (made) => {
  folder = made;
  fd = openSync(join(folder, "file"), "w+");
  return () => closeSync(fd);
});

describe("finding holes", () => {
  test("data between two holes is found from before it, from inside it and not from behind it", () => {
    ftruncateSync(fd, 9 * mebibyte);
    writeSync(fd, Buffer.alloc(mebibyte, 1), 0, mebibyte, 4 * mebibyte);
    expect(nextData(fd, 0)).toBe(4 * mebibyte);
    expect(nextHole(fd, 0)).toBe(0);
    expect(nextData(fd, 4 * mebibyte + 5)).toBe(4 * mebibyte + 5);
    expect(nextHole(fd, 4 * mebibyte + 5)).toBe(5 * mebibyte);
    expect(nextData(fd, 5 * mebibyte)).toBeNull();
  });

  test("offsets above 4 GiB and 2 TiB come back whole", () => {
    const at = 3 * 2 ** 40 + 2 ** 32;
    ftruncateSync(fd, 5 * 2 ** 40);
    writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, at);
    expect(nextData(fd, 1)).toBe(at);
    expect(nextHole(fd, at)).toBe(at + 4096);
    expect(nextData(fd, at + 4096)).toBeNull();
  });

  test("the end of a file without holes is one, and behind the end there is no data", () => {
    writeSync(fd, Buffer.alloc(10_000, 1));
    expect(nextData(fd, 0)).toBe(0);
    expect(nextHole(fd, 0)).toBe(10_000);
    expect(nextData(fd, 10_000)).toBeNull();
    expect(nextHole(fd, 10_000)).toBe(10_000);
    expect(nextHole(fd, 20_000)).toBe(20_000);
  });

  test("an empty file has no data", () => {
    expect(nextData(fd, 0)).toBeNull();
    expect(nextHole(fd, 0)).toBe(0);
  });

  test("a file whose file system knows no holes is data from end to end", () => {
    // sysfs answers SEEK_DATA with EINVAL and gives its files a page.
    const plain = openSync("/sys/kernel/uevent_seqnum", "r");
    try {
      const { size } = fstatSync(plain);
      expect(size).toBeGreaterThan(0);
      expect(nextData(plain, 0)).toBe(0);
      expect(nextData(plain, size - 1)).toBe(size - 1);
      expect(nextData(plain, size)).toBeNull();
      expect(nextHole(plain, 0)).toBe(size);
    } finally {
      closeSync(plain);
    }
  });

  test("a descriptor that is not open is an error with its errno's name", () => {
    expect(() => nextData(-1, 0)).toThrow(
      expect.objectContaining({ code: "EBADF", syscall: "lseek SEEK_DATA" }),
    );
    expect(() => nextHole(-1, 0)).toThrow(expect.objectContaining({ code: "EBADF" }));
  });
});

describe("making holes", () => {
  test("a punched range reads as zeros, frees its blocks and leaves its neighbours and the size", () => {
    writeSync(fd, Buffer.alloc(4 * mebibyte, 7));
    const before = fstatSync(fd);
    expect(punchHole(fd, mebibyte, 2 * mebibyte)).toBe(true);
    const after = fstatSync(fd);
    expect(after.size).toBe(before.size);
    expect(nextData(fd, mebibyte)).toBe(3 * mebibyte);
    const bytes = Buffer.alloc(4 * mebibyte, 1);
    readSync(fd, bytes, 0, bytes.length, 0);
    expect(bytes[mebibyte - 1]).toBe(7);
    expect(bytes.subarray(mebibyte, 3 * mebibyte).equals(Buffer.alloc(2 * mebibyte))).toBe(true);
    expect(bytes[3 * mebibyte]).toBe(7);
  });

  test("a range that is no multiple of a block is zeroed to the byte", () => {
    writeSync(fd, Buffer.alloc(3 * 4096, 7));
    expect(punchHole(fd, 100, 5000)).toBe(true);
    const bytes = Buffer.alloc(3 * 4096);
    readSync(fd, bytes, 0, bytes.length, 0);
    expect([bytes[99], bytes[100], bytes[5099], bytes[5100]]).toEqual([7, 0, 0, 7]);
  });

  test("nothing punched behind the end makes the file grow", () => {
    writeSync(fd, Buffer.alloc(100, 7));
    expect(punchHole(fd, 50, mebibyte)).toBe(true);
    expect(fstatSync(fd).size).toBe(100);
  });

  test("an empty range is done at once", () => {
    expect(punchHole(fd, 0, 0)).toBe(true);
  });

  test("a file system that cannot punch says so by false", () => {
    // procfs has no fallocate at all.
    const plain = openSync("/proc/self/comm", "r+");
    try {
      expect(punchHole(plain, 0, 4096)).toBe(false);
    } finally {
      closeSync(plain);
    }
  });

  test("a descriptor open for reading alone is an error", () => {
    const readOnly = openSync(join(folder, "file"), "r");
    try {
      expect(() => punchHole(readOnly, 0, 4096)).toThrow(expect.objectContaining({ code: "EBADF" }));
    } finally {
      closeSync(readOnly);
    }
  });
});
