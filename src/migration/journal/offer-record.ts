/** The journal's first record of a session on the destination, made from the source's offer. */
import { type Offer, providerName } from "../../protocol/offer.ts";
import type { SessionRecord } from "./journal.ts";

export interface OfferOrigin {
  /** The source's fingerprint, or "insecure". */
  peer: string;
  /** Address from which the source connected. */
  address: string;
  attempt: number;
  store: string;
  nowMs: number;
  /** Bytes of the whole VM, RAM included. */
  bytes: number;
  /** What the provider keeps of the offer (`Provider.keep`). */
  kept: object | null;
}

export function recordOfOffer(session: string, offer: Offer, origin: OfferOrigin): SessionRecord {
  const { nowMs, ...rest } = origin;
  return {
    ...rest,
    session,
    side: "destination",
    name: offer.name,
    vm: offer.vm,
    mode: offer.mode,
    state: "receiving",
    phase: "prepare",
    tagKey: offer.tagKey,
    files: offer.files.map(({ kind, name, bytes, allocatedBytes, format }) => ({
      kind,
      name,
      bytes,
      allocatedBytes,
      ...(format === undefined ? {} : { format }),
    })),
    folder: null,
    after: "keep",
    digest: null,
    doneBytes: 0,
    wireBytes: 0,
    provider: providerName(offer),
    release: offer.release ?? null,
    settled: false,
    acknowledged: true,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    endedAtMs: null,
  };
}
