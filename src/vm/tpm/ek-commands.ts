/**
 * The commands by which a virtual TPM says which one it is: its endorsement key of the ECC P-256 template L-2 (TCG EK
 * Credential Profile 2.x), which a TPM 2.0 makes from its endorsement seed, always the same. What a guest has made
 * persistent is not asked for: it may evict that, and make others. Layouts are those of the TPM 2.0 Library, part 3. Pure.
 */
import { createHash } from "node:crypto";

const noSessions = 0x8001;
const withSessions = 0x8002;
const endorsement = 0x4000000b;
const platform = 0x4000000c;
const createPrimary = 0x131;
const clearControl = 0x127;
const clear = 0x126;
/** More than any answer to these has, in bytes. */
export const answerMaxBytes = 4096;
export const headerBytes = 10;
/** Response codes that say that the hierarchy has a password: TPM_RC_AUTH_FAIL and TPM_RC_BAD_AUTH of any session. */
const authFailures: readonly number[] = [0x08e, 0x0a2];

/** TPMT_PUBLIC of the template L-2, the policy by the endorsement hierarchy's secret in it. */
const template = Buffer.from(
  [
    ...["0023", "000b", "000300b2"],
    ...["0020", "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"],
    ...["0006", "0080", "0043", "0010", "0003", "0010"],
    ...["0020", "00".repeat(32), "0020", "00".repeat(32)],
  ].join(""),
  "hex",
);

/** A session with an empty password, as the only one. */
const emptyPassword = Buffer.from("000000094000000900000000" + "00", "hex");

function command(code: number, handle: number, parameters: Uint8Array): Buffer {
  const rest = Buffer.concat([u32(handle), emptyPassword, parameters]);
  const head = Buffer.alloc(headerBytes);
  head.writeUInt16BE(withSessions, 0);
  head.writeUInt32BE(headerBytes + rest.length, 2);
  head.writeUInt32BE(code, 6);
  return Buffer.concat([head, rest]);
}

/** TPM2_CreatePrimary of the endorsement key. */
export const askEk = (): Buffer =>
  command(
    createPrimary,
    endorsement,
    Buffer.concat([
      Buffer.from("000400000000", "hex"),
      u16(template.length),
      template,
      Buffer.from("000000000000", "hex"),
    ]),
  );

/** What takes the password off the endorsement hierarchy, and keeps its seed: for a TPM that is thrown away afterwards. */
export const forgetPassword = (): Buffer[] => [
  command(clearControl, platform, Buffer.from([0])),
  command(clear, platform, Buffer.alloc(0)),
];

/** How long a whole answer is, by its first ten bytes. Throws RangeError if that is more than any has, or less. */
export function answerBytes(head: Buffer): number {
  const bytes = head.readUInt32BE(2);
  if (bytes < headerBytes || bytes > answerMaxBytes) throw new RangeError(`an answer of ${bytes} bytes`);
  return bytes;
}

/** The response code of a whole answer. */
export const codeOfAnswer = (answer: Buffer): number => answer.readUInt32BE(6);

/** True if a command was refused since its hierarchy has a password. */
export const needsPassword = (code: number): boolean =>
  authFailures.includes(code & 0x0bf) && (code & 0x80) !== 0;

/**
 * The digest of the public area (TPMT_PUBLIC) in a whole answer to `askEk` that has no error. Throws RangeError for what
 * is no such answer.
 */
export function ekDigest(answer: Buffer): string {
  // Header, handle of the object, size of the parameters, size of the public area.
  const at = headerBytes + 4 + 4 + 2;
  if (answer.readUInt16BE(0) !== withSessions && answer.readUInt16BE(0) !== noSessions)
    throw new RangeError("no answer");
  const area = answer.subarray(at, at + answer.readUInt16BE(at - 2));
  // It is of the template, but for the point itself.
  const fixed = template.length - 2 * 34;
  if (area.length !== template.length || !area.subarray(0, fixed).equals(template.subarray(0, fixed)))
    throw new RangeError("a key of another kind");
  return `sha256:${createHash("sha256").update(area).digest("hex")}`;
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
