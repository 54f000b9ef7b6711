/**
 * The witness of this host's generation outside of its journal: what a journal that was restored from a backup cannot
 * take along (SPEC.md, RCPT-8).
 *
 * A file beside the journal notices a journal that was restored alone. Who restores the whole home, or the whole host,
 * restores the file as well: then only what lies elsewhere tells, a counter in a TPM
 * (tpm-witness.ts) or the other hosts, which remember what they were shown.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { readHomeFile } from "../../home/home-file.ts";
import { MigrateError } from "../../protocol/errors.ts";

/**
 * A number that begins at 0 and only grows. One process at a time uses it (`OwnWitness`).
 */
export interface GenerationCounter {
  /** Where it stands. Throws MigrateError if it cannot be read. */
  read(): Promise<bigint>;
  /** Raises it by one, durably, and returns where it stands then. Throws MigrateError if it cannot be raised. */
  increment(): Promise<bigint>;
}

/** Digits of the number in the file, so that a new one takes the place of the old one whole. */
const digits = 19;

/**
 * The counter of every host: the file `generation` of its home. It is written in place and not synced,
 * since a VM may stand still meanwhile: what a power cut takes back is a step, and that much less is noticed.
 */
export class FileCounter implements GenerationCounter {
  readonly #path: string;

  constructor(home: string) {
    this.#path = join(home, "generation");
  }

  /** 0 if there is no file, or nothing in it. Throws MigrateError "home-unusable" for one that holds no number, or is open to others. */
  async read(): Promise<bigint> {
    const text = readHomeFile(this.#path, 0o022) ?? "";
    if (text === "") return 0n;
    if (/^\d{1,19}\n$/.test(text)) return BigInt(text.trim());
    throw new MigrateError("home-unusable", `${this.#path} holds no number`, {
      hint: "move it away: it is made anew, and a journal that is restored from a backup before that goes unnoticed",
    });
  }

  async increment(): Promise<bigint> {
    const next = (await this.read()) + 1n;
    let fd: number | undefined;
    try {
      fd = openSync(this.#path, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
      writeSync(fd, `${String(next).padStart(digits, "0")}\n`, 0);
      return next;
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      throw new MigrateError("home-unusable", `${this.#path} cannot be written (${code})`, {
        hint: "look for a full or read-only disk, and at who may write the folder",
        cause,
      });
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }
}
