/**
 * Where a measured transfer goes at the destination: files of a folder of ours, one after the other, or
 * nowhere. The files stay from run to run and are written over: what a file system does to find blocks for
 * a new GiB, and to give back the old one, would be as large as the transfer and different every time.
 */
import { closeSync, constants, ftruncateSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Meter } from "../account/operation-meter.ts";

interface OpenFile {
  fd: number;
  bytes: number;
}

const pieceBytes = 1024 * 1024;

/**
 * Makes the files that runs will write over, in the sizes of the largest run. Throws MigrateError
 * "no-room" or "store-failed".
 */
export function prepareOutput(folder: string, fileBytes: readonly number[]): void {
  const piece = Buffer.alloc(pieceBytes, 0x5a);
  try {
    for (const [i, bytes] of fileBytes.entries()) {
      const fd = openOutput(folder, i);
      try {
        for (let at = 0; at < bytes; ) at += writeSync(fd, piece, 0, Math.min(pieceBytes, bytes - at), at);
      } finally {
        closeSync(fd);
      }
    }
  } catch (cause) {
    throw storeFailed(cause);
  }
}

export class ReceivedOutput {
  readonly totalBytes: number;
  readonly #files: OpenFile[] = [];
  readonly #meter: Meter;
  #written = 0;
  #file = 0;
  #at = 0;

  /**
   * Opens a file for each of `fileBytes` in `folder`, which is ours; null discards. The names are made
   * here, never by a peer. Throws MigrateError "store-failed".
   */
  constructor(folder: string | null, fileBytes: readonly number[], meter: Meter) {
    this.#meter = meter;
    this.totalBytes = fileBytes.reduce((sum, bytes) => sum + bytes, 0);
    if (folder === null) return;
    try {
      for (const [i, bytes] of fileBytes.entries()) this.#files.push({ fd: openOutput(folder, i), bytes });
    } catch (cause) {
      this.close();
      throw storeFailed(cause);
    }
  }

  get writtenBytes(): number {
    return this.#written;
  }

  /** Takes the next bytes. Throws MigrateError "integrity" if they are more than there should be, "store-failed". */
  write(bytes: Buffer): void {
    this.#written += bytes.length;
    if (this.#written > this.totalBytes)
      throw new MigrateError("integrity", "more bytes came than the source has", { side: "destination" });
    if (this.#files.length === 0) return;
    this.#meter.to("file-write");
    try {
      for (let from = 0; from < bytes.length; ) from += this.#writeSome(bytes, from);
    } catch (cause) {
      throw storeFailed(cause);
    }
    this.#meter.to("rest");
  }

  #writeSome(bytes: Buffer, from: number): number {
    while (this.#at === this.#files[this.#file]!.bytes) {
      this.#file++;
      this.#at = 0;
    }
    const { fd, bytes: size } = this.#files[this.#file]!;
    const taken = writeSync(fd, bytes, from, Math.min(bytes.length - from, size - this.#at), this.#at);
    this.#at += taken;
    return taken;
  }

  /** Closes the files; `whole` cuts off what a larger run left behind their ends. Harmless when it was done. */
  close(whole = false): void {
    for (const { fd, bytes } of this.#files.splice(0)) {
      if (whole) ftruncateSync(fd, bytes);
      closeSync(fd);
    }
  }
}

/** The file is not emptied: its blocks and its pages in memory are what is written over. */
function openOutput(folder: string, index: number): number {
  return openSync(join(folder, `received-${index}`), constants.O_RDWR | constants.O_CREAT, 0o600);
}

function storeFailed(cause: unknown): MigrateError {
  const code = (cause as NodeJS.ErrnoException).code;
  const full = code === "ENOSPC" || code === "EDQUOT";
  const message = full
    ? "there is no room left for what is received"
    : `what is received cannot be written: ${code}`;
  return new MigrateError(full ? "no-room" : "store-failed", message, { side: "destination", cause });
}
