import { describe, expect, test } from "bun:test";
import { closeSync, openSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkImage, type ImageCheck } from "../../../src/vm/disks/disk-format.ts";
import { refusalOf } from "../../support/system/refusals.ts";
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
  crypt?: number;
}

/** A qcow2 header as docs/interop/qcow2.rst draws it, with what this test cares about filled in. */
function header({
  version,
  backingFileOffset = 0n,
  size = 0n,
  incompatible = 0n,
  crypt = 0,
}: Header): Buffer {
  const bytes = Buffer.alloc(version === 3 ? 104 : 72);
  bytes.write("QFI\xfb", 0, "latin1");
  bytes.writeUInt32BE(version, 4);
  bytes.writeBigUInt64BE(backingFileOffset, 8);
  bytes.writeBigUInt64BE(size, 24);
  bytes.writeUInt32BE(crypt, 32);
  if (version === 3) bytes.writeBigUInt64BE(incompatible, 72);
  return bytes;
}

function write(bytes: Uint8Array): string {
  writeFileSync(path, bytes);
  return path;
}

const ask = (more: Partial<ImageCheck> = {}) =>
  checkImage(path, { shownAs: "web1.img", declared: undefined, ...more });
const refused = (more?: Partial<ImageCheck>) => refusalOf(() => ask(more), "vm-invalid");

/** Images that name a file of the host's, or that a reader could not know: none is whole by itself. */
const unwhole: [string, Uint8Array, string][] = [
  [
    "version 2 with a backing file",
    header({ version: 2, backingFileOffset: 2n ** 40n }),
    "it has a backing file",
  ],
  ["version 3 with a backing file", header({ version: 3, backingFileOffset: 512n }), "it has a backing file"],
  ["an external data file", header({ version: 3, incompatible: 4n }), "it keeps its data in another file"],
  [
    "a feature that nobody knows",
    header({ version: 3, incompatible: 32n }),
    "needs a feature of qcow2 that is not known",
  ],
];

/** Images of other formats as QEMU tells them (bdrv_probe of block/*.c). */
const foreign: [string, string, Uint8Array][] = [
  ["VMDK", "a sparse extent", text("KDMV\x01\0\0\0")],
  ["VMDK", "an old one", text("COWD\x01\0\0\0")],
  [
    "VMDK",
    "a description that names extents",
    text('# Disk DescriptorFile\nversion=1\nRW 1 FLAT "/etc/shadow" 0\n'),
  ],
  ["VMDK", "a description behind comments", text('#\n   \n# x\nversion=3\r\nRW 1 FLAT "/etc/shadow" 0\n')],
  ["VDI", "", text(`${"<<< disk image >>>".padEnd(64, "\0")}\x7f\x10\xda\xbe`)],
  ["VHD", "a dynamic one", text("conectix")],
  [
    "VHD",
    "a fixed one, which says so at its end",
    Buffer.concat([Buffer.alloc(8192, 1), text("conectix".padEnd(512, "\0"))]),
  ],
  ["VHDX", "", text("vhdxfile")],
  ["QED", "", text("QED\0")],
  ["Parallels", "", text("WithoutFreeSpace")],
  ["Parallels", "an extended one", text("WithouFreSpacExt")],
  ["LUKS", "", text("LUKS\xba\xbe\0\x01")],
  ["DMG", "", Buffer.concat([Buffer.alloc(8192, 1), text("koly".padEnd(512, "\0"))])],
  [
    "cloop",
    "",
    text("#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$1 && mount -r -t iso9660 /dev/cloop $1\n"),
  ],
  ["Bochs", "", text("Bochs Virtual HD Image\0")],
  ["qcow", "", header({ version: 1 })],
];

function text(latin1: string): Buffer {
  return Buffer.from(latin1, "latin1");
}

describe("an image that is declared raw", () => {
  // [IMG-2]
  test.each([
    ...unwhole.map(([how, bytes]) => [how, bytes] as const),
    ...foreign.map(([format, , bytes]) => [format, bytes] as const),
  ])("is raw whatever a guest wrote on it: %s", (_how, bytes) => {
    write(bytes);
    expect(ask({ declared: "raw", forQemu: true })).toBe("raw");
  });

  test("is not even opened", () => {
    expect(checkImage(join(folder, "not there"), { shownAs: "x", declared: "raw" })).toBe("raw");
  });
});

