/**
 * Tells a destination of the sessions that were given up here while it could not be reached, so that it frees
 * their names and disk space.
 */

import type { Address } from "../../channel/address.ts";
import type { HeartbeatTiming } from "../../channel/control-link.ts";
import type { Identity } from "../../channel/identity.ts";
import { openSourceLink, type SourceLink } from "../../channel/known-destination.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { Journal } from "../journal/journal.ts";
import type { SourceAction, SourceEvent } from "../ownership/source-machine.ts";
import type { Observer } from "../report/events.ts";
import { SourceSteps } from "./source-steps.ts";

/** A destination removes files before it answers, so it may take this long. */
const answerMs = 30_000;

export interface CancellationOptions {
  home: string;
  journal: Journal;
  identity: Identity | null;
  address: Address;
  /** The destination's fingerprint, or "insecure": it is told of its own sessions only. */
  peer: string;
  timing?: HeartbeatTiming | undefined;
  observe: Observer;
}

/**
 * Tells `peer` of every cancelled session that it has not acknowledged. Throws MigrateError if the link
 * fails.
 */
export async function tellCancelled(options: CancellationOptions): Promise<void> {
  const { journal, home, address, identity, peer, timing, observe } = options;
  const untold = journal
    .ofPeer("source", peer, 1000)
    .filter(({ state, acknowledged }) => state === "cancelled" && !acknowledged);
  for (const { session, attempt: before } of untold) {
    const attempt = before + 1;
    journal.write("attempt", () => journal.update(session, { attempt }));
    const link = await openSourceLink({
      home,
      address,
      identity,
      timing,
      knownPeer: peer,
      session: { id: session, attempt },
    });
    link.link.answerMs = answerMs;
    try {
      const now = () => Date.now();
      const steps = new SourceSteps({ home, journal, session, observe, now });
      await tell(steps, link);
    } finally {
      link.link.finish();
    }
  }
}

async function tell(steps: SourceSteps, { link }: SourceLink): Promise<void> {
  const perform = async (actions: readonly SourceAction[]) => {
    for (const action of actions) {
      if (action === "send-cancel") link.send("cancel", {});
      else if (action === "send-confirm") link.send("confirm", {});
      else if (!(await steps.perform(action))) {
        throw new MigrateError("protocol", "the destination's answer does not fit a cancellation");
      }
    }
  };
  await perform(steps.step({ type: "linked" }));
  while (steps.state.ended === undefined) {
    const { name } = await link.expect("cancelled", "published", "owned", "closed");
    const event: SourceEvent = { type: name === "cancelled" ? "destination-cancelled" : name };
    await perform(steps.step(event));
  }
}
