/**
 * Reading a VM's log as it grows: its end first, then what is added, also across the moment in which a full one takes
 * the place of the one before it (vm/qemu/attendants/serial-log.ts) or gives back its beginning (run-upkeep.ts).
 */
import { closeSync, fstatSync, readSync } from "node:fs";
import { olderLog, openToRead, serialKeeps } from "../../../../vm/qemu/attendants/serial-log.ts";

/** More than this between two looks is not shown in whole, but its end. */
const mostBytes = 4 * 1024 * 1024;
/** What is read at once. */
const pieceBytes = 256 * 1024;

export class LogReader {
  readonly #path: string;
  readonly #decoder = new TextDecoder();
  #fd: number | null = null;
  #atBytes = 0;
  #hasBegun = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** What was written since the last call, the first time the log's end; "" if there is nothing, or no log. */
  more(): string {
    if (!this.#hasBegun) return this.#begin();
    let text = this.#rest();
    const now = openToRead(this.#path);
    if (now === null) return text;
    if (this.#fd !== null && isSame(now, this.#fd)) {
      closeSync(now);
      return text;
    }
    if (this.#fd !== null) {
      // It is full: what came to it meanwhile, and a whole one that came and went since.
      text += this.#rest();
      const older = openToRead(olderLog(this.#path));
      if (older !== null && !isSame(older, this.#fd)) text += this.#read(older, 0).text;
      if (older !== null) closeSync(older);
      closeSync(this.#fd);
    }
    this.#fd = now;
    this.#atBytes = 0;
    return text + this.#rest();
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  #begin(): string {
    this.#hasBegun = true;
    this.#fd = openToRead(this.#path);
    if (this.#fd === null) return "";
    const { size } = fstatSync(this.#fd);
    const older = openToRead(olderLog(this.#path));
    let text = "";
    if (older !== null) {
      const missing = serialKeeps.tailBytes - size;
      if (missing > 0 && !isSame(older, this.#fd))
        text = this.#read(older, Math.max(0, fstatSync(older).size - missing)).text;
      closeSync(older);
    }
    this.#atBytes = Math.max(0, size - serialKeeps.tailBytes);
    return text + this.#rest();
  }

  #rest(): string {
    if (this.#fd === null) return "";
    // The VM's own user writes some of them: what grows without bound is not read in whole.
    const { size } = fstatSync(this.#fd);
    if (size - this.#atBytes > mostBytes) this.#atBytes = size - serialKeeps.tailBytes;
    const { text, atBytes } = this.#read(this.#fd, this.#atBytes);
    this.#atBytes = atBytes;
    return text;
  }

  #read(fd: number, from: number): { text: string; atBytes: number } {
    const piece = Buffer.alloc(pieceBytes);
    let text = "";
    let atBytes = from;
    for (const endBytes = from + mostBytes; ; ) {
      const taken = readSync(fd, piece, 0, piece.length, atBytes);
      if (taken === 0 || atBytes >= endBytes) return { text, atBytes };
      atBytes += taken;
      text += this.#decoded(piece.subarray(0, taken));
    }
  }

  /** What was given back reads as zeros. */
  #decoded(bytes: Uint8Array): string {
    return this.#decoder.decode(bytes, { stream: true }).replaceAll("\0", "");
  }
}

function isSame(one: number, other: number): boolean {
  const [a, b] = [fstatSync(one), fstatSync(other)];
  return a.ino === b.ino && a.dev === b.dev;
}