// [IMG-3]
describe("an image that is declared qcow2", () => {
  test.each([2, 3])("is one with a whole head of version %d", (version) => {
    write(header({ version, size: 2n ** 40n, incompatible: version === 3 ? 0b11011n : 0n }));
    expect(ask({ declared: "qcow2", forQemu: true })).toBe("qcow2");
  });

  test.each(unwhole)("is refused with %s", (_how, bytes, says) => {
    write(bytes);
    const error = refused({ declared: "qcow2" });
    expect(error.message).toContain(says);
    // It was declared: that it might be raw is no way out.
    expect(error.hint ?? "").not.toContain("raw");
  });

  test.each([
    ["is empty", Buffer.alloc(0)],
    ["is zeros", Buffer.alloc(4096)],
    ["is of a version that does not exist", header({ version: 4 })],
    ["is cut short", header({ version: 3 }).subarray(0, 103)],
    ["is cut short in version 2", header({ version: 2 }).subarray(0, 71)],
    ["is VMDK", text("KDMV")],
  ])("is refused where its head %s", (_how, bytes) => {
    write(bytes);
    expect(refused({ declared: "qcow2" }).message).toBe(
      "web1.img has no head of a qcow2 image, as which it was declared",
    );
  });

  test("is refused if it is encrypted and a QEMU is to open it, and goes as it is otherwise", () => {
    write(header({ version: 3, crypt: 2 }));
    expect(refused({ declared: "qcow2", forQemu: true }).message).toContain("is encrypted");
    expect(ask({ declared: "qcow2" })).toBe("qcow2");
  });

  test("is read through a descriptor too, from the start wherever that stands", () => {
    const fd = openSync(write(header({ version: 3 })), "r");
    try {
      for (const _ of [1, 2]) expect(checkImage(fd, { shownAs: "x", declared: "qcow2" })).toBe("qcow2");
    } finally {
      closeSync(fd);
    }
  });

  test("is not looked for behind a link", () => {
    write(header({ version: 3 }));
    symlinkSync(path, join(folder, "link"));
    expect(() => checkImage(join(folder, "link"), { shownAs: "x", declared: "qcow2" })).toThrow("ELOOP");
  });
});

describe("an image of which nobody says what it is", () => {
  test.each([2, 3])("is qcow2 with a whole head of version %d", (version) => {
    write(header({ version }));
    expect(ask()).toBe("qcow2");
  });

  test.each([
    ["nothing", Buffer.alloc(0)],
    ["one byte", Buffer.alloc(1, 1)],
    ["any bytes", Buffer.alloc(4096, 0x55)],
    ["a comment", text("# a note\nof a guest's")],
  ])("is raw with %s in it", (_what, bytes) => {
    write(bytes);
    expect(ask()).toBe("raw");
  });

  test.each(foreign)("is refused if it looks like %s (%s), with what to do", (format, _how, bytes) => {
    write(bytes);
    const error = refused({ declareRaw: "say so" });
    expect(error.message).toBe(`web1.img looks like a disk image of the format ${format}`);
    expect(error.hint).toEndWith("f it is a raw disk on which a guest wrote that, say so");
    // No command of ours lets a program guess: what it would find, a guest may have written.
    if (format !== "LUKS") expect(error.hint).toMatch(/qemu-img convert -f [a-z0-9]+ -O qcow2 web1\.img /);
  });

  test.each(unwhole)("is refused with %s", (_how, bytes, says) => {
    write(bytes);
    const error = refused({ declareRaw: "say so" });
    expect(error.message).toContain(says);
    expect(error.hint).toContain("qemu-img convert -f qcow2 -O qcow2 web1.img NEW.qcow2");
    expect(error.hint).toEndWith("say so");
  });

  test.each([
    ["is of a version that does not exist", header({ version: 4 })],
    ["is cut short", header({ version: 3 }).subarray(0, 103)],
  ])("is refused where it begins like qcow2 and %s", (_how, bytes) => {
    write(bytes);
    const { message } = refused();
    expect(message).toBe("web1.img begins like a qcow2 image of a kind that is not known");
  });
});
