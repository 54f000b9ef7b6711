/** What a session tells its observer beside its progress, with the session and the name of its VM. */
import type { SessionRecord } from "../journal/journal.ts";
import type { Observer } from "../report/events.ts";

export class SessionEvents {
  readonly #session: string;
  readonly #record: () => SessionRecord | null;
  readonly #observe: Observer;

  /** `record` is asked each time: the session may have none yet, or none any more. */
  constructor(session: string, record: () => SessionRecord | null, observe: Observer) {
    this.#session = session;
    this.#record = record;
    this.#observe = observe;
  }

  notice(message: string): void {
    this.#observe({ event: "notice", message, ...this.#about() });
  }

  warning(message: string): void {
    this.#observe({ event: "warning", message, ...this.#about() });
  }

  /** Nothing of the session is on its way any more: what is drawn of it is to go. */
  stopped(why: "cancelled" | "link-lost"): void {
    const { session, name } = this.#about();
    if (name !== undefined) this.#observe({ event: "stopped", session, name, why });
  }

  #about(): { session: string; name?: string } {
    const name = this.#record()?.name;
    return { session: this.#session, ...(name === undefined ? {} : { name }) };
  }
}
