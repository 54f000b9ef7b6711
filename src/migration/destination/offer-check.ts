/** Checks an offer against the destination's own rules, before anything is made for it. */
import { lstatSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { freeBytes } from "../../platform/filesystem.ts";
import { type ErrorCode, MigrateError } from "../../protocol/errors.ts";
import { type Offer, providerName } from "../../protocol/offer.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import type { CheckedOffer } from "../providers/provider.ts";
import { sessionShare } from "./peers/peer-share.ts";

const refusal = (code: ErrorCode, message: string) =>
  new MigrateError(code, message, { side: "destination" });

/** What a new offer is held against. */
export interface OfferContext {
  journal: Journal;
  store: string;
  maxSessions: number;
  /** Room that is promised to sessions which are under way, in bytes. */
  promisedBytes: number;
}

/**
 * Throws MigrateError "name-taken", "busy" or "no-room" if a new session cannot begin, and what `check`
 * throws. The room needed is what the source's files occupy there: holes need none, whatever the file's size.
 */
export function checkNewOffer(
  { journal, store, maxSessions, promisedBytes }: OfferContext,
  offer: Offer,
  check: () => CheckedOffer,
  peer: string,
): void {
  checkNameFree(store, offer.name);
  const open = journal.openIn(store);
  const rival = open.find(({ name, settled }) => name === offer.name && !settled);
  if (rival) {
    // Of another peer's session, a source learns only that the name is taken.
    const whose =
      rival.peer === peer ? `by session ${rival.session.slice(0, 12)}, which is ${rival.state}` : "already";
    throw refusal("name-taken", `the name ${offer.name} is reserved at the destination ${whose}`);
  }
  if (open.length >= maxSessions) {
    throw refusal("busy", `the destination has ${open.length} sessions already, which is its limit`);
  }
  const own = open.filter((other) => other.peer === peer).length;
  // Without authentication everybody is the same peer.
  if (peer !== "insecure" && own >= sessionShare(maxSessions, open.length - own)) {
    throw refusal(
      "busy",
      `the destination has ${own} sessions of this source already, which is its share while others may come`,
    );
  }
  const { roomBytes } = check();
  const free = Math.max(0, freeBytes(store) - promisedBytes);
  if (roomBytes > free) {
    throw refusal("no-room", `the VM needs ${roomBytes} bytes, the destination's store has ${free} free`);
  }
}

/** What an offered VM takes on the store's disk, as its source says, in bytes: holes need no room. */
export function roomOf({ files, machine }: Offer): number {
  return [...files, ...(machine?.disks ?? [])].reduce(
    (sum, { bytes, allocatedBytes }) => sum + Math.min(allocatedBytes, bytes),
    0,
  );
}

/**
 * Throws MigrateError "name-taken" if the store has an entry of this name. Checked at the offer, and again at
 * the seal: after that the source releases the VM, and a name clash would leave it without an owner.
 */
export function checkNameFree(store: string, name: string): void {
  // An entry of any kind counts: even a dangling link occupies the name.
  if (lstatSync(join(store, name), { throwIfNoEntry: false }) !== undefined) {
    throw refusal("name-taken", `there is a VM named ${name} in the destination's store`);
  }
}

/**
 * Throws MigrateError "policy" if a session's repeated offer is not about the same VM; `kept` is what the
 * provider keeps of the repeated offer.
 */
export function checkSameOffer(record: SessionRecord, offer: Offer, kept: object | null): void {
  const files = (list: readonly { kind: string; name: string; bytes: number }[]) =>
    JSON.stringify(list.map(({ kind, name, bytes }) => [kind, name, bytes]));
  if (
    record.name !== offer.name ||
    record.mode !== offer.mode ||
    record.tagKey !== offer.tagKey ||
    files(record.files) !== files(offer.files) ||
    record.provider !== providerName(offer) ||
    !isDeepStrictEqual(record.kept, kept)
  ) {
    throw refusal("policy", "the session was begun with other files than are offered now");
  }
}
