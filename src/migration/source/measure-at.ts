/** The source's way to a destination that it is measured against: the link, the question, and its end. */

import { loadIdentity } from "../../channel/identity.ts";
import { parseTicket } from "../../channel/ticket.ts";
import { openHome } from "../../home/home.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { askToMeasure, type MeasuringProcess, type MeasuringRequest } from "../destination/measuring.ts";
import { type Address, addressText, openSourceLink } from "./source-link.ts";

export interface MeasureAtOptions {
  home: string;
  address: Address;
  ticket?: string | undefined;
  passphrase: () => Promise<string>;
  request: MeasuringRequest;
}

export interface MeasuredAt extends MeasuringProcess {
  /** Rejects when the destination is gone; never resolves. */
  lost: Promise<never>;
  /** True where the ticket was used up just now. */
  paired: boolean;
  /** The destination's fingerprint. */
  peer: string;
}

/**
 * Asks the `migrate serve` at `address`, which must be known or have given a ticket. What it starts there
 * ends with `close`, or with this process. Throws MigrateError as openSourceLink does, and "policy" or
 * "busy" where the destination refuses.
 */
export async function measureAt(options: MeasureAtOptions): Promise<MeasuredAt> {
  const home = openHome(options.home);
  const { link, peer, paired } = await openSourceLink({
    home,
    address: options.address,
    identity: await loadIdentity(home, { passphrase: options.passphrase }),
    ticket: options.ticket === undefined ? undefined : parseTicket(options.ticket),
  });
  try {
    const process = await askToMeasure(link, options.request);
    const lost = Promise.withResolvers<never>();
    lost.promise.catch(() => {});
    link.onClosed((error) =>
      lost.reject(
        new MigrateError(
          "network",
          `the destination at ${addressText(options.address)} went away: ${error.message}`,
          {
            side: "destination",
            cause: error,
          },
        ),
      ),
    );
    return { ...process, lost: lost.promise, paired, peer, close: async () => link.finish() };
  } catch (thrown) {
    link.finish();
    throw thrown;
  }
}
