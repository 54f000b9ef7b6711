/** Throw-away certificates for QEMU's TLS: an authority, and one certificate for either side. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runChild } from "../../support/system/child.ts";

/**
 * The folder as QEMU's tls-creds-x509 wants it (QEMU, system/tls): ca-cert.pem, server-… and client-….
 * They are good for the IPv4 address given.
 */
export async function makeCertificates(folder: string, address: string): Promise<void> {
  mkdirSync(folder, { mode: 0o700 });
  const at = (name: string): string => join(folder, name);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
  await runChild([
    ...["openssl", "req", "-x509", "-days", "2", "-subj", "/CN=bench authority", ...newKey],
    ...["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"],
    ...["-keyout", at("ca-key.pem"), "-out", at("ca-cert.pem")],
  ]);
  for (const side of ["server", "client"]) {
    writeFileSync(
      at(`${side}.ext`),
      `subjectAltName=IP:${address}\nkeyUsage=digitalSignature\nextendedKeyUsage=${side}Auth\n`,
    );
    const request = ["-keyout", at(`${side}-key.pem`), "-out", at(`${side}.csr`)];
    await runChild(["openssl", "req", "-new", "-subj", `/CN=bench ${side}`, ...newKey, ...request]);
    await runChild([
      ...["openssl", "x509", "-req", "-days", "2", "-in", at(`${side}.csr`), "-extfile", at(`${side}.ext`)],
      ...["-CA", at("ca-cert.pem"), "-CAkey", at("ca-key.pem"), "-CAcreateserial"],
      ...["-out", at(`${side}-cert.pem`)],
    ]);
  }
}
