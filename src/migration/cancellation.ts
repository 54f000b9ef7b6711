/**
 * Telling a destination that sessions were given up here while it could not be reached, so that it
 * lets go of the names and the room.
 */
import type { HeartbeatTiming } from "../channel/control-link.ts";
import type { Identity } from "../channel/identity.ts";
import type { Journal } from "./journal.ts";
import { type Address, openSourceLink } from "./source-link.ts";

export interface CancellationOptions {
  home: string;
  journal: Journal;
  identity: Identity | null;
  address: Address;
  /** The destination's fingerprint, or "insecure": only its own sessions are spoken of. */
  peer: string;
  timing?: HeartbeatTiming | undefined;
}

/** Tells of every cancelled session that `peer` has not acknowledged. Throws where the link fails. */
export async function tellCancelled(options: CancellationOptions): Promise<void> {
  const { journal, home, address, identity, peer, timing } = options;
  const untold = journal
    .ofPeer("source", peer, 1000)
    .filter(({ state, acknowledged }) => state === "cancelled" && !acknowledged);
  for (const record of untold) {
    const attempt = record.attempt + 1;
    journal.write("attempt", () => journal.update(record.session, { attempt }));
    const { link } = await openSourceLink({
      home,
      address,
      identity,
      timing,
      knownPeer: peer,
      session: { id: record.session, attempt },
    });
    try {
      link.send("cancel", {});
      await link.expect("cancelled");
      journal.write("acknowledged", () => journal.update(record.session, { acknowledged: true }));
    } finally {
      link.finish();
    }
  }
}
