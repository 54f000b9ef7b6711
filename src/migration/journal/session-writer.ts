/** The durable steps of one session on the destination, each written over the record that it was decided on. */
import type { DestinationRecord } from "../ownership/records.ts";
import type { Change, Journal, SessionRecord } from "./journal.ts";

export class SessionWriter {
  readonly #journal: Journal;
  readonly #session: string;
  readonly #now: () => number;
  /** The state that the event under way was decided on; undefined between events. */
  #decidedOn: DestinationRecord | undefined;

  constructor(journal: Journal, session: string, now: () => number) {
    this.#journal = journal;
    this.#session = session;
    this.#now = now;
  }

  get record(): SessionRecord | null {
    return this.#journal.find(this.#session);
  }

  /** What is written until `end` was decided on this state. */
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
   * Takes the session to another state. Throws MigrateError "cancelled" or "in-doubt" if a person has settled it
   * meanwhile (`migrate resolve`, another process): what was decided before that is not written over it.
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
