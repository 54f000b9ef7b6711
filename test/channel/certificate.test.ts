import { afterEach, describe, expect, test } from "bun:test";
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { fingerprintOf, makeCertificate } from "../../src/channel/certificate.ts";
import { parseFingerprint } from "../../src/channel/fingerprint.ts";

describe("a host's certificate", () => {
  test("is a self-signed P-256 one for its key, named migrate, valid at all times", async () => {
    const { certificatePem, privateKeyPem } = await makeCertificate();
    const certificate = new X509Certificate(certificatePem);
    const key = createPrivateKey(privateKeyPem);
    expect(key.asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
    expect(certificate.checkPrivateKey(key)).toBe(true);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.subject).toBe("CN=migrate");
    expect(certificate.issuer).toBe("CN=migrate");
    expect(new Date(certificate.validFrom).toISOString()).toBe("2020-01-01T00:00:00.000Z");
    expect(new Date(certificate.validTo).toISOString()).toBe("9999-12-31T23:59:59.000Z");
  });

  test("has a key and a serial number of its own: positive and at most 20 bytes", async () => {
    const made = await Promise.all(Array.from({ length: 16 }, makeCertificate));
    const serials = made.map(({ certificatePem }) => new X509Certificate(certificatePem).serialNumber);
    expect(new Set(serials).size).toBe(16);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{31}$/);
    expect(new Set(made.map(({ certificatePem }) => fingerprintOf(certificatePem))).size).toBe(16);
  });

  const open: { stop(force?: boolean): void }[] = [];
  afterEach(() => {
    for (const listener of open.splice(0)) listener.stop(true);
  });

  test("serves in TLS on both sides, and each side's fingerprint256 is the other's fingerprint", async () => {
    const [server, client] = await Promise.all([makeCertificate(), makeCertificate()]);
    const tlsOf = ({ certificatePem, privateKeyPem }: typeof server) => ({
      cert: certificatePem,
      key: privateKeyPem,
      requestCert: true,
      rejectUnauthorized: false,
    });
    const peerOf = (socket: unknown): string | null =>
      parseFingerprint(
        (socket as { getPeerCertificate(): { fingerprint256: string } }).getPeerCertificate().fingerprint256,
      );
    const atServer = Promise.withResolvers<string | null>();
    const atClient = Promise.withResolvers<string | null>();
    const listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      tls: tlsOf(server),
      socket: { data() {}, handshake: (socket) => atServer.resolve(peerOf(socket)) },
    });
    open.push(listener);
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: listener.port,
      tls: tlsOf(client),
      socket: { data() {}, handshake: (own) => atClient.resolve(peerOf(own)) },
    });
    expect(await atServer.promise).toBe(fingerprintOf(client.certificatePem));
    expect(await atClient.promise).toBe(fingerprintOf(server.certificatePem));
    socket.terminate();
  });
});

describe("a certificate's fingerprint", () => {
  test("is the SHA-256 over the DER, whether PEM or DER is given", async () => {
    const { certificatePem } = await makeCertificate();
    const der = new X509Certificate(certificatePem).raw;
    const expected = `sha256:${createHash("sha256").update(der).digest("hex")}`;
    expect(fingerprintOf(certificatePem)).toBe(expected);
    expect(fingerprintOf(der)).toBe(expected);
    expect(fingerprintOf(`text before\n${certificatePem}text behind`)).toBe(expected);
  });

  test("is not taken of a text without a certificate", () => {
    expect(() => fingerprintOf("no certificate")).toThrow("no certificate");
  });
});
