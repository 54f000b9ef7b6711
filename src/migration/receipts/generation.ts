/**
 * The witness of this host's generation outside of its journal: what a journal that was restored from a backup cannot
 * take along (SPEC.md, RCPT-8).
 *
 * A file beside the journal notices a journal that was restored alone. Who restores the whole home, or the whole host,
 * restores the file as well: then only what lies elsewhere tells, a counter in a TPM
 * (tpm-witness.ts) or the other hosts, which remember what they were shown.
 */
import { join } from "node:path";
import { readHomeFile, replaceHomeFile } from "../../home/home-file.ts";
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

/** The counter of every host: the file `generation` of its home. */
export class FileCounter implements GenerationCounter {
  readonly #path: string;

  constructor(home: string) {
    this.#path = join(home, "generation");
  }

  /** 0 if there is no file. Throws MigrateError "home-unusable" for one that holds no number, or is open to others. */
  async read(): Promise<bigint> {
    const text = readHomeFile(this.#path, 0o022);
    if (text === null) return 0n;
    if (/^\d{1,19}\n$/.test(text)) return BigInt(text.trim());
    throw new MigrateError("home-unusable", `${this.#path} holds no number`, {
      hint: "move it away: it is made anew, and a journal that is restored from a backup before that goes unnoticed",
    });
  }

  async increment(): Promise<bigint> {
    const next = (await this.read()) + 1n;
    replaceHomeFile(this.#path, `${next}\n`);
    return next;
  }
}
