/**
 * What the test guest does with its TPM: it extends a PCR, seals a secret to it, and later shows that
 * both are still there. The commands go to /dev/tpm0 as bytes made here (Trusted Platform Module
 * Library 2.0, parts 2 and 3), so the guest needs no TPM software, and no more memory than a script.
 *
 * The PCR lives in the TPM's volatile state, the secret hangs on the seed in its permanent state: a
 * move has to bring both.
 */
import { createHash } from "node:crypto";

/** What the guest prints once its secret is sealed, before the first tick. */
export const tpmSealedLine = "tpm sealed";

/** What the guest seals, and prints as `unsealed …` from then on at every tenth tick. */
export const tpmSecret = "what-was-sealed-before-the-move";

const sha256 = (...parts: readonly Uint8Array[]): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();

const extendedDigest = sha256(Buffer.from("the boot that the guest went through"));

/** PCR 16 once the guest has extended it (part 1, 17.2), in hexadecimal: what it prints as `pcr16 …`. */
export const pcr16AfterExtend = sha256(Buffer.alloc(32), extendedDigest).toString("hex");

const sha256Algorithm = 0x000b;
const nothing = 0x0010;
/** Handles are given out from these on: the guest alone uses the TPM, and flushes what it made. */
const primary = 0x8000_0000;
const sealed = 0x8000_0001;
const session = 0x0300_0000;
const pcr = 16;
const owner = 0x4000_0001;
const nobody = 0x4000_0007;
const policyPcrCode = 0x17f;

const u8 = (value: number): Buffer => Buffer.of(value);
const u16 = (value: number): Buffer => Buffer.of(value >>> 8, value & 0xff);
const u32 = (value: number): Buffer => Buffer.concat([u16(value >>> 16), u16(value & 0xffff)]);
/** Bytes with their length before them, as TPM2B_… are. */
const sized = (...parts: Uint8Array[]): Buffer => {
  const bytes = Buffer.concat(parts);
  return Buffer.concat([u16(bytes.length), bytes]);
};
const empty = sized();

/** PCR 16 of the SHA-256 bank, as TPML_PCR_SELECTION. */
const pcrSelection = Buffer.concat([u32(1), u16(sha256Algorithm), u8(3), Buffer.of(0, 0, 1)]);

/** Who asks: the holder of an empty password, or of the policy session, which ends with the command. */
const authorization = (handle: number): Buffer => {
  const area = Buffer.concat([u32(handle), empty, u8(0), empty]);
  return Buffer.concat([u32(area.length), area]);
};
const emptyPassword = authorization(0x4000_0009);

function command(tag: 0x8001 | 0x8002, code: number, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([u16(tag), u32(10 + body.length), u32(code), body]);
}
const plain = (code: number, ...parts: Uint8Array[]): Buffer => command(0x8001, code, ...parts);
const authorized = (code: number, ...parts: Uint8Array[]): Buffer => command(0x8002, code, ...parts);

/** fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, decrypt. */
const storageKeyAttributes = 0x0003_0072;
/** fixedTPM, fixedParent, noDA: without userWithAuth, nothing but the policy opens it. */
const sealedDataAttributes = 0x0000_0412;

/** An ECC P-256 storage key with AES-128-CFB: with the owner's seed, it is the same key each time. */
const primaryTemplate = sized(
  ...[u16(0x0023), u16(sha256Algorithm), u32(storageKeyAttributes), empty],
  ...[u16(0x0006), u16(128), u16(0x0043), u16(nothing), u16(0x0003), u16(nothing), empty, empty],
);

/** The policy that holds while PCR 16 is what the guest extended it to (part 3, 23.7). */
const policy = sha256(
  ...[Buffer.alloc(32), u32(policyPcrCode), pcrSelection],
  sha256(Buffer.from(pcr16AfterExtend, "hex")),
);
const sealedTemplate = sized(
  ...[u16(0x0008), u16(sha256Algorithm), u32(sealedDataAttributes), sized(policy)],
  ...[u16(nothing), empty],
);

