/**
 * Ways of reading and writing a file, side by side: `bun run bench io`. What a lane does at either end was
 * chosen by this.
 */
import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { startWriteback } from "../../../src/platform/files/writeback.ts";
import { fallocate } from "../../../src/platform/libc.ts";
import { BenchArguments } from "../../support/runner/bench-arguments.ts";
import { median } from "../statistics.ts";

export const usage = `bun run bench io [--folder DIR] [--size 1024] [--rounds 5]

  --folder  on the file system that is measured (default /dev/shm)
  --size    MiB of the file (default 1024)
  --rounds  how often each way is taken, interleaved (default 5)`;

const kib = 1024;
const mib = 1024 * kib;

type Way = () => void;

/** Measures and prints a table. Throws where the options make no sense. */
export function benchIo(args: string[], say: (text: string) => void): void {
  const given = new BenchArguments(args, "--folder /dev/shm --size 1024 --rounds 5");
  const [sizeMiB, rounds] = [Number(given.text("--size")), Number(given.text("--rounds"))];
  if (!(sizeMiB >= 16 && rounds >= 1)) throw new Error("--size takes 16 and more, --rounds 1 and more");
  const folder = mkdtempSync(join(given.text("--folder"), "migrate-bench-io-"));
  const source = join(folder, "source");
  const bytes = sizeMiB * mib;
  try {
    const random = Buffer.allocUnsafeSlow(mib);
    for (let at = 0; at < mib; at += 65_536) crypto.getRandomValues(random.subarray(at, at + 65_536));
    const fd = openSync(source, "wx");
    for (let at = 0; at < bytes; at += mib) writeSync(fd, random, 0, mib, at);
    fsyncSync(fd);
    closeSync(fd);
    const ways = { ...readingWays(source, bytes), ...writingWays(join(folder, "copy"), bytes, random) };
    const samples = new Map<string, number[]>();
    for (let round = 1; round <= rounds; round++) {
      for (const [name, way] of Object.entries(ways)) {
        const begunMs = performance.now();
        way();
        samples.set(name, [...(samples.get(name) ?? []), (performance.now() - begunMs) / (bytes / 2 ** 30)]);
      }
      say(`round ${round}/${rounds}`);
    }
    console.log(`| ${sizeMiB} MiB in ${given.text("--folder")} | ms a GiB (least–most) |\n|---|---:|`);
    for (const [name, each] of samples) {
      const range = `${Math.min(...each).toFixed(0)}–${Math.max(...each).toFixed(0)}`;
      console.log(`| ${name} | ${median(each).toFixed(0)} (${range}) |`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Each way looks at every byte once more (a comparison), as finding zero pages does. */
function readingWays(path: string, bytes: number): Record<string, Way> {
  const zeros = Buffer.alloc(4 * mib);
  const look = (data: Buffer) => data.compare(zeros, 0, data.length) === 0;
  const read = (pieceBytes: number, buffer: () => Buffer) => () => {
    const fd = openSync(path, "r");
    for (let at = 0; at < bytes; at += pieceBytes) {
      const room = buffer();
      readSync(fd, room, 0, pieceBytes, at);
      for (let page = 0; page < pieceBytes; page += 4096) look(room.subarray(page, page + 4096));
    }
    closeSync(fd);
  };
  const reused = (size: number) => {
    const room = Buffer.allocUnsafeSlow(size);
    return () => room;
  };
  return {
    "read 1 MiB at a time into one buffer": read(mib, reused(mib)),
    "read 1 MiB at a time into fresh buffers": read(mib, () => Buffer.allocUnsafeSlow(mib)),
    "read 256 KiB at a time": read(256 * kib, reused(256 * kib)),
    "read 4 MiB at a time": read(4 * mib, reused(4 * mib)),
    "map it (mmap)": () => {
      const map = Bun.mmap(path);
      const data = Buffer.from(map.buffer, map.byteOffset, map.byteLength);
      for (let page = 0; page < bytes; page += 4096) look(data.subarray(page, page + 4096));
    },
  };
}

function writingWays(path: string, bytes: number, data: Buffer): Record<string, Way> {
  const write =
    (pieceBytes: number, before: (fd: number) => void, after: (fd: number, at: number) => void) => () => {
      const fd = openSync(path, "w");
      ftruncateSync(fd, bytes);
      before(fd);
      for (let at = 0; at < bytes; at += pieceBytes) {
        writeSync(fd, data, 0, pieceBytes, at);
        after(fd, at);
      }
      fsyncSync(fd);
      closeSync(fd);
    };
  const nothing = () => {};
  return {
    "write 1 MiB at a time, sync at the end": write(mib, nothing, nothing),
    "the same, writing begun at once (sync_file_range)": write(mib, nothing, (fd, at) =>
      startWriteback(fd, at, mib),
    ),
    "the same, room allocated before (fallocate)": write(
      mib,
      (fd) => void fallocate(fd, 0, 0, bytes),
      (fd, at) => startWriteback(fd, at, mib),
    ),
    "write 64 KiB at a time, writing begun at once": write(64 * kib, nothing, (fd, at) =>
      startWriteback(fd, at, 64 * kib),
    ),
  };
}
