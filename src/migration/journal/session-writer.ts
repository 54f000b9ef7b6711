/** The durable steps of one session on the destination, each written over the record that it was decided on. */
import { MigrateError } from "../../protocol/errors.ts";
import type { Journal, SessionRecord } from "./journal.ts";

export class SessionWriter {
  readonly #journal: Journal;
  readonly #session: string;
  readonly #now: () => number;
  /** The recorded state that the request under way was decided on; undefined between requests. */
  #began: SessionRecord["state"] | undefined;

  constructor(journal: Journal, session: string, now: () => number) {
    this.#journal = journal;
    this.#session = session;
    this.#now = now;
  }

  get record(): SessionRecord | null {
    return this.#journal.find(this.#session);
  }

  /** What is written until `end` was decided on the record as it is now. */
  begin(): void {
    this.#began = this.record?.state;
  }

  end(): void {
    this.#began = undefined;
  }

  insert(label: string, record: SessionRecord): void {
    this.#journal.write(label, () => this.#journal.insert(record));
  }

  /** One durable step. Throws MigrateError "cancelled" or "in-doubt" where a person has settled the session meanwhile. */
  write(label: string, change: Partial<SessionRecord>): void {
    this.#journal.write(label, () => {
      this.#checkUnchanged();
      this.#journal.update(this.#session, { ...change, updatedAtMs: this.#now() });
    });
    if (this.#began !== undefined && change.state !== undefined) this.#began = change.state;
  }

  /**
   * Between two actions of a request a person may have settled the session (`migrate resolve`, another
   * process): what was decided before that is not written over it. Only within a write.
   */
  #checkUnchanged(): void {
    const state = this.record?.state;
    if (this.#began === undefined || state === this.#began) return;
    throw new MigrateError(
      state === "cancelled" ? "cancelled" : "in-doubt",
      `a person has settled the session at the destination meanwhile: it is ${state} there`,
      { side: "destination" },
    );
  }
}
