/** Whether the destination that is looked for answers at an address: a TLS handshake, and no byte after it. */
import { type Address, addressText } from "../channel/address.ts";
import { dial } from "../channel/dial.ts";
import type { Identity } from "../channel/identity.ts";
import { wayTo } from "../channel/transport/way.ts";
import { MigrateError } from "../protocol/errors.ts";

/** True if a host of this fingerprint answers there within `timeoutMs`. Never throws. */
export async function reaches(
  address: Address,
  fingerprint: string,
  identity: Identity,
  timeoutMs: number,
): Promise<boolean> {
  try {
    const { certificatePem, privateKeyPem } = identity;
    const socket = await dial(wayTo(address), {
      place: addressText(address),
      credentials: { certificatePem, privateKeyPem },
      standing: "control",
      checkPeer: (shown) =>
        shown === fingerprint ? null : new MigrateError("wrong-identity", "another host"),
      timeoutMs,
    });
    socket.destroy();
    return true;
  } catch {
    return false;
  }
}
