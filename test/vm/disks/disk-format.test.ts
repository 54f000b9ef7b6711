import { describe, expect, test } from "bun:test";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { checkSelfContained, readDiskFormat } from "../../../src/vm/disks/disk-format.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder: string;
let path: string;
eachTestInFolder("migrate-disk-", (made) => {
  folder = made;
  path = join(folder, "disk");
});

interface Header {
  version: number;
  backingFileOffset?: bigint;
  size?: bigint;
  incompatible?: bigint;
}

/** A qcow2 header as docs/interop/qcow2.rst draws it, with what this test cares about filled in. */
function header({ version, backingFileOffset = 0n, size = 0n, incompatible = 0n }: Header): Buffer {
  const bytes = Buffer.alloc(version === 3 ? 104 : 72);
  bytes.write("QFI\xfb", 0, "latin1");
  bytes.writeUInt32BE(version, 4);
  bytes.writeBigUInt64BE(backingFileOffset, 8);
  bytes.writeBigUInt64BE(size, 24);
  if (version === 3) bytes.writeBigUInt64BE(incompatible, 72);
  return bytes;
}

function write(bytes: Uint8Array): string {
  writeFileSync(path, bytes);
  return path;
}

const raw = { format: "raw", backingFile: false, dataFile: false } as const;

describe("the format of a disk", () => {
  test("is raw for an empty file, a short one, and any bytes", () => {
    expect(readDiskFormat(write(Buffer.alloc(0)))).toEqual(raw);
    expect(readDiskFormat(write(Buffer.from("QFI\xfb", "latin1")))).toEqual(raw);
    expect(readDiskFormat(write(Buffer.alloc(4096, 0x55)))).toEqual(raw);
  });

  test("is raw where a qcow2 header is cut short or of a version that does not exist", () => {
    expect(readDiskFormat(write(header({ version: 3, incompatible: 4n }).subarray(0, 103)))).toEqual(raw);
    expect(readDiskFormat(write(header({ version: 2 }).subarray(0, 71)))).toEqual(raw);
    expect(readDiskFormat(write(header({ version: 9, backingFileOffset: 1n })))).toEqual(raw);
  });

  for (const version of [2, 3]) {
    test(`is qcow2 of version ${version} with its size`, () => {
      const size = 5n * 2n ** 40n;
      expect(readDiskFormat(write(header({ version, size })))).toEqual({
        format: "qcow2",
        backingFile: false,
        dataFile: false,
        virtualBytes: Number(size),
      });
    });

    test(`shows a backing file in version ${version}`, () => {
      expect(readDiskFormat(write(header({ version, backingFileOffset: 2n ** 40n }))).backingFile).toBe(true);
    });
  }

  test("shows an external data file in version 3, and only by its own bit", () => {
    expect(readDiskFormat(write(header({ version: 3, incompatible: 0b100n }))).dataFile).toBe(true);
    expect(readDiskFormat(write(header({ version: 3, incompatible: 0b11011n }))).dataFile).toBe(false);
  });

  test("takes bytes behind a version 2 header for what they are", () => {
    const bytes = Buffer.concat([header({ version: 2 }), Buffer.alloc(64, 0xff)]);
    expect(readDiskFormat(write(bytes)).dataFile).toBe(false);
  });

  test("leaves out a size that no number holds", () => {
    expect("virtualBytes" in readDiskFormat(write(header({ version: 3, size: 2n ** 60n })))).toBe(false);
  });

  test("is read through a descriptor too, from the start wherever that stands", () => {
    const fd = openSync(write(header({ version: 3, backingFileOffset: 512n })), "r");
    try {
      expect(readDiskFormat(fd).backingFile).toBe(true);
      expect(readDiskFormat(fd).backingFile).toBe(true);
    } finally {
      closeSync(fd);
    }
  });
});

describe("a disk that is not whole", () => {
  test("is refused with what it lacks and how to make it whole", () => {
    for (const [bytes, lacks] of [
      [header({ version: 3, backingFileOffset: 512n }), "it has a backing file"],
      [header({ version: 3, incompatible: 4n }), "it keeps its data in another file"],
    ] as const) {
      write(bytes);
      try {
        checkSelfContained(path, "web1.qcow2");
        throw new Error("it was not refused");
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(MigrateError);
        const error = thrown as MigrateError;
        expect(error.code).toBe("vm-invalid");
        expect(error.message).toBe(`web1.qcow2 is not a whole disk: ${lacks}`);
        expect(error.hint).toContain("qemu-img convert");
        expect(error.hint).not.toContain(folder);
      }
    }
  });

  test("is another thing than a whole one", () => {
    checkSelfContained(write(header({ version: 3 })));
    checkSelfContained(write(Buffer.alloc(10)));
  });
});
