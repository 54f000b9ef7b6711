/** What is known of sessions: here, from the journal, and over there, by asking. */

import { loadIdentity } from "../../channel/identity.ts";
import { openHome } from "../../home/home.ts";
import type { Side } from "../../protocol/errors.ts";
import type { RemoteSession } from "../../protocol/messages.ts";
import { Journal, type SessionRecord } from "../journal/journal.ts";
import { type Address, addressText, openSourceLink } from "../source/source-link.ts";

export interface SessionRow {
  session: string;
  name: string;
  side: Side;
  peer: string;
  address: string;
  phase: string;
  state: string;
  /** Who may start the VM, as far as this host knows; "nobody yet" while that is in doubt. */
  owner: Side | "nobody yet";
  mode: "move" | "copy";
  bytes: number;
  doneBytes: number;
  createdAtMs: number;
  updatedAtMs: number;
  endedAtMs?: number;
}

/** Sessions of this host that are not over, oldest first. */
export function localStatus(home: string): SessionRow[] {
  return withJournal(home, (journal) => journal.open().map(sessionRow));
}

/** Every session that this host has taken part in and that is over, newest first. */
export function history(home: string): SessionRow[] {
  return withJournal(home, (journal) =>
    journal
      .all()
      .filter(({ endedAtMs }) => endedAtMs !== null)
      .map(sessionRow),
  );
}

export interface RemoteStatusOptions {
  home: string;
  address: Address;
  insecure: boolean;
  passphrase: () => Promise<string>;
}

/** The sessions that a destination has with this host, newest first. Throws as `openSourceLink`. */
export async function remoteStatus(options: RemoteStatusOptions): Promise<SessionRow[]> {
  const home = openHome(options.home);
  const identity = options.insecure ? null : await loadIdentity(home, { passphrase: options.passphrase });
  const { link, peer } = await openSourceLink({ home, address: options.address, identity });
  try {
    link.send("list", {});
    const { body } = await link.expect("sessions");
    return body.rows.map((row) => remoteRow(row, peer, addressText(options.address)));
  } finally {
    link.finish();
  }
}

/** A session of the journal as people see it. */
export function sessionRow(record: SessionRecord): SessionRow {
  const { session, name, side, peer, address, phase, state, mode, bytes, doneBytes } = record;
  return {
    session,
    name,
    side,
    peer,
    address,
    phase,
    state,
    owner: ownerOf(side, state, mode),
    mode,
    bytes,
    doneBytes,
    createdAtMs: record.createdAtMs,
    updatedAtMs: record.updatedAtMs,
    ...(record.endedAtMs === null ? {} : { endedAtMs: record.endedAtMs }),
  };
}

function remoteRow(row: RemoteSession, peer: string, address: string): SessionRow {
  return { ...row, side: "destination", peer, address, owner: ownerOf("destination", row.state, row.mode) };
}

function ownerOf(side: Side, state: string, mode: "move" | "copy"): SessionRow["owner"] {
  if (mode === "copy") return "source";
  switch (state) {
    case "owner":
    case "closed":
    case "confirmed":
      return "destination";
    case "released":
      return "nobody yet";
    case "ready":
      // The source may have let go already; only it can tell.
      return side === "destination" ? "nobody yet" : "source";
    default:
      return "source";
  }
}

function withJournal<T>(path: string, read: (journal: Journal) => T): T {
  const journal = Journal.open(openHome(path));
  try {
    return read(journal);
  } finally {
    journal.close();
  }
}
