/** What a crash of a destination left half done, done: before anybody is let in. */
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { SessionRecord } from "../journal/journal.ts";
import { DestinationSession, type SessionContext } from "./destination-session.ts";

/** Goes through the sessions of this store that are not over. Says what it did, and what it could not do; never throws. */
export async function recover(context: Omit<SessionContext, "doors">): Promise<void> {
  const { journal, store, observe } = context;
  for (const record of journal.open("destination").filter((candidate) => candidate.store === store)) {
    // One without doors; who asks for the session later gets another.
    const session = new DestinationSession(record.session, { ...context, doors: undefined });
    try {
      await recoverSession(session, record, context);
    } catch (thrown) {
      observe({ event: "warning", message: `${record.name}: ${asMigrateError(thrown).message}` });
    } finally {
      session.rest();
    }
  }
}

async function recoverSession(
  session: DestinationSession,
  record: SessionRecord,
  { observe }: Pick<SessionContext, "observe">,
): Promise<void> {
  switch (record.state) {
    case "owner":
    case "published":
      if (record.settled && record.machine === null) return;
      session.publishFiles();
      await session.resumeVm();
      observe({
        event: "notice",
        message: `${record.name} was taken over before a restart; it is in the store now`,
      });
      return;
    case "receiving":
      // Of a VM that runs nothing can go on: its streams ended with the serve that had them.
      if (record.machine === null) return;
      await session.giveUp(new MigrateError("cancelled", "migrate serve was restarted"));
      return;
    case "ready":
      observe({
        event: "warning",
        message: `${record.name} is whole here, and the source has not said that it let go: session ${record.session.slice(0, 12)} waits for it`,
      });
  }
}
