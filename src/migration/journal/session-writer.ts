/**
 * The durable steps of one session on the destination. Each is written only if the record is still in the
 * state on which the step was decided.
 */
import type { DestinationRecord } from "../ownership/records.ts";
import type { Change, Journal, SessionRecord } from "./journal.ts";

export class SessionWriter {
  readonly #journal: Journal;
  readonly #session: string;
  readonly #now: () => number;
  /** The state on which the current event was decided; undefined between events. */
  #decidedOn: DestinationRecord | undefined;

  constructor(journal: Journal, session: string, now: () => number) {
    this.#journal = journal;
    this.#session = session;
    this.#now = now;
  }

  get record(): SessionRecord | null {
    return this.#journal.find(this.#session);
  }

  /** Everything written from now until `end` was decided on this state. */
  begin(decidedOn: DestinationRecord): void {
    this.#decidedOn = decidedOn;
  }

  end(): void {
    this.#decidedOn = undefined;
  }

  insert(label: string, record: SessionRecord): void {
    this.#journal.write(label, () => this.#journal.insert(record));
    this.#decidedOn = "receiving";
  }

  /**
   * Changes the session's state. Throws MigrateError "cancelled" or "in-doubt" if a person (`migrate
   * resolve`, in another process) has settled it meanwhile: an older decision does not overwrite that.
   */
  step(to: DestinationRecord, change: Change): void {
    const from = this.#decidedOn ?? (this.record?.state as DestinationRecord);
    this.#journal.write(to, () =>
      this.#journal.step(
        this.#session,
        { side: "destination", from, to },
        { ...change, updatedAtMs: this.#now() },
      ),
    );
    if (this.#decidedOn !== undefined) this.#decidedOn = to;
  }

  /** One durable write that leaves the state as it is. */
  write(label: string, change: Change): void {
    this.#journal.write(label, () =>
      this.#journal.update(this.#session, { ...change, updatedAtMs: this.#now() }),
    );
  }
}
