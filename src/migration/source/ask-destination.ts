/**
 * What a destination says of a VM, before it is moved: the VM is offered, and the session that begins so is given up at
 * once. Nothing of the VM is sent, and nothing is left there.
 */
import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import type { Address } from "../../channel/address.ts";
import type { Identity } from "../../channel/identity.ts";
import { openSourceLink } from "../../channel/known-destination.ts";
import type { Ticket } from "../../channel/ticket.ts";
import { statBlockBytes } from "../../platform/files/filesystem.ts";
import { newReleaseCode } from "../journal/release-code.ts";
import type { Candidate } from "../providers/departure.ts";
import { offerOf } from "./offer-of.ts";
import { refusedOffer } from "./refused-offer.ts";

export interface AskDestinationOptions {
  home: string;
  address: Address;
  /** Null for an insecure link. */
  identity: Identity | null;
  ticket?: Ticket | undefined;
  /** See SourceLinkOptions. */
  notice?: ((message: string) => void) | undefined;
}

function takenBy(path: string | undefined): number {
  const stat = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
  return (stat?.blocks ?? 0) * statBlockBytes;
}

/**
 * Offers the VM. Returns sentences on what would be different there. Throws MigrateError: what the destination refuses it
 * with, what `openSourceLink` throws, and what keeps the VM from leaving.
 */
export async function askDestination(
  candidate: Candidate,
  options: AskDestinationOptions,
): Promise<readonly string[]> {
  const opened = await candidate.open();
  const id = randomBytes(16).toString("hex");
  const departure = opened.depart(id);
  try {
    const { link } = await openSourceLink({ ...options, session: { id, attempt: 1 } });
    try {
      const offering = {
        ...opened.facts,
        mode: "move" as const,
        tagKey: randomBytes(16).toString("hex"),
        provider: candidate.provider,
        release: newReleaseCode(),
      };
      // The files of a VM that stands still only once it is sent are not open yet.
      const allocatedBytes = (file: number) => takenBy(opened.facts.files[file]!.path);
      link.send("offer", offerOf(offering, departure, { verify: "off", allocatedBytes }));
      const { body } = await link.expect("accept").catch(refusedOffer);
      const changes = departure.changes(body);
      link.send("cancel", {});
      await link.expect("cancelled");
      return changes;
    } finally {
      link.finish();
    }
  } finally {
    await departure.halt();
    departure.close();
    opened.close();
  }
}
