/** The files of a VM as a lane of the source reads them: each opened once, a chunk at a time. */
import { closeSync, openSync, readSync } from "node:fs";
import { basename } from "node:path";
import { MigrateError } from "../../protocol/errors.ts";
import { chunkLength, limits } from "../../protocol/limits.ts";
import type { ChunkBuffer } from "./chunk-buffer.ts";

export interface ReadFile {
  path: string;
  /** Its size when the migration began. */
  bytes: number;
}

export class ChunkReader {
  readonly #files: readonly ReadFile[];
  readonly #fds = new Map<number, number>();

  constructor(files: readonly ReadFile[]) {
    this.#files = files;
  }

  /**
   * Reads a chunk into the buffer's data room and gives its length in bytes. Throws MigrateError
   * "source-changed" for a file that is shorter than it was or gone, "io" for one that cannot be read.
   */
  read(file: number, chunk: number, buffer: ChunkBuffer): number {
    const bytes = chunkLength(this.#files[file]!.bytes, chunk);
    const room = buffer.dataRoom(bytes);
    try {
      const fd = this.#open(file);
      for (let at = 0; at < bytes; ) {
        const taken = readSync(fd, room, at, bytes - at, chunk * limits.chunkBytes + at);
        if (taken === 0) throw this.changed(file, "shrank");
        at += taken;
      }
    } catch (thrown) {
      if (thrown instanceof MigrateError) throw thrown;
      const { code } = thrown as NodeJS.ErrnoException;
      if (code === "ENOENT") throw this.changed(file, "vanished", thrown);
      const name = basename(this.#files[file]!.path);
      const message = `${name} cannot be read (${code ?? thrown})`;
      throw new MigrateError("io", message, { side: "source", cause: thrown });
    }
    return bytes;
  }

  /** Reads from any place of a file into all of `into`; false where that is not possible any more. */
  readAt(file: number, from: number, into: Buffer): boolean {
    try {
      return readSync(this.#open(file), into, 0, into.length, from) === into.length;
    } catch {
      return false;
    }
  }

  /** What is said of a file that is not what it was. */
  changed(file: number, how: string, cause?: unknown): MigrateError {
    const name = basename(this.#files[file]!.path);
    return new MigrateError("source-changed", `${name} ${how} since the migration began`, {
      side: "source",
      cause,
    });
  }

  close(): void {
    for (const fd of this.#fds.values()) closeSync(fd);
    this.#fds.clear();
  }

  #open(file: number): number {
    let fd = this.#fds.get(file);
    if (fd === undefined) {
      fd = openSync(this.#files[file]!.path, "r");
      this.#fds.set(file, fd);
    }
    return fd;
  }
}
