/** Writes checked chunks into the staged files of a session, and reads there what others repeat. */
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { punchHole } from "../../platform/files/holes.ts";
import { startWriteback } from "../../platform/files/writeback.ts";
import { chunkLength, limits } from "../../protocol/limits.ts";
import type { Chunk } from "../chunks/chunk.ts";
import type { LaneGrant } from "./lane-grant.ts";

const { chunkBytes, blockBytes, pageBytes } = limits;
const pagesPerBlock = blockBytes / pageBytes;
const zeroPage = Buffer.alloc(pageBytes);

/** Puts blocks into a file at the place where a chunk begins, and returns which: bit 0 is the first one. */
export type Share = (fd: number, offset: number) => number;

export class ChunkWriter {
  readonly #files: LaneGrant["files"];
  /** True if the files may hold something already, so that zeros must be made. */
  readonly #used: boolean;
  readonly #fds = new Map<number, number>();

  constructor({ files, used }: Pick<LaneGrant, "files" | "used">) {
    this.#files = files;
    this.#used = used;
  }

  /**
   * Writes a chunk whose tag holds; what is not in its runs is zeros then. Blocks that `share` puts there
   * are not written. Throws as node:fs does.
   */
  write({ file, chunk, body, runs, pagesAt }: Chunk, share: Share = () => 0): void {
    const fd = this.#open(file);
    const offset = chunk * chunkBytes;
    const length = chunkLength(this.#files[file]!.bytes, chunk);
    const whole = runs.length === 1 && body.length - pagesAt === length;
    if (this.#used && !whole && !punchHole(fd, offset, length)) {
      for (let at = 0; at < length; at += pageBytes) {
        writeFully(fd, zeroPage.subarray(0, Math.min(pageBytes, length - at)), offset + at);
      }
    }
    const shared = share(fd, offset);
    let at = pagesAt;
    for (const { firstPage, pages } of runs) {
      for (let page = firstPage; page < firstPage + pages; ) {
        const isShared = (shared & (1 << Math.floor(page / pagesPerBlock))) !== 0;
        const end = shared === 0 ? firstPage + pages : Math.min(firstPage + pages, nextBlock(page));
        const from = page * pageBytes;
        const bytes = Math.min((end - page) * pageBytes, length - from);
        if (!isShared) writeFully(fd, body.subarray(at, at + bytes), offset + from);
        at += bytes;
        page = end;
      }
    }
    startWriteback(fd, offset, length);
  }

  /** Reads what stands in a file of the session into all of `into`; false if that is not possible. */
  readBack(file: number, from: number, into: Buffer): boolean {
    try {
      return readSync(this.#open(file), into, 0, into.length, from) === into.length;
    } catch {
      return false;
    }
  }

  close(): void {
    for (const fd of this.#fds.values()) closeSync(fd);
    this.#fds.clear();
  }

  #open(file: number): number {
    let fd = this.#fds.get(file);
    if (fd === undefined) {
      // The staging folder is ours and 0700; O_NOFOLLOW all the same.
      fd = openSync(this.#files[file]!.path, constants.O_RDWR | constants.O_NOFOLLOW);
      this.#fds.set(file, fd);
    }
    return fd;
  }
}

/** The first page of the block after that of `page`. */
function nextBlock(page: number): number {
  return (Math.floor(page / pagesPerBlock) + 1) * pagesPerBlock;
}

/** Writes all of `bytes` at `offset` (pwrite(2) may write less than it is asked to). */
function writeFully(fd: number, bytes: Buffer, offset: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, offset + at);
}
