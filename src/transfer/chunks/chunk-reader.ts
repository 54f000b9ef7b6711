/** The files of a VM as a lane of the source reads them, a chunk at a time, through descriptors that it is lent. */
import { readSync } from "node:fs";
import { basename } from "node:path";
import { MigrateError } from "../../protocol/errors.ts";
import { chunkLength, limits } from "../../protocol/limits.ts";
import type { ChunkBuffer } from "./chunk-buffer.ts";

export interface ReadFile {
  /** Names the file in errors; it is never opened. */
  path: string;
  /** Read by position alone (pread(2)): all lanes share it. */
  fd: number;
  /** Its size when the migration began. */
  bytes: number;
}

export class ChunkReader {
  readonly #files: readonly ReadFile[];
  #isClosed = false;

  constructor(files: readonly ReadFile[]) {
    this.#files = files;
  }

  /**
   * Reads a chunk into the buffer's data room and returns its length in bytes. Throws MigrateError
   * "source-changed" for a file that is shorter than it was, "io" for one that cannot be read, "cancelled"
   * after `close`.
   */
  read(file: number, chunk: number, buffer: ChunkBuffer): number {
    if (this.#isClosed) throw new MigrateError("cancelled", "the lane was given up", { side: "source" });
    const { fd, bytes: fileBytes } = this.#files[file]!;
    const bytes = chunkLength(fileBytes, chunk);
    const room = buffer.dataRoom(bytes);
    try {
      for (let at = 0; at < bytes; ) {
        const taken = readSync(fd, room, at, bytes - at, chunk * limits.chunkBytes + at);
        if (taken === 0) throw this.changed(file, "shrank");
        at += taken;
      }
    } catch (thrown) {
      if (thrown instanceof MigrateError) throw thrown;
      const { code } = thrown as NodeJS.ErrnoException;
      const name = basename(this.#files[file]!.path);
      const message = `${name} cannot be read (${code ?? thrown})`;
      throw new MigrateError("io", message, { side: "source", cause: thrown });
    }
    return bytes;
  }

  /** Reads from any place of a file into all of `into`; false if that is not possible, as after `close`. */
  readAt(file: number, from: number, into: Buffer): boolean {
    if (this.#isClosed) return false;
    try {
      return readSync(this.#files[file]!.fd, into, 0, into.length, from) === into.length;
    } catch {
      return false;
    }
  }

  /** The error about a file that is not what it was. */
  changed(file: number, how: string): MigrateError {
    const name = basename(this.#files[file]!.path);
    return new MigrateError("source-changed", `${name} ${how} since the migration began`, { side: "source" });
  }

  /** Reads nothing from here on: whoever lent the descriptors may close them, and the kernel use their numbers again. */
  close(): void {
    this.#isClosed = true;
  }
}