/** Each as a password, which is empty, and the data to seal. */
const noSecret = sized(empty, empty);
const secret = sized(empty, sized(Buffer.from(tpmSecret)));
const nonce = sized(Buffer.alloc(16, 1));

/** No outside information and no PCRs of creation, as the two commands that make objects end. */
const noMore = Buffer.concat([empty, u32(0)]);

/** The commands by the names of their files in the guest's folder /tpm. */
export const tpmCommands: Readonly<Record<string, Uint8Array>> = {
  extend: authorized(0x182, u32(pcr), emptyPassword, u32(1), u16(sha256Algorithm), extendedDigest),
  "read-pcr": plain(0x17e, pcrSelection),
  "create-primary": authorized(0x131, u32(owner), emptyPassword, noSecret, primaryTemplate, noMore),
  seal: authorized(0x153, u32(primary), emptyPassword, secret, sealedTemplate, noMore),
  // Only what comes after the header: the script adds the sealed blobs and then knows the size.
  "load-begin": Buffer.concat([u32(0x157), u32(primary), emptyPassword]),
  "start-session": plain(
    0x176,
    u32(nobody),
    u32(nobody),
    nonce,
    empty,
    u8(1),
    u16(nothing),
    u16(sha256Algorithm),
  ),
  "policy-pcr": plain(policyPcrCode, u32(session), empty, pcrSelection),
  unseal: authorized(0x15e, u32(sealed), authorization(session)),
  "flush-primary": plain(0x165, u32(primary)),
  "flush-sealed": plain(0x165, u32(sealed)),
  "flush-session": plain(0x165, u32(session)),
};

/**
 * Functions of the guest's init. A response begins with tag, size and code (10 bytes); after them,
 * where the command was authorized, comes the size of the parameters (4 bytes).
 */
export const tpmFunctions = `
tpm_send() {
  dd if=$1 bs=4096 count=1 status=none >&3
  dd of=/tpm/answer bs=4096 count=1 status=none <&3
}
tpm_hex() { od -An -v -tx1 -j$1 -N$2 /tpm/answer | tr -d ' \\n'; }
tpm_do() {
  tpm_send /tpm/$1
  [ "$(tpm_hex 6 4)" = 00000000 ] || echo "tpm refused $1: $(tpm_hex 6 4)"
}
tpm_seal() {
  if [ ! -e /dev/tpm0 ]; then echo "tpm missing"; return; fi
  exec 3<>/dev/tpm0
  [ $tpm = extend ] && tpm_do extend
  tpm_do create-primary
  tpm_do seal
  # The answer holds the private and the public part, each with its size before it, as loading wants them.
  private=$((0x$(tpm_hex 14 2) + 2))
  public=$((0x$(tpm_hex $((14 + private)) 2) + 2))
  dd if=/tpm/answer of=/tpm/blobs bs=1 skip=14 count=$((private + public)) status=none
  size=$((6 + $(wc -c < /tpm/load-begin) + private + public))
  { printf "\\\\x80\\\\x02\\\\0\\\\0\\\\x$(printf %x $((size / 256)))\\\\x$(printf %x $((size % 256)))"; cat /tpm/load-begin /tpm/blobs; } > /tpm/load
  tpm_do flush-primary
  echo "${tpmSealedLine}"
}
tpm_look() {
  tpm_do read-pcr
  echo "pcr16 $(tpm_hex 30 32)"
  tpm_do create-primary
  tpm_do load
  tpm_do start-session
  tpm_do policy-pcr
  tpm_do unseal
  if [ "$(tpm_hex 6 4)" = 00000000 ]; then
    echo "unsealed $(dd if=/tpm/answer bs=1 skip=16 count=$((0x$(tpm_hex 14 2))) status=none)"
  else
    echo "unsealed nothing"
    tpm_do flush-session
  fi
  tpm_do flush-sealed
  tpm_do flush-primary
}
`;
