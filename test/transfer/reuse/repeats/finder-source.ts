/** The files of a source and the lanes that look through them: for tests of what need not be sent twice. */
import { expect } from "bun:test";
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../../src/protocol/limits.ts";
import { ChunkBuffer } from "../../../../src/transfer/chunks/chunk-buffer.ts";
import { ChunkReader } from "../../../../src/transfer/chunks/chunk-reader.ts";
import type { Repeat } from "../../../../src/transfer/chunks/shortened-body.ts";
import { KnownPages } from "../../../../src/transfer/reuse/repeats/known-pages.ts";
import { RepeatFinder } from "../../../../src/transfer/reuse/repeats/repeat-finder.ts";
import { Folder } from "../../sparse-file.ts";

/** A file that is a hole: the memory is made for what it could hold, so that nothing is forgotten. */
const holeBytes = 256 * limits.chunkBytes;

/** One lane of a source that has these files. */
export class FinderLane {
  readonly finder: RepeatFinder;
  readonly #paths: readonly string[];
  readonly #fds: readonly number[];
  readonly #reader: ChunkReader;
  readonly #buffer = new ChunkBuffer();

  constructor(paths: readonly string[], memory: SharedArrayBuffer, lane: number) {
    const files = paths.map((path) => ({ path, fd: openSync(path, "r"), bytes: statSync(path).size }));
    this.#paths = paths;
    this.#fds = files.map(({ fd }) => fd);
    this.#reader = new ChunkReader(files);
    const sizes = files.map(({ bytes }) => bytes);
    this.finder = new RepeatFinder(memory, lane, sizes, this.#reader);
  }

  /**
   * What need not be sent of a chunk, where looking is `isWorthIt`: whatever it is, it is seen to be what the
   * files have. The chunk is said to be sent then, unless `sends` is false.
   */
  repeats(file: number, chunk: number, { sends = true, isWorthIt = true } = {}): Repeat[] {
    const bytes = this.#reader.read(file, chunk, this.#buffer);
    this.finder.look(this.#buffer.dataRoom(bytes), isWorthIt);
    const packed = this.#buffer.pack(bytes);
    this.finder.remember(file, chunk);
    const repeats = this.finder.find(packed);
    let free = packed.pagesAt;
    for (const repeat of repeats) {
      const same = readFileSync(this.#paths[repeat.file]!).subarray(repeat.from, repeat.from + repeat.bytes);
      expect(packed.body.subarray(repeat.at, repeat.at + repeat.bytes).equals(same)).toBe(true);
      expect(repeat.bytes).toBeGreaterThanOrEqual(limits.pageBytes);
      expect(repeat.at).toBeGreaterThanOrEqual(free);
      free = repeat.at + repeat.bytes;
    }
    if (sends) this.finder.sent(file, chunk);
    return repeats;
  }

  close(): void {
    this.#reader.close();
    for (const fd of this.#fds) closeSync(fd);
  }
}

export class FinderSource {
  readonly #folder = new Folder();
  readonly #lanes: FinderLane[] = [];

  path(file: number): string {
    return join(this.#folder.path, `file-${file}`);
  }

  /** So many lanes of a source with these files, and with a hole behind them; and what they share. */
  lanes(contents: readonly Buffer[], count = 1): { all: FinderLane[]; memory: SharedArrayBuffer } {
    for (const [file, content] of contents.entries()) writeFileSync(this.path(file), content);
    const paths = [...contents.map((_, file) => this.path(file)), this.#folder.file("hole", holeBytes)];
    const memory = KnownPages.memory(paths.map((path) => statSync(path).size));
    const all = Array.from({ length: count }, (_, lane) => new FinderLane(paths, memory, lane));
    this.#lanes.push(...all);
    return { memory, all };
  }

  close(): void {
    for (const lane of this.#lanes) lane.close();
    this.#folder.remove();
  }
}
