/**
 * What a VM said on a serial line, in a file that cannot grow: once it is full it takes the place of the one before it
 * (`.1`), and another begins. Plain text, so that any program can read it.
 */
import { closeSync, constants, fstatSync, openSync, readSync, renameSync, writeSync } from "node:fs";

export const serialKeeps = {
  /** A file has at most so many bytes, and there are at most two of a line. */
  fileBytes: 1024 * 1024,
  /** So much of the end is there at any time, once it was said. */
  tailBytes: 1024 * 1024,
} as const;

/** Where the older half of a log is. */
export function olderLog(path: string): string {
  return `${path}.1`;
}

/** The end that is written to. One process alone has it. */
export class SerialLog {
  readonly #path: string;
  readonly #fileBytes: number;
  #fd: number;
  #sizeBytes: number;

  /** Goes on with a log that is there. Throws as node:fs does. */
  constructor(path: string, { fileBytes = serialKeeps.fileBytes as number } = {}) {
    this.#path = path;
    this.#fileBytes = fileBytes;
    this.#fd = open(path);
    this.#sizeBytes = fstatSync(this.#fd).size;
  }

  /** Never throws: what a full disk does not take is lost, and the VM goes on. */
  append(bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.length; ) {
        if (this.#sizeBytes >= this.#fileBytes) this.#turn();
        const taken = writeSync(
          this.#fd,
          bytes,
          at,
          Math.min(bytes.length - at, this.#fileBytes - this.#sizeBytes),
        );
        at += taken;
        this.#sizeBytes += taken;
      }
    } catch {
      // See above.
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #turn(): void {
    renameSync(this.#path, olderLog(this.#path));
    const full = this.#fd;
    this.#fd = open(this.#path);
    this.#sizeBytes = 0;
    closeSync(full);
  }
}

function open(path: string): number {
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = constants;
  return openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
}

/**
 * The last bytes of a log, `bytes` at most, across both of its files; none if there is no log. The VM's own user may
 * have put anything in its place: what is no plain file is taken for none.
 */
export function serialTail(path: string, bytes: number = serialKeeps.tailBytes): Buffer {
  const newer = openToRead(path);
  let older = openToRead(olderLog(path));
  try {
    // It became the older one between the two calls.
    if (newer !== null && older !== null && isSameFile(newer, older)) {
      closeSync(older);
      older = null;
    }
    const end = newer === null ? Buffer.alloc(0) : tailOf(newer, bytes);
    const before =
      older === null || end.length >= bytes ? Buffer.alloc(0) : tailOf(older, bytes - end.length);
    return Buffer.concat([before, end]);
  } finally {
    for (const fd of [newer, older]) if (fd !== null) closeSync(fd);
  }
}

/** A plain file of the VM's, to be read; null for anything else. */
export function openToRead(path: string): number | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  return null;
}

function isSameFile(one: number, other: number): boolean {
  const [a, b] = [fstatSync(one), fstatSync(other)];
  return a.ino === b.ino && a.dev === b.dev;
}

function tailOf(fd: number, bytes: number): Buffer {
  const { size } = fstatSync(fd);
  const tail = Buffer.alloc(Math.min(size, bytes));
  return tail.subarray(0, readSync(fd, tail, 0, tail.length, size - tail.length));
}
