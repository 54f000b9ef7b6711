/**
 * A TPM's memory that stays (NV): certificates that its maker has left there, and a counter of ours (TPM 2.0 Library
 * Part 3, 31).
 */
import { algorithm } from "../structures/algorithms.ts";
import { sized, u16, u32 } from "../structures/marshal.ts";
import { garbage } from "./connection.ts";
import { rc, TpmError } from "./response-code.ts";
import { handle, type Tpm } from "./tpm.ts";

/** TPMA_NV, Part 2, 13.4. */
const attribute = {
  ownerWrite: 0x0000_0002,
  authWrite: 0x0000_0004,
  counter: 0x0000_0010,
  typeMask: 0x0000_00f0,
  ownerRead: 0x0002_0000,
  authRead: 0x0004_0000,
  noDa: 0x0200_0000,
  written: 0x2000_0000,
} as const;

interface NvIndex {
  attributes: number;
  bytes: number;
}

/** The longest certificate that is read, in bytes. */
const certificateMaxBytes = 4096;
/** Every TPM gives so much at once (TPM_PT_NV_BUFFER_MAX is at least that). */
const pieceBytes = 512;
/**
 * Where the counter is, in the owner's range (TCG Registry of Reserved TPM 2.0 Handles, 2.2.2: 0x01800000 to
 * 0x01BFFFFF): "mig" in ASCII.
 */
export const counterIndex = 0x01ad_6967;
const counterBytes = 8;

/** Null where there is no such index. Throws TpmError. */
async function readIndex(tpm: Tpm, index: number): Promise<NvIndex | null> {
  try {
    const { reader } = await tpm.run("NV_ReadPublic", { handles: [index] });
    const size = reader.u16();
    if (size > reader.left || reader.u32() !== index) throw garbage("another index than the one asked for");
    reader.u16();
    const attributes = reader.u32();
    reader.sized();
    return { attributes, bytes: reader.u16() };
  } catch (thrown) {
    if (thrown instanceof TpmError && thrown.rc === rc.handle) return null;
    throw thrown;
  }
}

/** Reads `bytes` of an index, by its own empty password or the owner's. Throws TpmError. */
async function readNv(tpm: Tpm, index: number, { attributes, bytes }: NvIndex): Promise<Buffer> {
  const by = (attributes & attribute.authRead) !== 0 ? index : handle.owner;
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes; at += pieceBytes) {
    const wanted = Math.min(pieceBytes, bytes - at);
    const { reader } = await tpm.run("NV_Read", {
      handles: [by, index],
      auths: ["password"],
      parameters: [u16(wanted), u16(at)],
    });
    const piece = reader.sized();
    if (piece.length !== wanted) throw garbage("less of its memory than was asked for");
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/**
 * The DER of a certificate at that index, without what pads it; null where there is none that this host may read, or
 * something else lies there.
 * Throws TpmError.
 */
export async function readCertificate(tpm: Tpm, index: number): Promise<Buffer | null> {
  const found = await readIndex(tpm, index);
  const readable = attribute.authRead | attribute.ownerRead;
  if (found === null || (found.attributes & attribute.written) === 0 || (found.attributes & readable) === 0)
    return null;
  if (found.bytes > certificateMaxBytes) return null;
  const der = await readNv(tpm, index, found);
  // SEQUENCE with a length of two bytes (X.690, 8.1.3): no certificate is shorter than 256 bytes.
  if (der.length < 4 || der.readUInt16BE(0) !== 0x3082) return null;
  const bytes = 4 + der.readUInt16BE(2);
  return bytes > der.length ? null : der.subarray(0, bytes);
}

/**
 * The counter's value; null before it was advanced for the first time, and after the TPM was cleared. Throws TpmError,
 * also where something else lies at its index.
 */
export async function readCounter(tpm: Tpm): Promise<bigint | null> {
  const found = await readIndex(tpm, counterIndex);
  if (found === null) return null;
  requireCounter(found);
  if ((found.attributes & attribute.written) === 0) return null;
  return (await readNv(tpm, counterIndex, found)).readBigUInt64BE(0);
}

/**
 * Makes the counter where there is none, adds one and returns it. A counter that is made again after a clear begins above
 * every counter that the TPM had before (Part 3, 31.8). Throws TpmError.
 */
export async function advanceCounter(tpm: Tpm): Promise<bigint> {
  const found = (await readIndex(tpm, counterIndex)) ?? (await defineCounter(tpm));
  requireCounter(found);
  await tpm.run("NV_Increment", { handles: [counterIndex, counterIndex], auths: ["password"] });
  return (await readNv(tpm, counterIndex, found)).readBigUInt64BE(0);
}

async function defineCounter(tpm: Tpm): Promise<NvIndex> {
  const attributes =
    attribute.counter |
    attribute.ownerWrite |
    attribute.authWrite |
    attribute.ownerRead |
    attribute.authRead |
    attribute.noDa;
  const area = Buffer.concat([
    u32(counterIndex),
    u16(algorithm.sha256),
    u32(attributes),
    sized(),
    u16(counterBytes),
  ]);
  try {
    await tpm.run("NV_DefineSpace", {
      handles: [handle.owner],
      auths: ["password"],
      parameters: [sized(), sized(area)],
    });
  } catch (thrown) {
    // Another process has made it in between.
    if (!(thrown instanceof TpmError && thrown.rc === rc.nvDefined)) throw thrown;
  }
  return { attributes, bytes: counterBytes };
}

function requireCounter({ attributes, bytes }: NvIndex): void {
  const wanted = attribute.authRead | attribute.authWrite;
  const isCounter = (attributes & attribute.typeMask) === attribute.counter && bytes === counterBytes;
  if (isCounter && (attributes & wanted) === wanted) return;
  const shown = `0x${counterIndex.toString(16).padStart(8, "0")}`;
  throw new TpmError(`Another program uses the index ${shown} of this host's TPM.`, {
    hint: `Look at it with tpm2_nvreadpublic; tpm2_nvundefine ${shown} removes it.`,
  });
}
