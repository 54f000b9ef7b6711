/** Certificates that a source made to confuse whoever reads them: all that counts is their fingerprint. */
import { expect, test } from "bun:test";
import "reflect-metadata";
import type { Extension } from "@peculiar/x509";
import { fingerprintOf, pem } from "../../../src/channel/certificate.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";

let ground: HostileGround;

testsAttackDestination({}, (made) => {
  ground = made;
});

interface Oddity {
  algorithm?: { name: string; namedCurve?: string; hash?: string };
  subject?: string;
  /** Object identifier and DER of an extension. */
  extension?: [string, string];
  names?: string[];
  years?: [string, string];
}

const p256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

async function make({ algorithm = p256, subject = "CN=migrate", ...odd }: Oddity): Promise<RawIdentity> {
  const x509 = await import("@peculiar/x509");
  const keys = (await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"])) as CryptoKeyPair;
  const extensions: Extension[] = [];
  if (odd.extension) {
    extensions.push(new x509.Extension(odd.extension[0], false, Buffer.from(odd.extension[1], "hex")));
  }
  if (odd.names) {
    const names = odd.names.map((value) => ({ type: "dns" as const, value }));
    extensions.push(new x509.SubjectAlternativeNameExtension(names));
  }
  const [from, to] = odd.years ?? ["2020", "9999"];
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: subject,
    serialNumber: "01",
    notBefore: new Date(`${from}-01-01T00:00:00Z`),
    notAfter: new Date(`${to}-12-31T00:00:00Z`),
    keys,
    signingAlgorithm: algorithm,
    extensions,
  });
  const key = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const certificatePem = pem("CERTIFICATE", Buffer.from(certificate.rawData));
  return {
    certificatePem,
    privateKeyPem: pem("PRIVATE KEY", key),
    fingerprint: fingerprintOf(certificatePem),
  };
}

const readable: [string, Oddity][] = [
  ["without a name", { subject: "" }],
  ["with an escape sequence, a NUL and a line end for a name", { subject: "CN=\u001b[2Jx\u0000y\n" }],
  ["that expired before there were computers like this", { years: ["1970", "1971"] }],
  ["that is not valid yet", { years: ["9990", "9999"] }],
  ["for 500 hosts", { names: Array.from({ length: 500 }, (_, i) => `host${i}.example`) }],
  ["for a host with a NUL in its name", { names: ["good.example\u0000.evil.example"] }],
  ["with an extension that is cut short", { extension: ["1.3.6.1.5.5.7.1.1", "30ff"] }],
  ["over P-384", { algorithm: { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" } }],
  ["over Ed25519", { algorithm: { name: "Ed25519" } }],
];

test.each(readable)("one %s is a stranger's like any other, until it is trusted", async (_what, oddity) => {
  const identity = await make(oddity);
  await ground.withstands(async () => {
    const stranger = await ground.connect({ identity });
    expect((await stranger.hello().expect("welcome")).trusted).toBe(false);
    expect((await stranger.send("list", {}).error()).code).toBe("protocol");
  });
  await ground.trust(identity.fingerprint);
  const known = await ground.connect({ identity });
  expect((await known.hello().expect("welcome")).trusted).toBe(true);
});

test.each<[string, Oddity]>([
  ["larger than TLS takes", { names: Array.from({ length: 8000 }, (_, i) => `host${i}.example`) }],
  ["whose names cannot be parsed", { extension: ["2.5.29.17", "00"] }],
])("one %s ends the handshake, and nothing else", async (_what, oddity) => {
  const identity = await make(oddity);
  await ground.withstands(async () => {
    const peer = await ground.connect({ identity }).catch(() => undefined);
    await peer?.hello().ended();
    expect(peer?.frames ?? []).toEqual([]);
  });
});
