/** What lies in this home's stores of sessions that are over: folders in which VMs were received. */
import { readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { stagingPath } from "../../../vm/folder/staging.ts";
import { openElsewhere } from "../../../vm/holders/open-elsewhere.ts";
import type { Journal } from "../../journal/journal.ts";
import { bytesBelow } from "./kept-copies.ts";
import type { Leftover } from "./leftover.ts";

const staging = /^\.migrate-([0-9a-f]{32})$/;

/** Never throws: a store that cannot be looked at has nothing that could go. */
export function stagedLeftovers(journal: Journal, stores: readonly string[]): Leftover[] {
  return stores.flatMap((store) =>
    namesIn(store).flatMap((name) => {
      const session = staging.exec(name)?.[1];
      if (session === undefined) return [];
      const path = stagingPath(store, session);
      const stays = whyStays(journal, session, path);
      return [
        {
          kind: "staging" as const,
          path,
          bytes: bytesBelow(path),
          sinceMs: endOf(journal, session) ?? mtimeOf(path),
          ...(stays === null ? {} : { stays }),
          remove() {
            const why = whyStays(journal, session, path);
            if (why === null) rmSync(path, { recursive: true, force: true });
            return why;
          },
        },
      ];
    }),
  );
}

function whyStays(journal: Journal, session: string, path: string): string | null {
  const record = journal.find(session);
  if (record !== null && record.endedAtMs === null) return "its session has not ended";
  if (record === null && journal.findEnded(session) === null)
    return "this home's journal does not know its session";
  const [held] = openElsewhere(filesIn(path));
  return held === undefined ? null : `it is open in ${held.who}`;
}

function endOf(journal: Journal, session: string): number | null {
  return journal.find(session)?.endedAtMs ?? journal.findEnded(session)?.endedAtMs ?? null;
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true }).map((name) => join(folder, String(name)));
  } catch {
    return [];
  }
}

function mtimeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
