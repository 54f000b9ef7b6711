/** Checks an offer against the destination's own rules, before anything is made for it. */
import { existsSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { allocatedBytes, freeBytes, mostNameBytes } from "../../platform/filesystem.ts";
import { type ErrorCode, MigrateError } from "../../protocol/errors.ts";
import { type Offer, providerName } from "../../protocol/offer.ts";
import { stagingPath } from "../../vm/folder/staging.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import { type CheckedOffer, roomOf } from "../providers/provider.ts";
import { providerOf } from "../providers/providers.ts";

const refusal = (code: ErrorCode, message: string) =>
  new MigrateError(code, message, { side: "destination" });

/**
 * Throws MigrateError "name-taken", "name-invalid", "busy" or "no-room" if a new session cannot begin, and what `check`
 * throws. The room needed is what the source's files hold, besides what the other sessions of the store have still to
 * receive.
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
  check();
  checkNameLengths(offer, mostNameBytes(store));
  const parts = [...offer.files, ...(offer.machine?.disks ?? [])];
  requireRoom(store, roomOf(parts), open);
}

/** Throws MigrateError "no-room" if the store has less than that free, beside what the sessions `open` will take. */
function requireRoom(store: string, roomBytes: number, open: readonly SessionRecord[]): void {
  const free = freeBytes(store);
  const promised = open.reduce((sum, record) => sum + missingBytes(store, record), 0);
  if (roomBytes <= free - promised) return;
  const others = promised > 0 ? `, of which other sessions will take ${promised}` : "";
  throw refusal(
    "no-room",
    `the VM needs ${roomBytes} bytes, the destination's store has ${free} free${others}`,
  );
}

/** Bytes that an open session has still to write into the store. */
function missingBytes(store: string, record: SessionRecord): number {
  // Later states have received everything.
  if (record.state !== "receiving") return 0;
  const room = roomOf(providerOf(record).stored(record));
  return Math.max(0, room - allocatedBelow(stagingPath(store, record.session)));
}

/** Bytes that the files in a folder, and in the folders in it, take on the disk. */
function allocatedBelow(folder: string): number {
  if (!existsSync(folder)) return 0;
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names.reduce((sum, name) => sum + allocatedBytes(join(folder, name)), 0);
}

/**
 * Throws MigrateError "name-invalid" if the store's file system, which takes names of `mostBytes`, has no room for one of
 * the VM's. Pure.
 */
export function checkNameLengths(offer: Offer, mostBytes: number): void {
  const disks = offer.machine?.disks ?? [];
  const names = [offer.name, ...[...offer.files, ...disks].map(({ name }) => name)];
  const long = names.find((name) => Buffer.byteLength(name) > mostBytes);
  if (long === undefined) return;
  throw refusal(
    "name-invalid",
    `${long} is too long a name for the destination's store, which takes ${mostBytes} bytes`,
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
 * Checks a session's repeated offer. Returns true if it is the same but for disks that are longer than they were
 * (SPEC.md, VM-9); `sameKept` tells whether the rest is, `takenBytes` what the session's files take already, and
 * `others` are the sessions that are open beside it.
 * Throws MigrateError "policy" if it is not about the same VM, "no-room", and what `check` throws.
 */
export function checkRepeatedOffer(
  record: SessionRecord,
  offer: Offer,
  {
    sameKept,
    check,
    takenBytes,
    others,
    store,
  }: {
    sameKept: boolean;
    check: () => CheckedOffer;
    takenBytes: () => number;
    others: readonly SessionRecord[];
    store: string;
  },
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
  check();
  requireRoom(store, roomOf(offer.files) - takenBytes(), others);
  return true;
}
