/** One process at a time works on a session of the source. */
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { tryFlock } from "../../platform/locks.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { SessionRecord } from "../journal/journal.ts";

/**
 * Takes the session's lock, which the kernel holds for as long as this process lives (flock(2)), and returns what
 * releases it earlier. Throws MigrateError "vm-busy" if another process has it.
 */
export function lockSession(home: string, record: Pick<SessionRecord, "session" | "name">): () => void {
  const folder = join(home, "sessions");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fd = openSync(join(folder, `${record.session}.lock`), "a", 0o600);
  if (!tryFlock(fd)) {
    closeSync(fd);
    throw new MigrateError("vm-busy", `${record.name} is being sent by another process`, {
      side: "source",
      hint: `migrate status shows session ${record.session.slice(0, 12)}`,
    });
  }
  return () => closeSync(fd);
}
