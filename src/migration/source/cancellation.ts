/**
 * Telling a destination that sessions were given up here while it could not be reached, so that it
 * lets go of the names and the room.
 */
import type { HeartbeatTiming } from "../../channel/control-link.ts";
import type { Identity } from "../../channel/identity.ts";
import type { Journal } from "../journal/journal.ts";
import type { Observer } from "../report/events.ts";
import { type Address, openSourceLink } from "./source-link.ts";

/** A destination removes files before it answers. */
const answerMs = 30_000;

export interface CancellationOptions {
  home: string;
  journal: Journal;
  identity: Identity | null;
  address: Address;
  /** The destination's fingerprint, or "insecure": only its own sessions are spoken of. */
  peer: string;
  timing?: HeartbeatTiming | undefined;
  observe: Observer;
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
    link.answerMs = answerMs;
    try {
      link.send("cancel", {});
      const answer = await link.expect("cancelled", "published", "owned");
      if (answer.name === "owned") {
        // Only a person's word against the destination's record leads here; it is asked again each time.
        options.observe({
          event: "warning",
          message: `the destination owns ${record.name}, which was given up here: run it in one place only (session ${record.session.slice(0, 12)})`,
        });
        continue;
      }
      if (answer.name === "published") {
        // The cancellation came too late: the copy is there, and the destination may close its books.
        link.send("confirm", {});
        await link.expect("closed");
        journal.write("acknowledged", () =>
          journal.update(record.session, { state: "confirmed", phase: "confirm", acknowledged: true }),
        );
        continue;
      }
      journal.write("acknowledged", () => journal.update(record.session, { acknowledged: true }));
    } finally {
      link.finish();
    }
  }
}
