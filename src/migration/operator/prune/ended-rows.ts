/** What the journal keeps of sessions that are over, and of which nothing lies here any more. */
import { join } from "node:path";
import { isStaged, stagingPath } from "../../../vm/folder/staging.ts";
import { isPublishedBy } from "../../destination/published-manifest.ts";
import type { Journal, SessionRecord } from "../../journal/journal.ts";
import type { Leftover } from "./leftover.ts";
import { asidesOf } from "./migrated-files.ts";

/**
 * The rows that may go and are old enough, as one leftover; none if there are none. `beforeMs` is of the wall clock, and
 * `goes` tells of a path whether it goes before them. What is left of a row that came here is a short line, from which a
 * late question of its source is answered.
 */
export function endedRows(
  home: string,
  journal: Journal,
  { beforeMs, goes }: { beforeMs: number; goes: (path: string) => boolean },
): Leftover[] {
  const may = journal.over().flatMap(({ session, bytes }) => {
    const record = journal.find(session);
    return record === null || isNeeded(record, goes)
      ? []
      : [{ session, bytes, endedAtMs: record.endedAtMs! }];
  });
  if (may.length === 0) return [];
  const old = may.filter(({ endedAtMs }) => endedAtMs <= beforeMs);
  const all = old.length === 0 ? may : old;
  return [
    {
      kind: "sessions",
      path: join(home, "journal.sqlite"),
      about: `${all.length} ended ${all.length === 1 ? "session" : "sessions"} in migrate history`,
      bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
      // The newest of those that go: all of them are as old.
      sinceMs: Math.max(...all.map(({ endedAtMs }) => endedAtMs)),
      remove() {
        for (const { session } of old) {
          journal.write("pruned", () => {
            const record = journal.find(session);
            if (record !== null && !isNeeded(record, () => false)) journal.forget(session);
          });
        }
        return null;
      },
    },
  ];
}

/** Something of it lies here: the row tells what that is, and where this home's stores are. */
function isNeeded(record: SessionRecord, goes: (path: string) => boolean): boolean {
  const { store, name, session } = record;
  if (store !== null && isStaged(session, store) && !goes(stagingPath(store, session))) return true;
  if (store !== null && isPublishedBy(join(store, name), session)) return true;
  return asidesOf(record).some((path) => !goes(path));
}
