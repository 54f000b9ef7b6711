/** This host as the one that proves what it runs, to a destination that demands it (SPEC.md, Attestation). */
import { isAsked, type Prover } from "../../attestation/prover.ts";
import type { ControlLink } from "../../channel/control-link.ts";
import { MigrateError } from "../../protocol/errors.ts";

/** What a destination may ask in all, in milliseconds: enrolment with a slow TPM, and both logs. */
const mostMs = 120_000;

/**
 * Asks to be challenged, and answers until the destination is satisfied, or `withinMs` are over. Throws what ends the link,
 * "tpm-unusable" if this host's TPM does not answer, "attestation" if it takes too long, and what the destination refuses.
 */
export async function proveTo(
  link: Pick<ControlLink, "send" | "receive" | "fail">,
  prover: Prover,
  withinMs = mostMs,
): Promise<void> {
  const late = setTimeout(() => link.fail(tooLong(withinMs)), withinMs);
  try {
    await answerAll(link, prover);
  } finally {
    clearTimeout(late);
  }
}

function tooLong(ms: number): MigrateError {
  return new MigrateError(
    "attestation",
    `the destination was not satisfied with proofs within ${ms / 1000} s`,
    {
      side: "destination",
      hint: "see whether this host's TPM is slow (migrate doctor), and what serve says there",
    },
  );
}

async function answerAll(link: Pick<ControlLink, "send" | "receive">, prover: Prover): Promise<void> {
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
