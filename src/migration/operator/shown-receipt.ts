/**
 * The receipt from which `migrate resolve` argues: one that this host was given, or one that a person brings from the
 * other host (SPEC.md, RCPT-7). What follows from it is the ownership machines' to say.
 */
import { loadFingerprint } from "../../channel/identity.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { receiptSides } from "../../protocol/receipt.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import type { StoredReceipt } from "../journal/receipt-table.ts";
import { OwnWitness, type WitnessOptions } from "../receipts/own-witness.ts";
import { parseReceipts } from "../receipts/receipt-file.ts";
import { requireGood } from "../receipts/receipt-keeper.ts";
import { wrong } from "../receipts/signature.ts";

/** What settles a session on each side, and the record that it settles. */
const settling = {
  destination: { kind: "release", settles: "ready" },
  source: { kind: "owned", settles: "released" },
} as const;

/**
 * True if there is a receipt by the other host that settles this session: durable here by then. `text` is a file of
 * receipts that a person brings. Throws MigrateError "file-unusable" for a text that is none, "policy" if it has none
 * that could settle the session, "integrity" for one that is not what this session needs, "in-doubt" if this host's
 * journal is older than a witness of it.
 */
export async function isShown(
  record: SessionRecord,
  text: string | undefined,
  { home, journal, tpm }: WitnessOptions,
): Promise<boolean> {
  const { session, side, state } = record;
  const { kind, settles } = settling[side];
  const given = journal.receipts.find(session, kind);
  const receipt = text === undefined ? given : receiptIn(text, record);
  // What a person brings is told in any state what it comes to.
  if (receipt === null || (text === undefined && state !== settles)) return false;
  requireOf(receipt, record, await loadFingerprint(home));
  requireGood(receipt, journal);
  if (text !== undefined && state === settles) requireAsked(receipt, journal);
  await new OwnWitness({ home, journal, tpm }).require(side);
  if (given?.signature !== receipt.signature) {
    journal.write(`given-${kind}`, () => {
      if (journal.find(session)?.state === settles) journal.receipts.take(receipt);
    });
  }
  return true;
}

function receiptIn(text: string, { session, side, name }: SessionRecord): StoredReceipt {
  const { kind } = settling[side];
  const found = parseReceipts(text).find((receipt) => receipt.session === session && receipt.kind === kind);
  if (found !== undefined) return found;
  const word = kind.toUpperCase();
  throw new MigrateError(
    "policy",
    `there is no receipt for ${word} of this session of ${name} in that file`,
    {
      side,
      hint: `on the ${receiptSides[kind]}: migrate receipt show ${session.slice(0, 12)} writes those that it has`,
    },
  );
}

/** A receipt that a person brings says itself what it is about. Throws MigrateError "integrity". */
function requireOf(receipt: StoredReceipt, { mode, digest, peer }: SessionRecord, own: string): void {
  const isAboutIt = receipt.mode === mode && receipt.digest === digest;
  if (!isAboutIt)
    throw wrong(receipt, "is about other bytes than this session's", receiptSides[receipt.kind]);
  if (receipt.signer === peer && receipt.other === own) return;
  throw wrong(receipt, "is between other hosts than this session's", receiptSides[receipt.kind]);
}

/**
 * Of a RELEASE that came by a link it is known that it is no older than that link, also where READY had no receipt; of a
 * paper nothing is but what it says: this host may have died before it signed the READY that it is at now. Throws
 * MigrateError "integrity".
 */
function requireAsked(receipt: StoredReceipt, journal: Journal): void {
  if (receipt.kind !== "release" || journal.receipts.find(receipt.session, "ready") !== null) return;
  throw wrong(receipt, "is for an earlier READY: the last one is not signed", "source");
}
