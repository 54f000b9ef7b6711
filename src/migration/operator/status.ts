/** What is known of sessions: on this host, from its journal, and on a destination, by asking it. */

import { join } from "node:path";
import { loadHostIdentity } from "../../attestation/host-identity.ts";
import { type Address, addressText } from "../../channel/address.ts";
import { openSourceLink } from "../../channel/known-destination.ts";
import type { Way } from "../../channel/transport/made-way.ts";
import { TrustFile } from "../../channel/trust.ts";
import { openHome } from "../../home/home.ts";
import type { Side } from "../../protocol/errors.ts";
import type { RemoteSession } from "../../protocol/messages.ts";
import type { ReceiptKind } from "../../protocol/receipt.ts";
import { isPublishedBy } from "../destination/published-manifest.ts";
import { Journal, type SessionRecord } from "../journal/journal.ts";
import type { Verdict } from "../journal/verdicts.ts";
import { type Owner, ownerOf } from "../ownership/owner.ts";
import type { DestinationRecord, SourceRecord } from "../ownership/records.ts";
import { nothingThere } from "../ownership/witness.ts";

export interface SessionRow {
  session: string;
  name: string;
  side: Side;
  peer: string;
  address: string;
  phase: string;
  state: string;
  /** Who may start the VM, as far as this host knows. */
  owner: Owner;
  mode: "move" | "copy";
  bytes: number;
  doneBytes: number;
  createdAtMs: number;
  updatedAtMs: number;
  endedAtMs?: number;
  /** Of a session that this host has released: what shows so at the destination (`resolve --code`). */
  releaseCode?: string;
  /** The words of the handover that are signed, in their order; absent if none is. */
  receipts?: ReceiptKind[];
  /** What the hosts of this session have proven to this one, oldest first; absent if nothing. */
  proofs?: ProofRow[];
}

/** What one attempt of a session has proven: `policyVersion` is that of this host's policy for `peer`, `file` the evidence. */
export type ProofRow = Pick<
  Verdict,
  "role" | "peer" | "moment" | "policyVersion" | "allowed" | "file" | "digest" | "atMs"
>;

/** Returns this host's sessions that have not ended, oldest first. Throws MigrateError "home-unusable". */
export function localStatus(home: string): SessionRow[] {
  return withJournal(home, (journal) => journal.open().map((record) => rowWithProofs(journal, record)));
}

/** Returns this host's sessions that have ended, newest first. Throws MigrateError "home-unusable". */
export function history(home: string): SessionRow[] {
  return withJournal(home, (journal) =>
    journal
      .all()
      .filter(({ endedAtMs }) => endedAtMs !== null)
      .map((record) => rowWithProofs(journal, record)),
  );
}

function rowWithProofs(journal: Journal, record: SessionRecord): SessionRow {
  const proofs = journal.verdictsOf(record.session).map(
    ({ role, peer, moment, policyVersion, allowed, file, digest, atMs }): ProofRow => ({
      ...{ role, peer, moment, policyVersion, allowed },
      ...{ file, digest, atMs },
    }),
  );
  const row = sessionRow(record, journal);
  return proofs.length === 0 ? row : { ...row, proofs };
}

/** The kinds of VM (`Provider.name`) that this host has sent to the destination of this address, ever. Throws as `localStatus`. */
export function providersSentTo(home: string, address: string): string[] {
  const sent = withJournal(home, (journal) => journal.all("source").filter((row) => row.address === address));
  return [...new Set(sent.map(({ provider }) => provider))];
}

/**
 * Whether proofs are asked of the destination of this address: by its line in the trust file, or in a session with it that
 * was begun so and has not ended. Throws as `localStatus`.
 */
export function asksForProofs(path: string, address: string): boolean {
  const home = openHome(path);
  const lines = TrustFile.load(home).peers();
  if (
    lines.some(
      ({ name, attest, roles }) => name === address && attest !== undefined && roles.includes("destination"),
    )
  )
    return true;
  return withJournal(home, (journal) =>
    journal
      .open("source")
      .some((row) => row.address === address && journal.isAttested(row.session, "destination")),
  );
}

