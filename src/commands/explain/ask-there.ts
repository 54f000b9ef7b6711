/** `migrate explain VM HOST:PORT`: what the destination itself says of the VM. */
import type { Address } from "../../channel/address.ts";
import { loadIdentity } from "../../channel/identity.ts";
import { parseTicket } from "../../channel/ticket.ts";
import type { Way } from "../../channel/transport/made-way.ts";
import { candidateOf, type VmSpec } from "../../migration/providers/candidates.ts";
import { askDestination } from "../../migration/source/ask-destination.ts";
import { asMigrateError, type MigrateError } from "../../protocol/errors.ts";
import { homeOf, type World } from "../cli/context.ts";

export interface There {
  /** As the person named it. */
  where: string;
  address: Address;
  /** Makes the way to `address`, if one has to be made; brings its own ticket. */
  way?: Way | undefined;
  insecure: boolean;
  passphrase: () => Promise<string>;
  ticket?: string | undefined;
  /** Says which host it is that has answered, where that is news. */
  notice: (message: string) => void;
}

/** Returns what would be different there, and what is refused there, if anything is. Throws MigrateError if it cannot be asked. */
export async function askThere(
  world: World,
  vm: VmSpec,
  { address, way, insecure, passphrase, where, ticket: text, notice }: There,
): Promise<{ notes: string[]; refusal: MigrateError | null }> {
  const home = homeOf(world);
  const identity = insecure ? null : await loadIdentity(home, { passphrase });
  const ticket = text === undefined || insecure ? undefined : parseTicket(text);
  const candidate = candidateOf(vm, { home, bandwidthBytesPerSec: null, retryForMs: 0, mode: "move" });
  try {
    const reached = (await way?.open()) ?? { address, ticket };
    const changes = await askDestination(candidate, { home, identity, notice, ...reached });
    return { notes: [...changes, `${where} takes the VM as it is now`], refusal: null };
  } catch (thrown) {
    const error = asMigrateError(thrown);
    if (error.side !== "destination") throw error;
    return { notes: [], refusal: error };
  }
}
