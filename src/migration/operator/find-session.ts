/** Which session of this host's journal a person means. */
import { MigrateError } from "../../protocol/errors.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";

/** The session whose id begins so. Throws MigrateError "unknown-session", and "usage" if several begin so. */
export function findSession(journal: Journal, prefix: string): SessionRecord {
  const found = journal.findByPrefix(prefix.toLowerCase());
  if (found.length === 1) return found[0]!;
  throw new MigrateError(
    found.length === 0 ? "unknown-session" : "usage",
    found.length === 0 ? `no session begins with ${prefix}` : `${found.length} sessions begin with ${prefix}`,
    { hint: "migrate status and migrate history list them" },
  );
}

/**
 * The session by which a VM leaves this host just now, by the beginning of its id or by the VM's name. Throws
 * MigrateError "unknown-session", and "usage" if it can be several.
 */
export function findLeaving(journal: Journal, given: string): SessionRecord {
  const sending = journal.open("source").filter(({ state }) => state === "sending");
  const named = sending.filter(({ name }) => name === given);
  const found =
    named.length > 0 ? named : sending.filter(({ session }) => session.startsWith(given.toLowerCase()));
  if (found.length === 1) return found[0]!;
  throw new MigrateError(
    found.length === 0 ? "unknown-session" : "usage",
    found.length === 0
      ? `no VM that is on its way from here, and no session of one, is called ${given}`
      : `${found.length} sessions can be meant by ${given}`,
    { side: "source", hint: "migrate status lists them; the beginning of the session's id is enough" },
  );
}
