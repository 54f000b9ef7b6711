/** `migrate tune`: changes a move that a `migrate send` of this host carries out just now. */
import { openHome } from "../../home/home.ts";
import { asMigrateError } from "../../protocol/errors.ts";
import { Journal } from "../journal/journal.ts";
import type { Tuning } from "../report/tuning.ts";
import type { MoveLook } from "../source/control-messages.ts";
import { callMove } from "./call-move.ts";
import { findLeaving } from "./find-session.ts";
import { localStatus, type SessionRow } from "./status.ts";

export interface TunedMove extends MoveLook {
  session: string;
  name: string;
}

/**
 * Changes the move of a session, given by the beginning of its id or its VM's name; returns how it is sent from now on.
 * Throws MigrateError: as `findLeaving`, as `callMove`, and "policy" if any of it cannot be changed (any more), when
 * nothing is.
 */
export async function tuneMove(path: string, given: string, tuning: Tuning): Promise<TunedMove> {
  const home = openHome(path);
  const journal = Journal.open(home);
  let found: { session: string; name: string };
  try {
    found = findLeaving(journal, given);
  } finally {
    journal.close();
  }
  const { session, name } = found;
  try {
    return { session, name, ...(await callMove(home, session, { say: "tune", tuning })) };
  } catch (thrown) {
    throw asMigrateError(thrown).within({ session, vm: name });
  }
}

/** This host's sessions that have not ended, oldest first, and of those that a process sends how it does. Throws as `localStatus`. */
export async function statusHere(path: string): Promise<(SessionRow & { move?: MoveLook })[]> {
  const home = openHome(path);
  return await Promise.all(
    localStatus(home).map(async (row) => {
      if (row.side !== "source" || row.state !== "sending") return row;
      // A process that was killed answers nothing; one that is too busy to is shown as it is in the journal.
      const move = await callMove(home, row.session, { say: "look" }).catch(() => undefined);
      return move === undefined ? row : { ...row, move };
    }),
  );
}
