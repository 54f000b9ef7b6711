/**
 * What a store has of a VM that is about to arrive: some of its blocks in their places, others elsewhere,
 * and some not at all, so that every kind of answer to a description comes up.
 */
import { closeSync, ftruncateSync, mkdirSync, openSync, readSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { nextData } from "../../../src/platform/files/holes.ts";
import { limits } from "../../../src/protocol/limits.ts";
import type { SmallFile, SmallVm, SmallVmOptions } from "./small-vm.ts";

const blocksPerChunk = limits.chunkBytes / limits.blockBytes;

const { blockBytes, chunkBytes } = limits;
const mebibyte = 1024 ** 2;

/** The name of the base, for `send --base`. */
export const baseName = "golden";

/** A VM whose chunks are answered by ACK, by WANT for all, and by WANT for some of their blocks. */
export const describedVm: Pick<SmallVmOptions, "ram" | "disks" | "content"> = {
  ram: { bytes: mebibyte + 345, extents: [{ at: 4096, bytes: 300_000 }] },
  disks: [
    {
      bytes: 8 * mebibyte + 777,
      extents: [
        { at: 0, bytes: 2 * mebibyte + 400_000 },
        { at: 3 * mebibyte + 100, bytes: 5 * mebibyte + 677 },
      ],
    },
  ],
  content: "compressible",
};

/** Which of a chunk's blocks the base has in their place: by turns all, every other one, none, all but the last. */
const inPlace: ((block: number) => boolean)[] = [
  () => true,
  (block) => block % 2 === 0,
  () => false,
  (block) => block !== blocksPerChunk - 1,
];

/**
 * Puts two VMs into a store that nobody serves yet: the base, which has the same files with some other
 * blocks, and one that has half of those others at other places, where an index alone finds them.
 */
export function storeBase(vm: SmallVm, store: string): void {
  const files = vm.files.filter(({ kind }) => kind !== "tpm");
  const base = join(store, baseName);
  const elsewhere = join(store, "elsewhere");
  for (const folder of [base, elsewhere]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  const pieces = openSync(join(elsewhere, "pieces.raw"), "wx", 0o600);
  try {
    for (const file of files) storeFile(file, join(base, file.base), pieces);
  } finally {
    closeSync(pieces);
  }
  const manifest = {
    format: "migrate-vm/1",
    name: baseName,
    files: files.map((file) => ({ kind: file.kind, file: file.base })),
  };
  writeFileSync(join(base, "vm.json"), JSON.stringify(manifest));
}

function storeFile(file: SmallFile, path: string, pieces: number): void {
  const [from, to] = [openSync(file.path, "r"), openSync(path, "wx", 0o600)];
  try {
    ftruncateSync(to, file.bytes);
    const room = Buffer.alloc(chunkBytes);
    for (let at = nextData(from, 0); at !== null && at < file.bytes; at = nextData(from, at)) {
      const chunk = Math.floor(at / chunkBytes);
      at = chunk * chunkBytes;
      const data = room.subarray(0, readSync(from, room, 0, chunkBytes, at));
      for (let block = 0; block * blockBytes < data.length; block++) {
        if (inPlace[chunk % inPlace.length]!(block)) continue;
        const bytes = data.subarray(block * blockBytes, (block + 1) * blockBytes);
        if (bytes.length === blockBytes && block % 8 < 4) writeSync(pieces, bytes);
        bytes.fill("another block than that of the VM\n");
      }
      writeSync(to, data, 0, data.length, at);
      at += data.length;
    }
  } finally {
    closeSync(from);
    closeSync(to);
  }
}
