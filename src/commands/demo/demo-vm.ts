/** A suspended VM for the demo: RAM and a disk with the mix that real ones have. */

import { randomFillSync } from "node:crypto";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";

const MiB = 1024 ** 2;
const pageBytes = 4096;

const demoRamBytes = 256 * MiB;
const demoDiskBytes = 1024 * MiB;

/** Where the disk's data lies: starts and lengths in MiB, 200 MiB together; the rest are holes. */
const diskExtentsMiB: readonly (readonly [start: number, length: number])[] = [
  [0, 8],
  [64, 72],
  [300, 48],
  [511, 40],
  [990, 24],
  [1016, 8],
];

export interface DemoVm {
  ram: string;
  disk: string;
  /** Logical size of both files. */
  bytes: number;
}

/** Writes both files into `folder`: about 460 MiB on disk. Throws as node:fs does. */
export function writeDemoVm(folder: string): DemoVm {
  const ram = join(folder, "demo.ram");
  const disk = join(folder, "demo.img");
  // The RAM last, as whoever saves a VM does.
  writeDisk(disk);
  writeRam(ram);
  return { ram, disk, bytes: demoRamBytes + demoDiskBytes };
}

/** A page in two is zero, one in four reads like text, one in four is random (keys, caches, compressed data). */
function writeRam(path: string): void {
  const piece = Buffer.alloc(MiB);
  const descriptor = openSync(path, "wx", 0o600);
  try {
    for (let at = 0; at < demoRamBytes; at += MiB) {
      piece.fill(0);
      for (let page = 0; page < MiB; page += pageBytes) {
        const kind = (at / MiB + page / pageBytes) % 4;
        const target = piece.subarray(page, page + pageBytes);
        if (kind === 1) fillWithText(target, at + page);
        else if (kind === 3) randomFillSync(target);
      }
      writeSync(descriptor, piece);
    }
  } finally {
    closeSync(descriptor);
  }
}

function writeDisk(path: string): void {
  const piece = Buffer.alloc(MiB);
  const descriptor = openSync(path, "wx", 0o600);
  try {
    ftruncateSync(descriptor, demoDiskBytes);
    for (const [start, length] of diskExtentsMiB) {
      for (let index = start; index < start + length; index += 1) {
        if (index % 2 === 0) randomFillSync(piece);
        else fillWithText(piece, index);
        writeSync(descriptor, piece, 0, MiB, index * MiB);
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Log lines with a running number: compressible as logs are. */
function fillWithText(target: Buffer, seed: number): void {
  let at = 0;
  for (let line = 0; at < target.length; line += 1)
    at += target.write(
      `${seed + line} web1 nginx[812]: GET /index.html HTTP/1.1 200 ${(seed * 31 + line * 7) % 9973}\n`,
      at,
    );
}
