/** What a person should know of a policy before they say yes: what in it rests on their word alone. Pure. */
import type { Policy } from "../../attestation/policy/policy.ts";

/** Sentences, the gravest first; none where the maker vouches for the TPM, and something was measured. */
export function remarksOn({ endorsementKey: { certificate }, registers, tlsKeyInTpm }: Policy): string[] {
  const remarks: string[] = [];
  const values = [...registers.values()].flatMap((rule) =>
    rule.kind === "value" ? rule.values : ["measured"],
  );
  if (values.every((value) => /^0+$/.test(value)))
    remarks.push(
      "Nothing was measured into any of these registers: they say nothing of what that host runs. Its firmware does not measure, or its TPM is not the one that it measures into.",
    );
  if (certificate === null)
    remarks.push(
      "Its TPM has no certificate of a maker: that it is a TPM, and that host's, rests on your word.",
    );
  else if (!certificate.chainChecked)
    remarks.push(
      `Its TPM has a certificate of ${certificate.issuer}, which was held against none of the makers that you trust: give --ek-roots FILE, or it rests on your word.`,
    );
  if (!tlsKeyInTpm)
    remarks.push(
      "Its key of TLS lies in a file: who copies that file and takes over the host's address is still not that TPM, but can be that host where no proof is asked for.",
    );
  return remarks;
}
