/** A trusted source that describes what it does not have, to find out what another VM of the store holds. */
import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import { zeroTag } from "../../../src/transfer/chunks/tag-table.ts";
import { BlockHasher } from "../../../src/transfer/reuse/store/block-hash.ts";
import { encodeDescribe, parseWant } from "../../../src/transfer/reuse/store/describe.ts";
import { missBudget } from "../../../src/transfer/reuse/store/miss-budget.ts";
import { DescribingSource } from "../../support/hostile/describing-source.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";

const { blockBytes, blockHashBytes, chunkBytes, describedChunks, tagBytes } = limits;
const blocks = chunkBytes / blockBytes;
/** What a VM of somebody else holds, in the store. */
const secret = randomBytes(chunkBytes);
/** As if one knew all of it but the last block. */
const known = Buffer.concat([secret.subarray(0, -blockBytes), randomBytes(blockBytes)]);
const all = 2 ** (blocks - 1) - 1;
/** A VM as large as it takes to describe so much. */
const bytes = 2 ** 40;

let ground: HostileGround;
testsAttackDestination({ index: false }, async (made) => {
  ground = made;
  mkdirSync(join(ground.store, "golden"), { mode: 0o700 });
  writeFileSync(join(ground.store, "golden", "disk.raw"), secret);
});

const begin = (source: RawIdentity) =>
  DescribingSource.begin(ground, source, { content: Buffer.alloc(0), bytes, base: "golden" });

/** What is found of the secret, at its place, by who knows all of it but the last block. */
const findsSecret = (source: DescribingSource) =>
  source.wanted(source.description(known, randomBytes(tagBytes)));

/** Describes chunk after chunk as `describe` says, and sends each as `send` says; the tags are its own. */
async function describes(
  source: DescribingSource,
  chunks: number,
  describe: (chunk: number) => Buffer,
  send: (chunk: number) => Buffer,
): Promise<void> {
  for (let first = 1; first <= chunks; first += describedChunks) {
    for (let chunk = first; chunk < first + describedChunks; chunk++) source.lane.sendBytes(describe(chunk));
    for (let wanted = 0; wanted < describedChunks; ) {
      const { name, payload } = await source.lane.next();
      if (name === "want") wanted += parseWant(payload).length;
      else expect(name).toBe("ack");
    }
    await source.lane.sendChunks(Array.from({ length: describedChunks }, (_, i) => send(first + i)));
  }
}

const guess = (chunk: number) =>
  encodeDescribe(0, chunk, randomBytes(tagBytes), randomBytes(blocks * blockHashBytes));
const zeros = (source: DescribingSource) => (chunk: number) =>
  source.vm.rawChunk(Buffer.from([0, 0]), { chunk, tag: Buffer.from(zeroTag) });

// [FIND-8]
test("may guess so many blocks in vain, on whatever lane and in whatever session, and learns nothing more", async () => {
  const identity = await ground.trustedSource();
  const first = await begin(identity);
  await describes(first, missBudget / blocks / 2, guess, zeros(first));
  expect(await findsSecret(first)).toBe(all);
  await first.acknowledged(zeros(first)(0));
  const second = await begin(identity);
  await describes(second, missBudget / blocks / 2, guess, zeros(second));
  expect(await findsSecret(second)).toBe(0);
  expect(await findsSecret(await begin(identity))).toBe(0);
  // Nobody else has less for it.
  expect(await findsSecret(await begin(await ground.trustedSource()))).toBe(all);
});

// [FIND-8]
test("guesses nothing if what it described is what it sends, however much that is", async () => {
  const source = await begin(await ground.trustedSource());
  const hasher = new BlockHasher(source.indexKey!);
  const content = Buffer.alloc(chunkBytes);
  for (let block = 0; block < blocks; block++) content.writeUInt32BE(block + 1, block * blockBytes);
  const hashes = hasher.hashes(content);
  const frames = new Map<number, Buffer>();
  const frameOf = (chunk: number) => {
    const made = frames.get(chunk) ?? source.vm.chunk(content, 0, chunk);
    frames.set(chunk, made);
    return made;
  };
  const tagAt = limits.frameHeaderBytes + 12;
  await describes(
    source,
    missBudget / blocks + 4 * describedChunks,
    (chunk) => encodeDescribe(0, chunk, frameOf(chunk).subarray(tagAt, tagAt + tagBytes), hashes),
    (chunk) => {
      const frame = frameOf(chunk);
      frames.delete(chunk);
      return frame;
    },
  );
  expect(await findsSecret(source)).toBe(all);
}, 60_000);

// [FIND-8]
test("is told nothing any more once it has sent other blocks than it described with the same tag", async () => {
  const source = await begin(await ground.trustedSource());
  const frame = source.vm.chunk(randomBytes(chunkBytes), 0, 1);
  const tagAt = limits.frameHeaderBytes + 12;
  const tag = frame.subarray(tagAt, tagAt + tagBytes);
  expect(await source.wanted(encodeDescribe(0, 1, tag, randomBytes(blocks * blockHashBytes)))).toBe(0);
  await source.acknowledged(frame);
  expect(await findsSecret(source)).toBe(0);
});
