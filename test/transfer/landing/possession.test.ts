import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { limits } from "../../../src/protocol/limits.ts";
import { ChunkBuffer } from "../../../src/transfer/chunks/chunk-buffer.ts";
import type { TagTable } from "../../../src/transfer/chunks/tag-table.ts";
import { Tagger } from "../../../src/transfer/chunks/tagger.ts";
import { namedChunks, possessionProof } from "../../../src/transfer/landing/possession.ts";
import { tagsOf } from "../../../src/transfer/landing/read-tags.ts";

const { chunkBytes } = limits;
const tagKey = randomBytes(16);
const digest = `sha256:${"ab".repeat(32)}`;
let folder: string;
let fds: number[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "migrate-possession-"));
  fds = [];
});
afterEach(() => {
  for (const fd of fds) closeSync(fd);
  rmSync(folder, { recursive: true, force: true });
});

/** Files of these contents, their tags, and what proves that they are there. */
async function filesOf(...contents: (Buffer | number)[]) {
  const tables: TagTable[] = [];
  const paths: string[] = [];
  for (const [i, content] of contents.entries()) {
    const path = join(folder, `file${i}`);
    writeFileSync(path, typeof content === "number" ? "" : content);
    const bytes = typeof content === "number" ? content : content.length;
    truncateSync(path, bytes);
    fds.push(openSync(path, "r"));
    paths.push(path);
    tables.push(await tagsOf({ path, file: i, bytes, tagKey }));
  }
  const prove = (challenge: Buffer) =>
    possessionProof({ tagKey, challenge, digest }, tables, (file) => fds[file]!);
  return { tables, paths, prove };
}

const be32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** The proof as SPEC.md writes it, with other code, over whole files. */
function slowProof(challenge: Buffer, contents: readonly Buffer[]): string {
  const derive = (info: string, bytes: number) => hkdf(sha256, tagKey, challenge, Buffer.from(info), bytes);
  const key = derive("migrate possession v1", 32);
  const tagger = new Tagger(Buffer.from(derive("migrate possession v1 tag", 16)));
  const chunks = contents.flatMap((content, file) =>
    Array.from({ length: Math.ceil(content.length / chunkBytes) }, (_, chunk) => ({
      file,
      chunk,
      bytes: content.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes),
    })),
  );
  const parts: Uint8Array[] = [Buffer.from("proof"), Buffer.from(digest)];
  const isZero = (bytes: Buffer) => bytes.equals(Buffer.alloc(bytes.length));
  const hasData = chunks.some(({ bytes }) => !isZero(bytes));
  for (let i = 0; hasData && i < 16; i++) {
    const place = Buffer.from(hmac(sha256, key, Buffer.concat([Buffer.from("place"), be32(i)])));
    let at = Number(place.readBigUInt64BE() % BigInt(chunks.length));
    while (isZero(chunks[at]!.bytes)) at = (at + 1) % chunks.length;
    const { file, chunk, bytes } = chunks[at]!;
    const buffer = new ChunkBuffer();
    bytes.copy(buffer.dataRoom(bytes.length));
    parts.push(be32(file), be32(chunk), tagger.tag(file, chunk, buffer.pack(bytes.length).body));
  }
  return Buffer.from(hmac(sha256, key, Buffer.concat(parts))).toString("hex");
}

describe("a proof of possession", () => {
  // [DIGEST-5]
  test("is what SPEC.md says, for files with holes, odd ends and nothing at all", async () => {
    const sparse = Buffer.alloc(6 * chunkBytes);
    randomBytes(5000).copy(sparse, 4 * chunkBytes + 99);
    const contents = [
      randomBytes(3 * chunkBytes + 17),
      Buffer.alloc(0),
      sparse,
      Buffer.alloc(2 * chunkBytes),
    ];
    const { prove } = await filesOf(...contents);
    for (let round = 0; round < 10; round++) {
      const challenge = randomBytes(32);
      expect(prove(challenge)).toBe(slowProof(challenge, contents));
    }
  });

  test("names no chunk where there are none, and where all are zeros", async () => {
    for (const contents of [[], [Buffer.alloc(0)], [Buffer.alloc(3 * chunkBytes)]]) {
      const { prove } = await filesOf(...contents);
      const challenge = randomBytes(32);
      expect(prove(challenge)).toBe(slowProof(challenge, contents));
    }
  });

  test("is another one for another challenge, and for bytes that have changed on the disk", async () => {
    const { prove, paths } = await filesOf(randomBytes(chunkBytes));
    const challenge = randomBytes(32);
    const proof = prove(challenge);
    expect(prove(randomBytes(32))).not.toBe(proof);
    writeFileSync(paths[0]!, randomBytes(chunkBytes));
    expect(prove(challenge)).not.toBe(proof);
    truncateSync(paths[0]!, 100);
    expect(() => prove(challenge)).toThrow("shorter");
  });

  test("costs as little for 8 TiB of holes as for a small file", async () => {
    const { tables } = await filesOf(limits.vmBytes / 2, limits.vmBytes / 2);
    tables[1]!.set(4_000_000, Buffer.alloc(16, 1));
    expect(namedChunks(randomBytes(32), tables)).toEqual(Array(16).fill({ file: 1, chunk: 4_000_000 }));
    tables[1]!.set(4_000_000, Buffer.alloc(16));
    expect(namedChunks(randomBytes(32), tables)).toEqual([]);
  });
});
