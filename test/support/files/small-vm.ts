/** A VM for tests: small, sparse, with sizes that are no multiple of a page, its bytes made from a seed. */
import { createCipheriv, createHash } from "node:crypto";
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { basename, join } from "node:path";
import type { VmSpec } from "../../../src/migration/providers/candidates.ts";
import { nextData } from "../../../src/platform/files/holes.ts";
import { chunkCount, limits } from "../../../src/protocol/limits.ts";
import type { FileKind } from "../../../src/protocol/offer.ts";

/** Data at one place of a file, in bytes; the rest of the file is a hole or zeros. */
export interface Extent {
  at: number;
  bytes: number;
}

export interface SmallFile {
  kind: FileKind;
  path: string;
  /** Path below the VM's folder at the destination. */
  base: string;
  bytes: number;
  /** What `hashOf` gives for the whole file. */
  hash: string;
  /** Chunks that are not all zero. */
  dataChunks: number[];
}

export interface SmallVm {
  name: string;
  folder: string;
  files: SmallFile[];
  /** The VM as `sendVm` takes it. */
  spec: VmSpec;
  /** Chunks of all files that hold data: what a send that is not disturbed sends. */
  dataChunks: number;
}

export interface SmallVmOptions {
  name?: string;
  /** Null for a VM that is switched off. */
  ram?: { bytes: number; extents: Extent[] } | null;
  disks?: { bytes: number; extents: Extent[] }[];
  /** Files of a virtual TPM by their name. */
  tpm?: Record<string, number>;
  seed?: number;
  /** Bytes that nothing makes smaller, or such as zstd makes thirty times smaller; random where it is absent. */
  content?: "random" | "compressible";
}

const mebibyte = 1024 ** 2;

/**
 * RAM of 2 MiB and a bit with zero pages inside, and a disk of 7 MiB and a bit that is mostly a hole:
 * together just enough for two lanes.
 */
export const usualRam = {
  bytes: 2 * mebibyte + 12_345,
  extents: [
    { at: 0, bytes: 10_000 },
    { at: 64 * 1024, bytes: 300_000 },
    { at: 2 * mebibyte - 5_000, bytes: 17_345 },
  ],
};
export const usualDisk = {
  bytes: 7 * mebibyte + 777,
  extents: [
    { at: 0, bytes: 4096 },
    { at: 3 * mebibyte + 100, bytes: 2 * mebibyte },
    { at: 7 * mebibyte, bytes: 777 },
  ],
};

/**
 * Makes the folder FOLDER with the VM's files and a vm.json in it. Every seed gives other bytes, no
 * block of which is like another, and no page of the data is zero.
 */
export function makeSmallVm(folder: string, options: SmallVmOptions = {}): SmallVm {
  const { name = basename(folder), ram = usualRam, disks = [usualDisk], tpm = {}, seed = 1 } = options;
  mkdirSync(folder, { recursive: true });
  const random = options.content === "compressible" ? compressibleStream(seed) : randomStream(seed);
  const files: SmallFile[] = [];
  const add = (kind: FileKind, base: string, bytes: number, extents: Extent[]) => {
    const path = join(folder, base);
    writeExtents(path, bytes, extents, random);
    files.push({ kind, path, base, bytes, hash: hashOf(path), dataChunks: chunksOf(extents) });
  };
  if (ram !== null) add("ram", `${name}.ram`, ram.bytes, ram.extents);
  for (const [i, { bytes, extents }] of disks.entries()) add("disk", `${name}-${i}.raw`, bytes, extents);
  for (const [file, bytes] of Object.entries(tpm)) {
    mkdirSync(join(folder, "tpm"), { recursive: true });
    add("tpm", `tpm/${file}`, bytes, [{ at: 0, bytes }]);
  }
  writeFileSync(join(folder, "vm.json"), manifestOf(name, files));
  return {
    name,
    folder,
    files,
    spec: { folder },
    dataChunks: files.reduce((sum, { dataChunks }) => sum + dataChunks.length, 0),
  };
}

/** The text of a vm.json as a person would write it. */
function manifestOf(name: string, files: SmallFile[]): string {
  return JSON.stringify({
    format: "migrate-vm/1",
    name,
    files: files.map(({ kind, base }) => ({ kind, file: base })),
  });
}

/** Writes other bytes over a part of a file and gives what it has become. */
export function overwrite(file: SmallFile, at: number, bytes: Buffer): SmallFile {
  const fd = openSync(file.path, "r+");
  try {
    writeSync(fd, bytes, 0, bytes.length, at);
  } finally {
    closeSync(fd);
  }
  return { ...file, bytes: statSync(file.path).size, hash: hashOf(file.path) };
}

/**
 * Tells files of a test apart, fast (xxHash3): nobody tries to fool it. The same for zeros and for a
 * hole; a file that is mostly holes may be of any size.
 */
export function hashOf(path: string): string {
  const fd = openSync(path, "r");
  try {
    const { size } = fstatSync(fd);
    const parts = [String(size)];
    const room = Buffer.alloc(limits.chunkBytes);
    for (let at = nextData(fd, 0); at !== null && at < size; at = nextData(fd, at)) {
      at -= at % room.length;
      const read = readSync(fd, room, 0, room.length, at);
      const data = room.subarray(0, read);
      if (!data.equals(zeros.subarray(0, read))) parts.push(`${at}:${Bun.hash.xxHash3(data)}`);
      at += room.length;
    }
    return parts.join(" ");
  } finally {
    closeSync(fd);
  }
}

const zeros = Buffer.alloc(limits.chunkBytes);

/** An endless stream of bytes that depends on the seed alone. */
export function randomStream(seed: number): (bytes: number) => Buffer {
  const key = createHash("sha256").update(`small vm ${seed}`).digest().subarray(0, 16);
  const cipher = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
  return (bytes) => cipher.update(Buffer.alloc(bytes));
}

/** As `randomStream`, but every page says the same few bytes over and over. */
function compressibleStream(seed: number): (bytes: number) => Buffer {
  const random = randomStream(seed);
  return (bytes) => {
    const data = Buffer.allocUnsafe(bytes);
    for (let at = 0; at < bytes; at += limits.pageBytes) {
      data.fill(random(32).toString("hex"), at, Math.min(bytes, at + limits.pageBytes));
    }
    return data;
  };
}

function writeExtents(
  path: string,
  bytes: number,
  extents: readonly Extent[],
  random: (bytes: number) => Buffer,
): void {
  const fd = openSync(path, "wx");
  try {
    ftruncateSync(fd, bytes);
    for (const extent of extents) writeSync(fd, random(extent.bytes), 0, extent.bytes, extent.at);
  } finally {
    closeSync(fd);
  }
}

function chunksOf(extents: readonly Extent[]): number[] {
  const chunks = new Set<number>();
  for (const { at, bytes } of extents) {
    const first = Math.floor(at / limits.chunkBytes);
    for (let i = first; i < chunkCount(at + bytes); i++) chunks.add(i);
  }
  return [...chunks].sort((a, b) => a - b);
}
