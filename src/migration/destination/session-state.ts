/** What there is of a session at the destination: its record, what the store says, and what runs. */
import { join } from "node:path";
import type { EndedSession } from "../journal/ended-sessions.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import type { DestinationState } from "../ownership/destination-machine.ts";
import type { DestinationRecord } from "../ownership/records.ts";
import { nothingThere } from "../ownership/witness.ts";
import { providerOf } from "../providers/providers.ts";
import { isPublishedBy } from "./published-manifest.ts";
import type { PublishedSessions } from "./published-sessions.ts";

export interface StateContext {
  journal: Journal;
  published: PublishedSessions;
  home: string;
  store: string;
}

/** What is left of a session that is over and has no record any more; null for anybody but its source. */
export function endedSession(session: string, peer: string, { journal }: StateContext): EndedSession | null {
  const ended = journal.findEnded(session);
  return ended?.peer === peer ? ended : null;
}

/** The state of a session without a record, for a request of `peer` of that mode. */
export function stateWithoutRecord(
  session: string,
  { mode, peer }: Pick<SessionRecord, "mode" | "peer">,
  context: StateContext,
): DestinationState {
  const ended = endedSession(session, peer, context);
  if (ended !== null) {
    return { record: ended.state, mode: ended.mode, witness: nothingThere, program: "files" };
  }
  const published = context.published.has(session, peer);
  return { record: "none", mode, witness: { published, runs: false }, program: "files" };
}

/**
 * The state of a session with a record. `isSure` is true if this process started the program that holds the VM, and so
 * knows that it waits: to ask it would add to the downtime.
 */
export async function stateOfRecord(
  record: SessionRecord,
  isSure: boolean,
  { home, store }: StateContext,
): Promise<DestinationState> {
  const resident = providerOf(record).resident(record, home);
  const runs = isSure ? false : await resident.runs();
  const folder = join(record.store ?? store, record.name);
  return {
    record: record.state as DestinationRecord,
    mode: record.mode,
    witness: { published: isPublishedBy(folder, record.session), runs },
    program: resident.program,
  };
}
