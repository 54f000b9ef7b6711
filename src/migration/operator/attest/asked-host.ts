/** A connection on which another host is asked to prove what it runs, and nothing of a VM is said. */

import type { Binding } from "../../../attestation/evidence/binding.ts";
import { loadHostIdentity } from "../../../attestation/host-identity.ts";
import type { Address } from "../../../channel/address.ts";
import { openSourceLink, type SourceLink } from "../../../channel/known-destination.ts";
import type { Ticket } from "../../../channel/ticket.ts";
import type { Way } from "../../../channel/transport/made-way.ts";
import { openHome } from "../../../home/home.ts";
import { MigrateError } from "../../../protocol/errors.ts";

export interface AskedHostOptions {
  home: string;
  address: Address;
  /** Makes the way to `address`, if one has to be made. */
  way?: Way | undefined;
  ticket?: Ticket | undefined;
  passphrase: () => Promise<string>;
  /** See SourceLinkOptions. */
  notice?: ((message: string) => void) | undefined;
}

export interface AskedHost {
  home: string;
  link: SourceLink["link"];
  /** Its fingerprint. */
  peer: string;
  binding: Binding;
}

/**
 * Opens the connection, does `work` on it, and closes it. Throws what `openSourceLink` and `work` throw, and MigrateError
 * "attestation" if that host does not prove anything.
 */
export async function withAskedHost<T>(
  options: AskedHostOptions,
  work: (host: AskedHost) => Promise<T>,
): Promise<T> {
  const home = openHome(options.home);
  const identity = await loadHostIdentity(home, { passphrase: options.passphrase });
  const { ticket, notice } = options;
  const reached = (await options.way?.open()) ?? { address: options.address, ticket };
  const { link, peer, attests, exporter } = await openSourceLink({ home, identity, notice, ...reached });
  try {
    if (!attests)
      throw new MigrateError("attestation", "that host does not prove what it runs", {
        side: "destination",
        hint: "run migrate serve there with --attest; migrate doctor tells whether it has a TPM",
      });
    const binding: Binding = {
      ...{ role: "destination", exporter, prover: peer, verifier: identity.fingerprint },
      ...{ session: "", attempt: 0 },
    };
    return await work({ home, link, peer, binding });
  } catch (thrown) {
    link.fail(thrown);
    throw thrown;
  } finally {
    link.finish();
  }
}
