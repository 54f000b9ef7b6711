/** Where a measured transfer goes at the destination: files of a folder of ours, one after the other, or nowhere. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { MigrateError } from "../protocol/errors.ts";
import type { Meter } from "./operation-meter.ts";

interface OpenFile {
  path: string;
  fd: number;
  bytes: number;
}

export class ReceivedOutput {
  readonly #files: OpenFile[] = [];
  readonly #totalBytes: number;
  readonly #meter: Meter;
  #written = 0;
  #file = 0;
  #at = 0;

  /**
   * Makes a file for each of `fileBytes` in `folder`, which is ours and empty; null discards. The names
   * are made here, never by a peer. Throws MigrateError "store-failed".
   */
  constructor(folder: string | null, fileBytes: readonly number[], meter: Meter) {
    this.#meter = meter;
    this.#totalBytes = fileBytes.reduce((sum, bytes) => sum + bytes, 0);
    if (folder === null) return;
    try {
      for (const [i, bytes] of fileBytes.entries()) {
        const path = join(folder, `received-${i}`);
        this.#files.push({ path, fd: openSync(path, "w", 0o600), bytes });
      }
    } catch (cause) {
      this.remove();
      throw storeFailed(cause);
    }
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  get writtenBytes(): number {
    return this.#written;
  }

  /** Takes the next bytes. Throws MigrateError "integrity" where they are more than there should be, "store-failed". */
  write(bytes: Buffer): void {
    this.#written += bytes.length;
    if (this.#written > this.#totalBytes)
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

  /** Closes the files and leaves them where they are. */
  close(): void {
    for (const { fd } of this.#files) closeSync(fd);
    this.#files.length = 0;
  }

  /** Closes the files and removes them. */
  remove(): void {
    const paths = this.#files.map(({ path }) => path);
    this.close();
    for (const path of paths) rmSync(path, { force: true });
  }
}

function storeFailed(cause: unknown): MigrateError {
  const code = (cause as NodeJS.ErrnoException).code;
  const full = code === "ENOSPC" || code === "EDQUOT";
  const message = full
    ? "there is no room left for what is received"
    : `what is received cannot be written: ${code}`;
  return new MigrateError(full ? "no-room" : "store-failed", message, { side: "destination", cause });
}
