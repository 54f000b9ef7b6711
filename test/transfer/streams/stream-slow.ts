/** A stream's tags and digest once more, as SPEC.md says them, by other code than the program's: the slow way. */
import { gcm } from "@noble/ciphers/aes.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { u32, u64 } from "../../support/files/big-endian.ts";

/** [STREAM-5] The key of a direction. */
export function slowKey(tagKey: Uint8Array, instance: string, sender: string): Uint8Array {
  const info = Buffer.from(`migrate stream v1 ${sender}`);
  return hkdf(sha256, tagKey, Buffer.from(instance, "hex"), info, 16);
}

/** [STREAM-5] The tag of a frame: with nothing to encrypt, AES-GCM's output is the tag. */
export function slowTag(key: Uint8Array, stream: number, offset: number, bytes: Uint8Array): Buffer {
  const nonce = Buffer.concat([u32(stream), u64(offset)]);
  return Buffer.from(gcm(key, nonce, bytes).encrypt(new Uint8Array(0)));
}

/** [STREAM-6] The digest of a direction. */
export function slowDigest(stream: number, tags: readonly Uint8Array[], bytes: number): Buffer {
  const parts = [Buffer.from("migrate stream v1\0"), u32(stream), ...tags, u64(bytes)];
  return Buffer.from(sha256(Buffer.concat(parts)));
}

/** A DATA payload, right or, where `tag` or `offset` is given, wrong. */
export function dataPayload(
  key: Uint8Array,
  stream: number,
  offset: number,
  bytes: Uint8Array,
  tag = slowTag(key, stream, offset, bytes),
): Buffer {
  return Buffer.concat([u64(offset), tag, bytes]);
}

/** A DATA-END payload. */
export function endPayload(bytes: number, digest: Uint8Array): Buffer {
  return Buffer.concat([u64(bytes), digest]);
}

/** A DATA-ACK payload. */
export const ackPayload = u64;
