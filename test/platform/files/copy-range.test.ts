import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { copyRange, sharesBlocks } from "../../../src/platform/files/copy-range.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder: string;
let fds: number[];

eachTestInFolder("migrate-copy-", (made) => {
  folder = made;
  fds = [];
  return () => {
    for (const fd of fds) closeSync(fd);
  };
});

function file(name: string, data: Buffer, flags = "r+"): number {
  writeFileSync(join(folder, name), data);
  fds.push(openSync(join(folder, name), flags));
  return fds.at(-1)!;
}

describe("copying a range", () => {
  test("copies from any offset to any offset, and nothing beside it", () => {
    const data = randomBytes(300_000);
    const from = file("from", data);
    const to = file("to", Buffer.alloc(300_000, 7));
    expect(copyRange(from, 1000, to, 77, 200_001)).toBe(200_001);
    const expected = Buffer.alloc(300_000, 7);
    data.copy(expected, 77, 1000, 201_001);
    expect(readFileSync(join(folder, "to")).equals(expected)).toBe(true);
  });

  test("works with offsets above 4 GiB, into a file that grows", () => {
    const data = randomBytes(5000);
    const from = file("from", Buffer.alloc(0));
    const at = 2 ** 40 + 2 ** 33 + 4096;
    truncateSync(join(folder, "from"), at);
    writeSync(from, data, 0, data.length, at);
    const to = file("to", Buffer.alloc(0));
    expect(copyRange(from, at, to, at, data.length)).toBe(data.length);
    const copied = Buffer.alloc(5000);
    expect(readSync(to, copied, 0, 5000, at)).toBe(5000);
    expect(copied.equals(data)).toBe(true);
  });

  test("ends where the first file ends, and an empty range is done at once", () => {
    const from = file("from", randomBytes(1000));
    const to = file("to", Buffer.alloc(10));
    expect(copyRange(from, 600, to, 0, 1000)).toBe(400);
    expect(copyRange(from, 1000, to, 0, 10)).toBe(0);
    expect(copyRange(from, 0, to, 0, 0)).toBe(0);
  });

  test("leaves the positions of both descriptors where they were", () => {
    const from = file("from", Buffer.from("abcdefgh"));
    const to = file("to", Buffer.alloc(8));
    readSync(from, Buffer.alloc(2), 0, 2, null);
    copyRange(from, 0, to, 0, 8);
    const next = Buffer.alloc(1);
    readSync(from, next, 0, 1, null);
    expect(next.toString()).toBe("c");
    readSync(to, next, 0, 1, null);
    expect(next.toString()).toBe("a");
  });

  test("says by null that two files cannot be copied so", () => {
    const to = file("to", Buffer.alloc(4096));
    // procfs and the disk: EXDEV or EINVAL by the kernel's version; ranges of one file that overlap: EINVAL.
    const proc = openSync("/proc/self/comm", "r+");
    fds.push(proc);
    expect(copyRange(to, 0, proc, 0, 3)).toBeNull();
    expect(copyRange(to, 0, to, 100, 200)).toBeNull();
  });

  test("throws where the descriptor cannot be written, with the errno's name", () => {
    const from = file("from", Buffer.alloc(10));
    const to = file("to", Buffer.alloc(10), "r");
    expect(() => copyRange(from, 0, to, 0, 10)).toThrow(
      expect.objectContaining({ code: "EBADF", syscall: "copy_file_range" }),
    );
  });
});

describe("whether a folder's files can share blocks", () => {
  test("is tried, and leaves nothing behind", () => {
    expect(sharesBlocks(folder)).toBeBoolean();
    expect(readdirSync(folder)).toEqual([]);
  });

  test("is no in memory (tmpfs), where no file can", () => {
    const memory = mkdtempSync("/dev/shm/migrate-copy-");
    try {
      expect(sharesBlocks(memory)).toBe(false);
    } finally {
      rmSync(memory, { recursive: true });
    }
  });

  test("of a folder that is not there is an error", () => {
    expect(existsSync(join(folder, "none"))).toBe(false);
    expect(() => sharesBlocks(join(folder, "none"))).toThrow(expect.objectContaining({ code: "ENOENT" }));
  });
});
