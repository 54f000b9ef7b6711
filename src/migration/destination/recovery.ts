/** Completes what a crash of the destination left half done, before any connection is accepted. */
import { asMigrateError } from "../../protocol/errors.ts";
import { DestinationSession, type SessionContext } from "./destination-session.ts";

/**
 * Recovers every session of this store that has not ended. Reports what was done, and what could not be done;
 * never throws.
 */
export async function recover(context: Omit<SessionContext, "doors">): Promise<void> {
  const { journal, store, observe } = context;
  for (const { session, name } of journal.open("destination").filter((found) => found.store === store)) {
    // A session object without doors; a later request for the session gets another one.
    const recovered = new DestinationSession(session, { ...context, doors: undefined });
    try {
      await recovered.recover();
    } catch (thrown) {
      observe({ event: "warning", message: `${name}: ${asMigrateError(thrown).message}` });
    } finally {
      recovered.rest();
    }
  }
}
