/** How a receipt is signed, and what makes one good (SPEC.md, RCPT-1). */
import { createPrivateKey, sign, verify, X509Certificate } from "node:crypto";
import { fingerprintOf } from "../../channel/certificate.ts";
import type { Identity } from "../../channel/identity.ts";
import { MigrateError, type Side } from "../../protocol/errors.ts";
import { type Receipt, receiptSides, type Statement, statementBytes } from "../../protocol/receipt.ts";
import type { StoredReceipt } from "../journal/receipt-table.ts";

/** FIPS 186-5 with r and s at their full length, whatever they are: the form of IEEE P1363. */
const dsaEncoding = "ieee-p1363";

/** Signs a statement of this host's; `signer` must be its fingerprint. */
export function signed(statement: Statement, identity: Identity): StoredReceipt {
  const key = createPrivateKey(identity.privateKeyPem);
  return {
    ...statement,
    certificate: new X509Certificate(identity.certificatePem).raw.toString("base64"),
    signature: sign("sha256", statementBytes(statement), { key, dsaEncoding }).toString("hex"),
  };
}

/**
 * Throws MigrateError "integrity" of the signer's side unless the certificate is the one of the fingerprint `signer`, of
 * a P-256 key, and the signature holds.
 */
export function requireSigned(receipt: StoredReceipt): void {
  const side = receiptSides[receipt.kind];
  const certificate = Buffer.from(receipt.certificate, "base64");
  if (fingerprintOf(certificate) !== receipt.signer) {
    throw wrong(receipt, "shows the certificate of another host", side);
  }
  let holds = false;
  try {
    const key = new X509Certificate(certificate).publicKey;
    const isP256 = key.asymmetricKeyDetails?.namedCurve === "prime256v1";
    const signature = Buffer.from(receipt.signature, "hex");
    holds = isP256 && verify("sha256", statementBytes(receipt), { key, dsaEncoding }, signature);
  } catch {
    // What the library says of bytes that are no certificate helps nobody.
  }
  if (!holds)
    throw wrong(receipt, "is not signed by that host, or says something else than was signed", side);
}

/** The error about a receipt that is none, or not the one that is asked for. */
export function wrong({ kind }: Pick<StoredReceipt, "kind">, what: string, side: Side): MigrateError {
  return new MigrateError("integrity", `the ${side}'s receipt for ${kind.toUpperCase()} ${what}`, {
    side,
    hint: "nothing was done on it; see what the two hosts have of the session with migrate status on both",
  });
}

/** What of a receipt goes on the wire. */
export function onTheWire({ generation, seen, verdict, certificate, signature }: StoredReceipt): Receipt {
  return { generation, seen, ...(verdict === undefined ? {} : { verdict }), certificate, signature };
}
