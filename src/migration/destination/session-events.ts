/** What a session tells its observer beside its progress, with the session and the name of its VM. */
import type { SessionRecord } from "../journal/journal.ts";
import type { DestinationAction } from "../ownership/destination-machine.ts";
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

  /** Carries out `action` if it only tells this host's person of the session; returns false if it does more. */
  report(action: DestinationAction): boolean {
    const record = this.#record();
    if (record === null || !action.startsWith("report-")) return false;
    const { name, store } = record;
    if (action === "report-waiting") this.warning(waitingFor(record));
    else if (action === "report-doubt") this.warning(doubtOf(record));
    else this.notice(`${name} was taken over before a restart; it is in ${store} now`);
    return true;
  }
}

/** The warning about a VM that the source may have released, or not. */
function waitingFor({ name, session }: SessionRecord): string {
  return `${name} is whole here, and the source has not said that it let go: session ${session.slice(0, 12)} waits for it`;
}

/** The warning about a session whose record is older than what the store and the programs show. */
function doubtOf({ name, state, session }: SessionRecord): string {
  return `${name} is ${state} in the journal, but it was published or runs here: the journal is older than that. Nothing of it is touched; look, then say migrate resolve ${session.slice(0, 12)} --owner destination`;
}
