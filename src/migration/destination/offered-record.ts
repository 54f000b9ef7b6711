/** The record with which a session begins here. */
import type { Offer } from "../../protocol/offer.ts";
import { providerName } from "../../protocol/offer.ts";
import { policyIn, rulesOf } from "../../protocol/vm-policy.ts";
import type { SessionRecord } from "../journal/journal.ts";
import { recordOfOffer } from "../journal/offer-record.ts";
import type { LandingPolicy } from "../providers/provider.ts";
import { offeredProvider } from "../providers/providers.ts";

/** What the journal keeps of the offer: the VM's own policy beside what its provider needs. */
function keptWith(kept: object | null, offer: Offer): object | null {
  const vmPolicy = policyIn(offer.policy);
  return rulesOf(vmPolicy).length === 0 ? kept : { ...kept, vmPolicy };
}

/** The connection on which the offer came. */
interface Origin {
  peer: string;
  remote: string;
  attempt: number;
}

/** Returns the record of a session that `offer` begins. Throws what its provider says against the offer. */
export function offeredRecord(
  session: string,
  offer: Offer,
  { peer, remote, attempt }: Origin,
  { store, now, policy }: { store: string; now: () => number; policy: LandingPolicy },
): SessionRecord {
  const provider = offeredProvider(providerName(offer));
  return recordOfOffer(session, offer, {
    peer,
    address: remote,
    attempt,
    store,
    nowMs: now(),
    bytes: provider.check(offer, policy).bytes,
    kept: keptWith(provider.keep(offer, policy), offer),
  });
}
