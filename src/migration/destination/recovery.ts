/** What open sessions mean to a destination that begins: what a crash left half done, and what lands elsewhere. */
import { asMigrateError } from "../../protocol/errors.ts";
import { DestinationSession, type SessionContext } from "./destination-session.ts";

type Context = Omit<SessionContext, "doors">;

/**
 * Completes, before any connection is accepted, what a crash left half done of the sessions of this store. Reports what
 * was done, and what could not be done; never throws.
 */
export async function recover(context: Context): Promise<void> {
  const { journal, store, observe } = context;
  for (const { session, name } of journal.open("destination").filter((found) => found.store === store)) {
    // A session object without doors; a later request for the session gets another one.
    const recovered = new DestinationSession(session, { ...context, doors: undefined });
    try {
      await recovered.recover();
    } catch (thrown) {
      observe({ event: "warning", message: `${name}: ${asMigrateError(thrown).message}`, session, name });
    } finally {
      recovered.rest();
    }
  }
}

/** Names the sessions that were begun with another store: they go on, and land, there. */
export function tellOtherStores({
  journal,
  store,
  observe,
}: Pick<Context, "journal" | "store" | "observe">): void {
  for (const { session, name, store: begunIn } of journal.open("destination")) {
    if (begunIn === null || begunIn === store) continue;
    const message = `${name} is on its way into ${begunIn}, the store that its move was begun with, and lands there: session ${session.slice(0, 12)}`;
    observe({ event: "notice", message, session, name });
  }
}
