/** Checks an offer against the destination's own rules, before anything is made for it. */
import { accessSync, constants, lstatSync } from "node:fs";
import { join } from "node:path";
import { mostNameBytes } from "../../platform/files/filesystem.ts";
import { asMigrateError, type ErrorCode, MigrateError } from "../../protocol/errors.ts";
import { mirroredDisks, type Offer, providerName } from "../../protocol/offer.ts";
import { noPolicy, policyDigest, policyIn, type VmPolicy } from "../../protocol/vm-policy.ts";
import { storeFailure } from "../../transfer/landing/store-failure.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import { type CheckedOffer, type LandingPolicy, roomOf, type StoredPart } from "../providers/provider.ts";
import { offeredProvider, providerOf } from "../providers/providers.ts";
import { sessionShare } from "./peers/peer-share.ts";
import { type PromisedRoom, requireRoom } from "./peers/promised-room.ts";
import type { SourceTerms } from "./peers/source-terms.ts";

const refusal = (code: ErrorCode, message: string) =>
  new MigrateError(code, message, { side: "destination" });

/** What a new offer is held against. */
export interface OfferContext {
  journal: Journal;
  store: string;
  maxSessions: number;
  /** Room that is promised to sessions which are under way, in bytes. */
  promisedBytes: number;
  /** Sessions of its source that are over before the offer comes; none if absent. */
  ends?: readonly string[] | undefined;
  /** On which terms sources may begin a session; absent on an insecure link, where nobody is known. */
  sources?: SourceTerms | undefined;
}

/** Where a new session is to begin. */
export interface Reception extends Omit<OfferContext, "promisedBytes"> {
  session: string;
  home: string;
  policy: LandingPolicy;
  room: PromisedRoom;
}

/** Who offers. */
export interface Offering {
  peer: string;
  source: string;
  isOver(): boolean;
  /** Whether this host has proven to them what it runs, on this connection; absent if nobody asked. */
  hasProven?: (() => boolean) | undefined;
}

/** Throws MigrateError if a new session of this offer cannot begin: the first of `objectionsTo`. */
export async function requireWelcome(reception: Reception, offer: Offer, who: Offering): Promise<void> {
  const [first] = await objectionsTo(reception, offer, who, { all: false });
  if (first !== undefined) throw first;
}

/**
 * What there is against a new session of this offer, in the order in which it is found; with `all` false the first of it
 * alone. Changes nothing: an offer that is made and one that is only asked about are held against this. The room needed is
 * what the source's files hold, besides what the other sessions of the store have still to receive. Who comes while this
 * host's programs are asked may be first: then all is looked at again. Throws what is a fault of this program.
 */
export async function objectionsTo(
  { session, home, policy, room, ...context }: Reception,
  offer: Offer,
  { peer, source, isOver, hasProven = () => false }: Offering,
  { all }: { all: boolean },
): Promise<MigrateError[]> {
  const found: MigrateError[] = [];
  const provider = offeredProvider(providerName(offer));
  let isChecked = false;
  const check = () => {
    const checked = provider.check(offer, policy);
    isChecked = true;
    return checked;
  };
  const look = () => {
    const promisedBytes = room.owedToOthers(session);
    for (const step of stepsOf({ ...context, promisedBytes }, offer, check, {
      peer,
      attested: hasProven(),
    })) {
      if (found.length > 0 && !all) return;
      attempt(found, step);
    }
  };
  look();
  if (found.length > 0 && !(all && isChecked)) return found;
  if (provider.requireFitting === undefined) return found;
  const fits = await provider.requireFitting(offer, policy, { source, isOver, home }).catch(asMigrateError);
  if (fits instanceof MigrateError) found.push(fits);
  if (found.length === 0) look();
  return found;
}

function attempt(found: MigrateError[], step: () => void): void {
  try {
    step();
  } catch (thrown) {
    const error = storeFailure(thrown);
    if (error.code === "bug") throw thrown;
    if (!found.some(({ message }) => message === error.message)) found.push(error);
  }
}

/**
 * The checks of a new offer, in their order: MigrateError "policy" and "attestation" of the VM's own policy, "not-trusted", "limit", "name-taken" or "busy"; what
 * `check` throws; "store-failed"; "name-invalid"; "no-room".
 */
function stepsOf(
  { promisedBytes, ...context }: OfferContext,
  offer: Offer,
  check: () => CheckedOffer,
  { peer, attested }: { peer: string; attested: boolean },
): (() => void)[] {
  return [
    () => requirePolicyOf(offer, { attested }),
    () => requirePlace(context, offer.name, peer),
    () => {
      const { bytes } = check();
      context.sources?.requireSize(peer, bytes);
    },
    () => requireWritable(context.store),
    () => checkNameLengths(offer, mostNameBytes(context.store)),
    () => requireRoom(context.store, roomOf(partsOf(offer)), promisedBytes),
  ];
}

