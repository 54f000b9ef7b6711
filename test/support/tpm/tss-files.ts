/** The files that tpm2-tools read and write: structures with their length before them, and a credential's own form. */

/** A TPM2B: u16 length, bytes. */
export function sizedFile(bytes: Buffer): Buffer {
  const size = Buffer.alloc(2);
  size.writeUInt16BE(bytes.length);
  return Buffer.concat([size, bytes]);
}

/** What stands in a TPM2B at `at`, and where it ends. */
export function readSized(file: Buffer, at = 0): { bytes: Buffer; end: number } {
  const end = at + 2 + file.readUInt16BE(at);
  return { bytes: file.subarray(at + 2, end), end };
}

const credentialMagic = 0xbadc_c0de;

/** The credential file of tpm2_makecredential(1) and tpm2_activatecredential(1): magic, version 1, the two parts. */
export function credentialFile(credentialBlob: Buffer, encryptedSecret: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(credentialMagic);
  head.writeUInt32BE(1, 4);
  return Buffer.concat([head, sizedFile(credentialBlob), sizedFile(encryptedSecret)]);
}

export function readCredentialFile(file: Buffer): { credentialBlob: Buffer; encryptedSecret: Buffer } {
  const { bytes: credentialBlob, end } = readSized(file, 8);
  return { credentialBlob, encryptedSecret: readSized(file, end).bytes };
}
