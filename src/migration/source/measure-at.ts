/** The source's way to a destination that it is measured against: the link, the question, and its end. */

import { type Address, addressText } from "../../channel/address.ts";
import type { ControlLink } from "../../channel/control-link.ts";
import { loadIdentity } from "../../channel/identity.ts";
import { openSourceLink } from "../../channel/known-destination.ts";
import { parseTicket } from "../../channel/ticket.ts";
import { openHome } from "../../home/home.ts";
import { MigrateError } from "../../protocol/errors.ts";

export interface MeasureAtOptions {
  home: string;
  address: Address;
  ticket?: string | undefined;
  passphrase: () => Promise<string>;
  request: MeasuringRequest;
}

export interface MeasuringRequest {
  /** The fingerprint that the measuring source's certificate will have. */
  source: string;
  /** Largest number of bytes of one run. */
  mostBytes: number;
}

/** Where what the destination has started for us listens, and what proves who we are there. */
interface MeasuringPlace {
  /** Of the door with TLS, and of the one without. */
  port: number;
  plainPort: number;
  /** The fingerprint that its certificate has. */
  destination: string;
  /** 32 bytes. */
  secret: Buffer;
}

export interface MeasuredAt extends MeasuringPlace {
  /** Rejects when the destination is gone; never resolves. */
  lost: Promise<never>;
  /** True where the ticket was used up just now. */
  paired: boolean;
  /** The destination's fingerprint. */
  peer: string;
  /** Ends what was started there. */
  close(): Promise<void>;
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

/** Throws what the destination answers, and MigrateError "protocol" or "network". */
async function askToMeasure(
  link: ControlLink,
  { source, mostBytes }: MeasuringRequest,
): Promise<MeasuringPlace> {
  link.send("profile", { bytes: mostBytes, source });
  const { body } = await link.expect("profiling");
  return { ...body, secret: Buffer.from(body.secret, "hex") };
}