/**
 * Throws MigrateError if the VM's own policy forbids what is offered: "policy" for a copy of a VM that is not copied, and
 * for rules that are not known here; "attestation" if it goes to hosts alone that prove what they run, and this one has
 * not (`attested`: on the connection on which the offer comes).
 */
export function requirePolicyOf(
  { name, mode, policy }: Pick<Offer, "name" | "mode" | "policy">,
  { attested }: { attested: boolean },
): void {
  const { noCopies, onlyAttested } = policyIn(policy);
  if (noCopies && mode === "copy") {
    throw new MigrateError("policy", `${name} is not copied: its own policy says so`, {
      side: "destination",
    });
  }
  if (!onlyAttested || attested) return;
  throw new MigrateError(
    "attestation",
    `${name} goes to hosts alone that prove what they run, and the destination has not done so`,
    { side: "destination" },
  );
}

/** Throws MigrateError "store-failed" if nothing can be made in the store: access(2) tells of a read-only disk as well. */
function requireWritable(store: string): void {
  try {
    accessSync(store, constants.W_OK | constants.X_OK);
  } catch (thrown) {
    throw storeFailure(thrown);
  }
}

/**
 * Throws MigrateError "name-taken" or "busy" if there is no place for one more session of this name, "not-trusted" or
 * "limit" if its source may begin none. Checked at the
 * offer, and again in the turn of the event loop in which the session is recorded: of two that offer one name at once,
 * one is let in.
 */
export function requirePlace(
  { journal, store, maxSessions, ends = [], sources }: Omit<OfferContext, "promisedBytes">,
  name: string,
  peer: string,
): void {
  const open = journal.openIn(store).filter((other) => other.peer !== peer || !ends.includes(other.session));
  sources?.requirePlace(peer, open);
  checkNameFree(store, name);
  const rival = open.find((other) => other.name === name && !other.settled);
  if (rival) {
    // Of another peer's session, a source learns only that the name is taken.
    const whose =
      rival.peer === peer ? `by session ${rival.session.slice(0, 12)}, which is ${rival.state}` : "already";
    throw refusal("name-taken", `the name ${name} is reserved at the destination ${whose}`);
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
}

/** Everything of an offered VM that takes room in the store. */
export function partsOf(offer: Offer): StoredPart[] {
  return [...offer.files, ...mirroredDisks(offer)];
}

/**
 * Throws MigrateError "name-invalid" if the store's file system, which takes names of `mostBytes`, has no room for one of
 * the VM's. Pure.
 */
export function checkNameLengths(offer: Offer, mostBytes: number): void {
  const disks = mirroredDisks(offer);
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

export interface RepeatedOfferContext {
  policy: LandingPolicy;
  store: string;
  /** Bytes that the session's files take already. */
  takenBytes: () => number;
  /** Room that is promised to other sessions, in bytes. */
  promisedBytes: number;
  sources?: SourceTerms | undefined;
}

/**
 * Checks a session's repeated offer. Returns the sizes of its files if disks are longer than they were (SPEC.md, VM-9),
 * and null if it is the same as before. Throws MigrateError "policy" if it is not about the same VM, "no-room", and
 * what the provider throws.
 */
export function sizesOfRepeated(
  record: SessionRecord,
  offer: Offer,
  { policy, store, takenBytes, promisedBytes, sources }: RepeatedOfferContext,
): Pick<SessionRecord, "files" | "bytes"> | null {
  const provider = providerOf(record);
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
    !provider.sameKept(record, offer) ||
    // Only QEMU makes a file longer, and only that of a disk.
    grown.some(({ kind }) => kind !== "disk" || offer.machine === undefined) ||
    record.files.some(({ bytes }, i) => offer.files[i]!.bytes < bytes)
  ) {
    throw refusal("policy", "the session was begun with other files than are offered now");
  }
  const { vmPolicy = noPolicy } = (record.kept ?? {}) as { vmPolicy?: VmPolicy };
  if (policyDigest(policyIn(offer.policy)) !== policyDigest(vmPolicy)) {
    throw refusal("policy", "the session was begun with another policy of the VM's own");
  }
  if (grown.length === 0) return null;
  const { bytes } = provider.check(offer, policy);
  sources?.requireGrown(record.peer, bytes);
  requireRoom(store, roomOf(offer.files) - takenBytes(), promisedBytes);
  // What is over stays as it is.
  if (record.state !== "receiving" && record.state !== "ready") return null;
  return { files: record.files.map((file, i) => ({ ...file, bytes: offer.files[i]!.bytes })), bytes };
}
