/**
 * `migrate prune`: what this program has left on this host, what that takes, and taking away what nobody needs. Nothing of
 * a session that has not ended is touched, nothing under a VM's own name, and nothing that a process has open; each is
 * looked at once more before it goes, so that moves may be under way meanwhile.
 */
import { openHome } from "../../../home/home.ts";
import { asMigrateError } from "../../../protocol/errors.ts";
import { Journal } from "../../journal/journal.ts";
import { deadRuns } from "../../providers/qemu/booting/dead-runs.ts";
import { knownStores } from "../find-vm.ts";
import { copiedBinaries, type Environment } from "./copied-binaries.ts";
import { endedRows } from "./ended-rows.ts";
import { bytesBelow } from "./kept-copies.ts";
import type { Leftover } from "./leftover.ts";
import { migratedFiles } from "./migrated-files.ts";
import { stagedLeftovers } from "./staged.ts";

export interface PruneOptions {
  home: string;
  /** Where the cache of this user is. */
  env: Environment;
  /** A store to look in beside those that this home knows. */
  store?: string | undefined;
  /** What was left later than so many milliseconds ago stays. */
  olderThanMs: number;
  nowMs: number;
}

/** A leftover as a person sees it. */
export type LeftoverRow = Omit<Leftover, "remove">;

export interface PruneResult {
  removed: LeftoverRow[];
  /** What was to go and did not, each with the reason as part of a sentence. */
  failed: { path: string; why: string }[];
}

export class Pruning {
  readonly #journal: Journal;
  readonly #leftovers: Leftover[];

  /** Looks; changes nothing. Throws MigrateError "home-unusable". */
  constructor(options: PruneOptions) {
    const home = openHome(options.home);
    const journal = Journal.open(home);
    this.#journal = journal;
    const { env, store, nowMs, olderThanMs } = options;
    const beforeMs = nowMs - olderThanMs;
    try {
      const stores = [...new Set([...knownStores(home), ...(store === undefined ? [] : [store])])];
      const runs = deadRuns(home, (session) => journal.find(session)?.endedAtMs === null, nowMs);
      const files: Leftover[] = [
        ...migratedFiles(home, journal, store, nowMs),
        ...stagedLeftovers(journal, stores),
        ...runs.map(({ path, changedAtMs, remove }) => ({
          kind: "run-folder" as const,
          path,
          bytes: bytesBelow(path),
          sinceMs: changedAtMs,
          remove: () => (remove() ? null : "a VM runs from it by now"),
        })),
        ...copiedBinaries(env),
      ];
      const aged = (one: Leftover) =>
        one.stays !== undefined || one.sinceMs <= beforeMs ? one : { ...one, stays: "it is not old enough" };
      const looked = files.map(aged);
      const going = new Set(looked.filter(({ stays }) => stays === undefined).map(({ path }) => path));
      // Last: the rows tell what the rest is.
      const rows = endedRows(home, journal, { beforeMs, goes: (path) => going.has(path) });
      this.#leftovers = [...looked, ...rows.map(aged)];
    } catch (thrown) {
      journal.close();
      throw thrown;
    }
  }

  /** All that there is, what stays with its reason. */
  get rows(): LeftoverRow[] {
    return this.#leftovers.map(({ remove: _, ...row }) => row);
  }

  /** Takes away what may go. Never throws for one of them. */
  remove(): PruneResult {
    const result: PruneResult = { removed: [], failed: [] };
    for (const { remove, ...row } of this.#leftovers) {
      if (row.stays !== undefined) continue;
      let why: string | null;
      try {
        why = remove();
      } catch (thrown) {
        why = asMigrateError(thrown).message;
      }
      if (why === null) result.removed.push(row);
      else result.failed.push({ path: row.path, why });
    }
    return result;
  }

  close(): void {
    this.#journal.close();
  }
}
