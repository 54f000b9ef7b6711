/**
 * Proof that a host can read a VM's files now: both ends read a few chunks that only a fresh challenge names, and
 * compare what they find (SPEC.md, Possession). A spot check as in G. Ateniese and others, Provable data
 * possession at untrusted stores (CCS 2007), with keys that both ends have.
 */
import { createHmac, hkdfSync } from "node:crypto";
import { readSync } from "node:fs";
import { chunkLength, limits } from "../../protocol/limits.ts";
import { ChunkBuffer } from "../chunks/chunk-buffer.ts";
import { Tagger } from "../chunks/tagger.ts";

/** Chunks that are read for one proof. */
const picks = 16;
export const challengeBytes = 32;

/** A file whose chunks may be asked for. */
export interface HeldFile {
  bytes: number;
  chunks: number;
  /** The first chunk at `from` or behind it that is not zeros; null if there is none. */
  nextData(from: number): number | null;
}

/** The chunks that a challenge names: none if all of the VM is zeros. */
export function namedChunks(key: Uint8Array, files: readonly HeldFile[]): { file: number; chunk: number }[] {
  const total = files.reduce((sum, { chunks }) => sum + chunks, 0);
  if (total === 0) return [];
  const named = [];
  for (let i = 0; i < picks; i++) {
    const at = createHmac("sha256", key).update("place").update(bigEndian(i)).digest();
    const found = dataFrom(files, Number(at.readBigUInt64BE() % BigInt(total)));
    if (found === null) return [];
    named.push(found);
  }
  return named;
}

/**
 * Returns the proof for a challenge of 32 bytes: HMAC-SHA256, hex. `read` opens a file of the VM for the time of
 * the call and returns its descriptor. Throws as node:fs does if a chunk cannot be read.
 */
export function possessionProof(
  of: { tagKey: Uint8Array; challenge: Uint8Array; digest: string },
  files: readonly HeldFile[],
  fdOf: (file: number) => number,
): string {
  const derive = (info: string, bytes: number) =>
    Buffer.from(hkdfSync("sha256", of.tagKey, of.challenge, info, bytes));
  const key = derive("migrate possession v1", 32);
  const tagger = new Tagger(derive("migrate possession v1 tag", 16));
  const proof = createHmac("sha256", key).update("proof").update(of.digest);
  const buffer = new ChunkBuffer();
  for (const { file, chunk } of namedChunks(key, files)) {
    const length = chunkLength(files[file]!.bytes, chunk);
    readFully(fdOf(file), buffer.dataRoom(length), chunk * limits.chunkBytes);
    const { body } = buffer.pack(length);
    proof
      .update(bigEndian(file))
      .update(bigEndian(chunk))
      .update(tagger.tag(file, chunk, body));
  }
  return proof.digest("hex");
}

/** The first chunk that is not zeros from this place on, in the order of the files, and around from the first. */
function dataFrom(files: readonly HeldFile[], place: number): { file: number; chunk: number } | null {
  let file = 0;
  let from = place;
  while (from >= files[file]!.chunks) from -= files[file++]!.chunks;
  for (let turn = 0; turn <= files.length; turn++) {
    const chunk = files[file]!.nextData(from);
    if (chunk !== null) return { file, chunk };
    file = (file + 1) % files.length;
    from = 0;
  }
  return null;
}

function readFully(fd: number, room: Buffer, offset: number): void {
  for (let at = 0; at < room.length; ) {
    const taken = readSync(fd, room, at, room.length - at, offset + at);
    if (taken === 0) throw Object.assign(new Error("a file is shorter than it was"), { code: "EIO" });
    at += taken;
  }
}

function bigEndian(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
