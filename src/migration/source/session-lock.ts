/** Lets only one process at a time work on a session of the source. */
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { tryFlock } from "../../platform/files/locks.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { SessionRecord } from "../journal/journal.ts";

/**
 * Locks the session; the kernel holds the lock as long as this process lives (flock(2)). Returns a function
 * that releases it earlier. Throws MigrateError "vm-busy" if another process holds it.
 */
export function lockSession(home: string, record: Pick<SessionRecord, "session" | "name">): () => void {
  const folder = join(home, "sessions");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fd = openSync(join(folder, `${record.session}.lock`), "a", 0o600);
  if (!tryFlock(fd)) {
    closeSync(fd);
    throw new MigrateError("vm-busy", `${record.name} is being sent by another process`, {
      side: "source",
      session: record.session,
      vm: record.name,
      hint: `migrate status shows session ${record.session.slice(0, 12)}`,
    });
  }
  return () => closeSync(fd);
}
