/**
 * The source's side of a measurement against a destination: opens the link, asks for a process to measure
 * against, and ends it.
 */

import { loadHostIdentity } from "../../attestation/host-identity.ts";
import { type Address, addressText } from "../../channel/address.ts";
import type { ControlLink } from "../../channel/control-link.ts";
import { openSourceLink } from "../../channel/known-destination.ts";
import type { Ticket } from "../../channel/ticket.ts";
import { openHome } from "../../home/home.ts";
import { MigrateError } from "../../protocol/errors.ts";

export interface MeasureAtOptions {
  home: string;
  address: Address;
  ticket?: Ticket | undefined;
  passphrase: () => Promise<string>;
  /** See SourceLinkOptions. */
  notice?: ((message: string) => void) | undefined;
  request: MeasuringRequest;
}

export interface MeasuringRequest {
  /** The fingerprint that the measuring source's certificate will have. */
  source: string;
  /** How many bytes one run may send at most. */
  mostBytes: number;
}

/**
 * The process that the destination started for this source: where it listens, and the secret to authenticate
 * with.
 */
interface MeasuringPlace {
  /** The TCP ports with TLS and without. */
  port: number;
  plainPort: number;
  /** The fingerprint of its certificate. */
  destination: string;
  /** 32 bytes. */
  secret: Buffer;
}

export interface MeasuredAt extends MeasuringPlace {
  /** Rejects when the link to the destination ends; never resolves. */
  lost: Promise<never>;
  /** True if this host was paired by the ticket just now. */
  paired: boolean;
  /** The destination's fingerprint. */
  peer: string;
  /** Ends the process that was started there. */
  close(): Promise<void>;
}

/**
 * Asks the `migrate serve` at `address` for a process to measure against; this host must be trusted there, or
 * have a ticket. The process ends on `close`, or with this process. Throws MigrateError as openSourceLink
 * does, and "policy" or "busy" if the destination refuses.
 */
export async function measureAt(options: MeasureAtOptions): Promise<MeasuredAt> {
  const home = openHome(options.home);
  const { link, peer, paired } = await openSourceLink({
    home,
    address: options.address,
    identity: await loadHostIdentity(home, { passphrase: options.passphrase }),
    ticket: options.ticket,
    notice: options.notice,
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

/** Throws the destination's error, and MigrateError "protocol" or "network". */
async function askToMeasure(
  link: ControlLink,
  { source, mostBytes }: MeasuringRequest,
): Promise<MeasuringPlace> {
  link.send("profile", { bytes: mostBytes, source });
  const { body } = await link.expect("profiling");
  return { ...body, secret: Buffer.from(body.secret, "hex") };
}