/** The kinds of VM in sessions of this store that have not ended. Throws as `localStatus`. */
export function providersUnderWay(home: string, store: string): string[] {
  const open = withJournal(home, (journal) =>
    journal.open("destination").filter((row) => row.store === store),
  );
  return [...new Set(open.map(({ provider }) => provider))];
}

export interface RemoteStatusOptions {
  home: string;
  address: Address;
  /** Makes the way to `address`, if one has to be made. */
  way?: Way | undefined;
  insecure: boolean;
  passphrase: () => Promise<string>;
  /** See SourceLinkOptions. */
  notice?: ((message: string) => void) | undefined;
}

/** Returns the sessions that a destination has with this host and that have not ended, newest first. Throws as `openSourceLink`. */
export async function remoteStatus(options: RemoteStatusOptions): Promise<SessionRow[]> {
  return (await remoteSessions(options)).filter((row) => row.endedAtMs === undefined);
}

/** As `remoteStatus`, of those that have ended; a destination tells of at most `limits.sessionRows` in all. */
export async function remoteHistory(options: RemoteStatusOptions): Promise<SessionRow[]> {
  return (await remoteSessions(options)).filter((row) => row.endedAtMs !== undefined);
}

async function remoteSessions(options: RemoteStatusOptions): Promise<SessionRow[]> {
  const home = openHome(options.home);
  const identity = options.insecure ? null : await loadHostIdentity(home, { passphrase: options.passphrase });
  const reached = (await options.way?.open()) ?? { address: options.address };
  const { link, peer } = await openSourceLink({ home, identity, notice: options.notice, ...reached });
  try {
    link.send("list", {});
    const { body } = await link.expect("sessions");
    return body.rows.map((row) => remoteRow(row, peer, addressText(options.address)));
  } finally {
    link.finish();
  }
}

/** Returns the row that people see for a session of the journal. */
export function sessionRow(record: SessionRecord, journal: Journal): SessionRow {
  const { session, name, side, peer, address, phase, state, mode, bytes, doneBytes } = record;
  const receipts = journal.receipts.of(session).map(({ kind }) => kind);
  return {
    session,
    name,
    side,
    peer,
    address,
    phase,
    state,
    owner: ownerHere(record),
    mode,
    bytes,
    doneBytes,
    createdAtMs: record.createdAtMs,
    updatedAtMs: record.updatedAtMs,
    ...(record.endedAtMs === null ? {} : { endedAtMs: record.endedAtMs }),
    ...(side === "source" && state === "released" && record.release !== null
      ? { releaseCode: record.release }
      : {}),
    ...(receipts.length === 0 ? {} : { receipts }),
  };
}

function remoteRow(row: RemoteSession, peer: string, address: string): SessionRow {
  const state = row.state === "unknown" ? "none" : row.state;
  const owner = ownerOf({ side: "destination", record: state, mode: row.mode, witness: nothingThere });
  // An older destination does not say when a session has ended, but in these two states it has.
  const isOver = state === "closed" || state === "cancelled";
  const { endedAtMs = isOver ? row.updatedAtMs : undefined, ...rest } = row;
  const over = endedAtMs === undefined ? {} : { endedAtMs };
  return { ...rest, ...over, side: "destination", peer, address, owner };
}

/**
 * Who owns the VM of a session, according to this host's journal and store. QEMU is not asked: it may take
 * long to answer.
 */
function ownerHere(record: SessionRecord): Owner {
  const { side, state, mode, store, name, session } = record;
  if (side === "source") return ownerOf({ side, record: state as SourceRecord, mode });
  const published = store !== null && isPublishedBy(join(store, name), session);
  const witness = { published, runs: false };
  return ownerOf({ side, record: state as DestinationRecord, mode, witness });
}

function withJournal<T>(path: string, read: (journal: Journal) => T): T {
  const journal = Journal.open(openHome(path));
  try {
    return read(journal);
  } finally {
    journal.close();
  }
}
