/** The journal's first entry of a session on the destination. */
import type { Offer } from "../../protocol/offer.ts";
import type { SessionRecord } from "./journal.ts";

export interface OfferOrigin {
  /** The source's fingerprint, or "insecure". */
  peer: string;
  /** Where it came from. */
  address: string;
  attempt: number;
  store: string;
  nowMs: number;
  /** RAM of a running VM; 0 where it is files alone. */
  ramBytes: number;
}

export function recordOfOffer(session: string, offer: Offer, origin: OfferOrigin): SessionRecord {
  const { nowMs, ramBytes, ...rest } = origin;
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
    files: offer.files.map(({ kind, name, bytes }) => ({ kind, name, bytes })),
    folder: null,
    after: "keep",
    digest: null,
    bytes: [...offer.files, ...(offer.machine?.disks ?? [])].reduce(
      (sum, { bytes }) => sum + bytes,
      ramBytes,
    ),
    doneBytes: 0,
    wireBytes: 0,
    machine: offer.machine === undefined ? null : { side: "destination", ...offer.machine },
    settled: false,
    acknowledged: true,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    endedAtMs: null,
  };
}
