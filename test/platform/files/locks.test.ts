import { describe, expect, test } from "bun:test";
import { closeSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import {
  holdAgainstQemu,
  isLocked,
  qemuHolds,
  supportsLocks,
  tryFlock,
} from "../../../src/platform/files/locks.ts";
import { lockByte, readLock, writeLock } from "../../support/system/lock-byte.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder: string;
let fds: number[];

eachTestInFolder("migrate-locks-", (made) => {
  folder = made;
  fds = [];
  closeSync(openSync(join(folder, "disk"), "w"));
  return () => {
    for (const fd of fds) closeSync(fd);
  };
});

/** A new open file description of the disk: to the locks, another process. */
function open(flags = "r"): number {
  const fd = openSync(join(folder, "disk"), flags);
  fds.push(fd);
  return fd;
}

function close(fd: number): void {
  closeSync(fd);
  fds = fds.filter((other) => other !== fd);
}

describe("flock", () => {
  test("one at a time, and the next one once the first is closed", () => {
    const first = open();
    const second = open();
    expect(tryFlock(first)).toBe(true);
    expect(tryFlock(second)).toBe(false);
    expect(tryFlock(first)).toBe(true);
    close(first);
    expect(tryFlock(second)).toBe(true);
  });

  test("a descriptor that is not open is an error, not a lock", () => {
    expect(() => tryFlock(-1)).toThrow(expect.objectContaining({ code: "EBADF" }));
  });
});

describe("the locks of QEMU", () => {
  // block/file-posix.c: byte 100 + n for a permission in use; 1 is write, 3 is resize.
  for (const byte of [101, 103]) {
    test(`byte ${byte} in use means that a QEMU changes the image`, () => {
      expect(lockByte(open(), byte, readLock)).toBe(true);
      expect(qemuHolds(open())).toBe(true);
    });
  }

  for (const byte of [100, 102, 201, 203]) {
    test(`byte ${byte} in use does not`, () => {
      expect(lockByte(open(), byte, readLock)).toBe(true);
      expect(qemuHolds(open())).toBe(false);
    });
  }

  test("a free image is not held, and its own description's locks do not count", () => {
    const fd = open();
    expect(qemuHolds(fd)).toBe(false);
    expect(lockByte(fd, 101, readLock)).toBe(true);
    expect(qemuHolds(fd)).toBe(false);
  });

  test("a hold denies bytes 201 and 203, and nothing else, until it is closed", () => {
    const held = open();
    expect(holdAgainstQemu(held)).toBe(true);
    const other = open("r+");
    const denied = [100, 101, 102, 103, 200, 201, 202, 203].filter(
      (byte) => !lockByte(other, byte, writeLock),
    );
    expect(denied).toEqual([201, 203]);
    close(held);
    expect(lockByte(other, 201, writeLock)).toBe(true);
  });

  test("two may hold one image against QEMU", () => {
    expect(holdAgainstQemu(open())).toBe(true);
    expect(holdAgainstQemu(open())).toBe(true);
  });

  test("a hold fails against a writer and leaves nothing behind", () => {
    const writer = open("r+");
    expect(lockByte(writer, 101, readLock)).toBe(true);
    const fd = open();
    expect(holdAgainstQemu(fd)).toBe(false);
    expect(lockByte(writer, 201, writeLock)).toBe(true);
    expect(lockByte(writer, 203, writeLock)).toBe(true);
  });

  test("a hold that fails at its second byte gives the first one back", () => {
    const other = open("r+");
    expect(lockByte(other, 203, writeLock)).toBe(true);
    expect(holdAgainstQemu(open())).toBe(false);
    expect(lockByte(other, 201, writeLock)).toBe(true);
  });

  test("asking of a descriptor that is not open is an error", () => {
    expect(() => qemuHolds(-1)).toThrow(expect.objectContaining({ code: "EBADF" }));
    expect(() => holdAgainstQemu(-1)).toThrow(expect.objectContaining({ code: "EBADF" }));
  });
});

test("a folder's file system is asked for these locks, and nothing stays there", () => {
  expect(supportsLocks(folder)).toBe(true);
  expect(supportsLocks("/dev/shm")).toBe(true);
  expect(readdirSync(folder).filter((name) => name.startsWith(".migrate-probe"))).toEqual([]);
});

test("any lock anywhere in a file shows as locked", () => {
  const fd = open();
  expect(isLocked(fd)).toBe(false);
  lockByte(open(), 5000, readLock);
  expect(isLocked(fd)).toBe(true);
});
