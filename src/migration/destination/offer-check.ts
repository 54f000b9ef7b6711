/** Checks an offer against the destination's own rules, before anything is made for it. */
import { lstatSync } from "node:fs";
import { join } from "node:path";
import { freeBytes } from "../../platform/filesystem.ts";
import { type ErrorCode, MigrateError } from "../../protocol/errors.ts";
import { type Offer, providerName } from "../../protocol/offer.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import type { CheckedOffer } from "../providers/provider.ts";

const refusal = (code: ErrorCode, message: string) =>
  new MigrateError(code, message, { side: "destination" });

/**
 * Throws MigrateError "name-taken", "busy" or "no-room" if a new session cannot begin, and what `check`
 * throws. The room needed is what the source's files occupy there: holes need none, whatever the file's size.
 */
export function checkNewOffer(
  { journal, store, maxSessions }: { journal: Journal; store: string; maxSessions: number },
  offer: Offer,
  check: () => CheckedOffer,
  peer: string,
): void {
  checkNameFree(store, offer.name);
  const open = journal.open("destination").filter((other) => other.store === store);
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
  requireRoom(store, check().roomBytes);
}

/** Throws MigrateError "no-room" if the store has less than that free. */
function requireRoom(store: string, roomBytes: number): void {
  const free = freeBytes(store);
  if (roomBytes > free) {
    throw refusal("no-room", `the VM needs ${roomBytes} bytes, the destination's store has ${free} free`);
  }
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
 * Checks a session's repeated offer. Returns true if it is the same but for disks that are longer than they were
 * (SPEC.md, VM-9); `sameKept` tells whether the rest is, `takenBytes` what the session's files take already.
 * Throws MigrateError "policy" if it is not about the same VM, "no-room", and what `check` throws.
 */
export function checkRepeatedOffer(
  record: SessionRecord,
  offer: Offer,
  {
    sameKept,
    check,
    takenBytes,
    store,
  }: { sameKept: boolean; check: () => CheckedOffer; takenBytes: () => number; store: string },
): boolean {
  const files = (list: readonly { kind: string; name: string; format?: unknown }[]) =>
    JSON.stringify(list.map(({ kind, name, format }) => [kind, name, format]));
  const grown = offer.files.filter(({ bytes }, i) => bytes !== record.files[i]?.bytes);
  if (
    record.name !== offer.name ||
    record.mode !== offer.mode ||
    record.tagKey !== offer.tagKey ||
    files(record.files) !== files(offer.files) ||
    record.provider !== providerName(offer) ||
    record.release !== (offer.release ?? null) ||
    !sameKept ||
    // Only QEMU makes a file longer, and only that of a disk.
    grown.some(({ kind }) => kind !== "disk" || offer.machine === undefined) ||
    record.files.some(({ bytes }, i) => offer.files[i]!.bytes < bytes)
  ) {
    throw refusal("policy", "the session was begun with other files than are offered now");
  }
  if (grown.length === 0) return false;
  requireRoom(store, check().roomBytes - takenBytes());
  return true;
}
