import { describe, expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  renameSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { adHocVm, type Vm } from "../../../src/vm/folder/vm-folder.ts";
import { unsettledMs, WatchedFiles } from "../../../src/vm/folder/watched-files.ts";
import { lockByte, readLock, writeLock } from "../../support/system/lock-byte.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let [folder, ram, disk] = ["", "", ""];
let closers: (() => void)[];

eachTestInFolder("migrate-quiet-", (made) => {
  folder = made;
  ram = join(folder, "a.ram");
  disk = join(folder, "a.raw");
  closers = [];
  for (const path of [ram, disk]) {
    writeFileSync(path, "x".repeat(5000));
    // Long ago, so that a write in the same tick of the clock shows too.
    utimesSync(path, 1_000_000_000, 1_000_000_000);
  }
  return () => {
    for (const close of closers) close();
  };
});

const theVm = (): Vm => adHocVm({ name: "web1", ram, disks: [disk] });

function openWatched(vm = theVm()): WatchedFiles {
  const watched = WatchedFiles.open(vm);
  closers.push(() => watched.close());
  return watched;
}

/** Locks one byte of a file through a description of its own, as another process would. */
function lockByteOf(path: string, byte: number, type: "read" | "write"): boolean {
  const fd = openSync(path, "r+");
  closers.push(() => closeSync(fd));
  return lockByte(fd, byte, type === "read" ? readLock : writeLock);
}

describe("watched files", () => {
  test("verify for as long as nobody touches them, reading included", () => {
    const watched = openWatched();
    expect(fstatSync(watched.fd(0)).ino).toBe(fstatSync(openAndClose(ram)).ino);
    watched.verify();
    watched.verify();
    expect(watched.unguarded).toEqual([]);
  });

  test("give their descriptors back, once", () => {
    const watched = WatchedFiles.open(theVm());
    const fd = watched.fd(0);
    watched.close();
    expect(() => fstatSync(fd)).toThrow(expect.objectContaining({ code: "EBADF" }));
    watched.close();
  });

  const changes: [what: string, change: (path: string) => void, sentence: string][] = [
    ["is written to", (path) => overwrite(path), "changed"],
    [
      "is written to and its time set back",
      (path) => {
        overwrite(path);
        utimesSync(path, 1_000_000_000, 1_000_000_000);
      },
      "changed",
    ],
    ["grew", (path) => appendFileSync(path, "x"), "grew"],
    ["shrank", (path) => truncateSync(path, 4999), "shrank"],
    ["vanished", (path) => unlinkSync(path), "vanished"],
    ["was renamed", (path) => renameSync(path, `${path}.old`), "vanished"],
    [
      "was replaced by one of the same size and time",
      (path) => {
        const other = `${path}.new`;
        writeFileSync(other, "y".repeat(5000));
        utimesSync(other, 1_000_000_000, 1_000_000_000);
        renameSync(other, path);
      },
      "was replaced by another file",
    ],
    ["has got other rights", (path) => chmodSync(path, 0o400), "changed"],
  ];
  for (const [what, change, sentence] of changes) {
    test(`do not verify once one ${what}`, () => {
      for (const path of [ram, disk]) {
        const watched = openWatched();
        change(path);
        const error = refusalOf(() => watched.verify());
        expect(error.code).toBe("source-changed");
        // The peer may read this: no folder in it.
        expect(error.message).toBe(
          `${path === ram ? "a.ram" : "a.raw"} ${sentence} since the migration began`,
        );
        watched.close();
        writeFileSync(path, "x".repeat(5000));
        utimesSync(path, 1_000_000_000, 1_000_000_000);
      }
    });
  }

  for (const [what, change, sentence] of changes.filter(([what]) => !/rights|set back/.test(what))) {
    test(`are refused where one ${what} before they were opened`, () => {
      const vm = theVm();
      change(disk);
      const error = refusalOf(() => openWatched(vm));
      expect(error.code).toBe("source-changed");
      expect(error.message).toContain(sentence);
    });
  }
});

describe("files that somebody uses", () => {
  for (const byte of [101, 103]) {
    test(`are refused where QEMU's lock is on byte ${byte} of a disk, and nothing stays open or locked`, () => {
      const other = join(folder, "b.raw");
      writeFileSync(other, "x");
      expect(lockByteOf(disk, byte, "read")).toBe(true);
      const error = refusalOf(() => WatchedFiles.open(adHocVm({ name: "web1", disks: [other, disk] })));
      expect(error.code).toBe("vm-running");
      expect(error.message).toContain(
        "a.raw is in use by a running QEMU; suspend the VM and quit QEMU first",
      );
      expect(lockByteOf(other, 201, "write")).toBe(true);
    });
  }

  test("are refused where QEMU's lock is on the RAM's file", () => {
    expect(lockByteOf(ram, 101, "read")).toBe(true);
    expect(refusalOf(() => openWatched()).code).toBe("vm-running");
  });

  test("keep QEMU's bytes denied on the disks until they are closed", () => {
    const watched = openWatched();
    expect(lockByteOf(disk, 201, "write")).toBe(false);
    expect(lockByteOf(disk, 203, "write")).toBe(false);
    watched.close();
    expect(lockByteOf(disk, 201, "write")).toBe(true);
  });

  test("are refused where the lock of the TPM's state is taken, and not where it merely exists", () => {
    const state = join(folder, "state");
    mkdirSync(state);
    writeFileSync(join(state, "tpm2-00.permall"), "state");
    writeFileSync(join(state, ".lock"), "");
    const vm = adHocVm({ name: "web1", disks: [], tpmStateDir: state });
    openWatched(vm);
    expect(lockByteOf(join(state, ".lock"), 0, "write")).toBe(true);
    const error = refusalOf(() => openWatched(vm));
    expect(error.code).toBe("vm-running");
    expect(error.message).toContain("running swtpm");
  });
});

describe("the times of a file might stay as they are after another write", () => {
  const nowMs = 1_700_000_000_500;
  const left = (mtimeMs: number, ctimeMs = mtimeMs, ns = 1n) =>
    unsettledMs(
      { mtimeNs: BigInt(mtimeMs) * 1_000_000n + ns, ctimeNs: BigInt(ctimeMs) * 1_000_000n + ns },
      nowMs,
    );

  test("not at all if it was last written long ago", () => {
    expect(left(nowMs - 60_000)).toBe(0);
    expect(left(nowMs - 21)).toBe(0);
  });

  test("for the rest of a tick if it has just been written, or had its times set back", () => {
    expect(left(nowMs)).toBe(20);
    expect(left(nowMs - 5)).toBe(15);
    expect(left(nowMs - 60_000, nowMs - 5)).toBe(15);
  });

  test("for up to two seconds if the file system counts whole ones", () => {
    expect(left(nowMs - 500, nowMs - 500, 0n)).toBe(1_500);
    expect(left(nowMs - 2_500, nowMs - 2_500, 0n)).toBe(0);
  });

  test("for one tick and no longer if its clock is ahead of ours", () => {
    expect(left(nowMs + 3_600_000)).toBe(20);
  });
});

function overwrite(path: string): void {
  const fd = openSync(path, "r+");
  try {
    writeSync(fd, "y", 100);
  } finally {
    closeSync(fd);
  }
}

function openAndClose(path: string): number {
  const fd = openSync(path, "r");
  closers.push(() => closeSync(fd));
  return fd;
}
