/**
 * What would become of an offer that is only asked about: the checks that an offer has to pass, and how the VM would be
 * here. Nothing is written, made or promised (SPEC.md, Asking).
 */
import { statSync } from "node:fs";
import { freeBytes, statBlockBytes } from "../../platform/files/filesystem.ts";
import type { Answer, Ask, Surroundings } from "../../protocol/asking.ts";
import { asMigrateError, type MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { errorForPeer } from "../../protocol/messages.ts";
import { providerName } from "../../protocol/offer.ts";
import { Staging } from "../../vm/folder/staging.ts";
import type { SessionRecord } from "../journal/journal.ts";
import { roomOf } from "../providers/provider.ts";
import { offeredProvider } from "../providers/providers.ts";
import { forSource } from "./destination-replies.ts";
import type { SessionContext } from "./destination-session.ts";
import { objectionsTo, partsOf, sizesOfRepeated } from "./offer-check.ts";
import type { Asker } from "./peers/asker.ts";

/** What an answer is made of. */
export type AskedContext = Pick<
  SessionContext,
  "journal" | "store" | "maxSessions" | "policy" | "room" | "home" | "lookup" | "sources"
>;

/** Returns what ANSWER says. Throws what is no MigrateError. */
export async function answerTo(asked: Ask, asker: Asker, context: AskedContext): Promise<Answer> {
  const { session = "", ends, ...offer } = asked;
  const { store, room, policy, home } = context;
  const resumed = ownSession(session, asker, context);
  const promisedBytes = room.owedToOthers(session);
  const heldBytes = resumed === null ? 0 : stagedBytes(store, resumed);
  const isRestored = await asker.receipts.admit("offer", resumed, offer).then(() => [], thrownOnce);
  const objections =
    resumed === null
      ? await objectionsTo({ ...context, session, ends }, offer, asker, { all: true })
      : repeated(resumed, offer, { ...context, heldBytes, promisedBytes });
  const refused = [...isRestored, ...objections];
  const provider = offeredProvider(providerName(offer));
  // Of what is refused as a whole nothing more can be told.
  const surroundings = await provider
    .surroundings?.(offer, policy, { ...asker, home })
    .catch((): Surroundings => ({}));
  return {
    refused: refused.slice(0, limits.refusals).map((error) => errorForPeer(forSource(error))),
    room: { neededBytes: roomOf(partsOf(offer)), freeBytes: freeIn(store), promisedBytes },
    ...(resumed === null ? {} : { heldBytes }),
    ...alreadyThere(offer, asker.peer, context),
    ...surroundings,
  };
}

const thrownOnce = (thrown: unknown): MigrateError[] => [asMigrateError(thrown)];

/** The record of the session that would be resumed, if it is there, open and the asker's own. */
function ownSession(
  session: string,
  { peer }: Asker,
  { journal, store }: AskedContext,
): SessionRecord | null {
  const record = session === "" ? null : journal.find(session);
  const isOwn = record?.side === "destination" && record.peer === peer && record.store === store;
  return isOwn && record.endedAtMs === null ? record : null;
}

function repeated(
  record: SessionRecord,
  offer: Omit<Ask, "session" | "ends">,
  { heldBytes, ...context }: AskedContext & { heldBytes: number; promisedBytes: number },
): MigrateError[] {
  try {
    sizesOfRepeated(record, offer, { ...context, takenBytes: () => heldBytes });
    return [];
  } catch (thrown) {
    return [asMigrateError(thrown)];
  }
}

function freeIn(store: string): number {
  try {
    return freeBytes(store);
  } catch {
    // It is refused for that.
    return 0;
  }
}

function stagedBytes(store: string, { session, files }: SessionRecord): number {
  try {
    return new Staging(store, session, files).allocatedBytes();
  } catch {
    // It has nothing yet.
    return 0;
  }
}

/** Where the store may have something of the VM: a hint, which costs no look at any byte. */
function alreadyThere(
  offer: Omit<Ask, "session" | "ends">,
  peer: string,
  { lookup }: AskedContext,
): Pick<Answer, "index" | "baseBytes"> {
  // Without authentication nobody is told what the store has.
  if (lookup === null || peer === "insecure") return {};
  const { finder } = lookup.lookup(offer, peer);
  if (finder === null) return {};
  const bases = finder.bases.filter((path) => path !== null);
  const baseBytes = bases.reduce((sum, path) => sum + takenBy(path), 0);
  return { index: finder.index !== null, ...(bases.length === 0 ? {} : { baseBytes }) };
}

function takenBy(path: string): number {
  return (statSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * statBlockBytes;
}
