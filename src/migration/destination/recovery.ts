/** What a crash of a destination left half done, done: before anybody is let in. */
import { asMigrateError } from "../../protocol/errors.ts";
import { DestinationSession, type SessionContext } from "./destination-session.ts";

/** Goes through the sessions of this store that are not over. Reports what it did, and what it could not do; never throws. */
export async function recover(context: Omit<SessionContext, "doors">): Promise<void> {
  const { journal, store, observe } = context;
  for (const { session, name } of journal.open("destination").filter((found) => found.store === store)) {
    // One without doors; who asks for the session later gets another.
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
