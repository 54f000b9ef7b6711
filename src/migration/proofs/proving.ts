/** This host as the one that proves what it runs, to a destination that demands it (SPEC.md, Attestation). */
import { isAsked, type Prover } from "../../attestation/prover.ts";
import type { ControlLink } from "../../channel/control-link.ts";
import { MigrateError } from "../../protocol/errors.ts";

/**
 * Asks to be challenged, and answers until the destination is satisfied. Throws what ends the link, "tpm-unusable" if this
 * host's TPM does not answer, and what the destination refuses.
 */
export async function proveTo(link: Pick<ControlLink, "send" | "receive">, prover: Prover): Promise<void> {
  link.send("attest", {});
  for (;;) {
    const message = await link.receive();
    if (message.name === "verdict") return;
    if (!isAsked(message))
      throw new MigrateError(
        "protocol",
        `a ${message.name} message is not expected while this host proves itself`,
        {
          side: "destination",
        },
      );
    const { name, body } = await prover.answer(message);
    link.send(name, body as never);
  }
}
