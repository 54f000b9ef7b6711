/**
 * A TPM's memory that stays (NV): certificates that its maker has left there, and counters of ours (TPM 2.0 Library
 * Part 3, 31).
 */
import { createHash } from "node:crypto";
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
 * Where counters are, in the owner's range (TCG Registry of Reserved TPM 2.0 Handles, 2.2.2: 0x01800000 to 0x01BFFFFF);
 * the last 16 bits are the home's.
 */
const counterIndices = 0x01ad_0000;
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

/** A home's counter, for as long as a conversation with its TPM lasts. */
export interface HeldCounter {
  /** Where it stood at the beginning; null before it was raised for the first time, and after the TPM was cleared. */
  readonly stands: number | null;
  /**
   * Makes it where there is none, adds one and returns where it stands. One that is made again after a clear begins above
   * every counter that the TPM had before (Part 3, 31.8). Throws TpmError.
   */
  raise(): Promise<number>;
}

/** Of several homes with one TPM each has a counter of its own, by 32 bytes that are the home's. */
export function counterIndexOf(unique: Buffer): number {
  const digest = createHash("sha256").update("migrate generation\0").update(unique).digest();
  return counterIndices | digest.readUInt16BE(0);
}

/** Reads the counter at that index. Throws TpmError, also where something else lies there. */
export async function holdCounter(tpm: Tpm, index: number): Promise<HeldCounter> {
  let found = await readIndex(tpm, index);
  if (found !== null) requireCounter(index, found);
  const isWritten = found !== null && (found.attributes & attribute.written) !== 0;
  return {
    stands: isWritten ? await countOf(tpm, index, found!) : null,
    async raise() {
      found ??= await defineCounter(tpm, index);
      await tpm.run("NV_Increment", { handles: [index, index], auths: ["password"] });
      return await countOf(tpm, index, found);
    },
  };
}

async function countOf(tpm: Tpm, index: number, found: NvIndex): Promise<number> {
  const count = Number((await readNv(tpm, index, found)).readBigUInt64BE(0));
  // No TPM counts so far; what is recorded of it would not be what it says.
  if (!Number.isSafeInteger(count)) throw garbage("a counter that no TPM reaches");
  return count;
}

async function defineCounter(tpm: Tpm, index: number): Promise<NvIndex> {
  const attributes =
    attribute.counter |
    attribute.ownerWrite |
    attribute.authWrite |
    attribute.ownerRead |
    attribute.authRead |
    attribute.noDa;
  const area = Buffer.concat([
    u32(index),
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

function requireCounter(index: number, { attributes, bytes }: NvIndex): void {
  const wanted = attribute.authRead | attribute.authWrite;
  const isCounter = (attributes & attribute.typeMask) === attribute.counter && bytes === counterBytes;
  if (isCounter && (attributes & wanted) === wanted) return;
  const shown = `0x${index.toString(16).padStart(8, "0")}`;
  throw new TpmError(`Another program uses the index ${shown} of this host's TPM.`, {
    hint: `Look at it with tpm2_nvreadpublic; tpm2_nvundefine ${shown} removes it.`,
  });
}
