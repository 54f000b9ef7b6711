/** Sources that are trusted and describe what they do not have, or leave out what nobody found. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import { zeroTag } from "../../../src/transfer/chunks/tag-table.ts";
import { encodeDescribe, parseWant } from "../../../src/transfer/reuse/store/describe.ts";
import { chunkWithout, DescribingSource } from "../../support/hostile/describing-source.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity, RawPeer } from "../../support/hostile/raw/peer.ts";

const { blockBytes, chunkBytes, blockHashBytes, tagBytes } = limits;
const blocks = 6;
const lastBlock = blocks - 1;
const allButLast = 2 ** lastBlock - 1;

/** What a VM of somebody else holds, in the store. */
const secret = randomBytes(blocks * blockBytes);
const own = randomBytes(blockBytes);
/** As if one knew all of it but the last block. */
const secretAndOwn = Buffer.concat([secret.subarray(0, -blockBytes), own]);

let ground: HostileGround;
let source: RawIdentity;

testsAttackDestination({ index: false }, async (made) => {
  ground = made;
  source = await ground.trustedSource();
  mkdirSync(join(ground.store, "golden"), { mode: 0o700 });
  writeFileSync(join(ground.store, "golden", "disk.raw"), secret);
});

/** A source whose disk is as long as the secret, with the base that holds it. */
async function begin(content = Buffer.alloc(secret.length), base = "golden"): Promise<DescribingSource> {
  // One that has not been found out.
  source = await ground.trustedSource();
  return DescribingSource.begin(ground, source, { content, base });
}

async function refusedOn(lane: RawPeer, frame: Buffer, message: string): Promise<void> {
  expect(await lane.sendBytes(frame).error()).toEqual({ code: "protocol", message });
  await lane.ended();
}

describe("a source that has seen the fingerprints of another VM", () => {
  // [FIND-3]
  test("and not its bytes gets no copy of it, whatever tag it claims", async () => {
    const begun = await begin();
    const guesses = Array.from({ length: 60 }, () => randomBytes(tagBytes));
    for (const tag of [zeroTag, Buffer.alloc(tagBytes, 0xff), ...guesses]) {
      expect(await begun.wanted(begun.description(secret, tag))).toBe(0);
      expect(begun.isUntouched).toBe(true);
      // So that it may be described again: zeros, which anybody may send.
      await begun.acknowledged(begun.vm.chunk(Buffer.alloc(secret.length)));
    }
    begun.peer.send("seal", begun.vm.seal([secret]));
    expect((await begun.peer.error()).code).toBe("integrity");
    expect(begun.isUntouched).toBe(true);
  });

  // [FIND-3]
  test("and describes a block of its own with them learns which blocks are there, and gets none", async () => {
    const begun = await begin();
    for (let i = 0; i < 20; i++) {
      const tag = randomBytes(tagBytes);
      expect(await begun.wanted(begun.description(secretAndOwn, tag))).toBe(allButLast);
      expect(await begun.wanted(chunkWithout(allButLast, tag, lastBlock, own))).toBe(0);
      expect(begun.isUntouched).toBe(true);
    }
  });

  // [FIND-3]
  test("and has the bytes as well brings them by describing them", async () => {
    const begun = await begin(secret);
    await begun.acknowledged(begun.description(secret, begun.tagOf(secret)));
    expect(readFileSync(begun.staged).equals(secret)).toBe(true);
  });
});

describe("a chunk that leaves out blocks", () => {
  // [CHUNK-8] [FIND-4]
  test.each<[string, (begun: DescribingSource) => Promise<number>]>([
    ["that were never described", async () => 1],
    [
      "that were described and not found",
      async (begun) => {
        expect(await begun.wanted(begun.description(randomBytes(secret.length), zeroTag))).toBe(0);
        return 1;
      },
    ],
    [
      "of which one was not found",
      async (begun) => {
        const half = Buffer.concat([secret.subarray(0, 3 * blockBytes), randomBytes(3 * blockBytes)]);
        expect(await begun.wanted(begun.description(half, zeroTag))).toBe(0b111);
        return 0b1111;
      },
    ],
    [
      "that were found, a second time",
      async (begun) => {
        expect(await begun.wanted(begun.description(secretAndOwn, zeroTag))).toBe(allButLast);
        expect(await begun.wanted(chunkWithout(allButLast, zeroTag, lastBlock, own))).toBe(0);
        return allButLast;
      },
    ],
  ])("%s ends the lane, and nothing is written", async (_which, lead) => {
    const begun = await begin();
    const frame = chunkWithout(await lead(begun), begun.tagOf(secretAndOwn), lastBlock, own);
    await refusedOn(begun.lane, frame, "a chunk leaves out blocks that were not found");
    expect(begun.isUntouched).toBe(true);
  });
});

describe("DESCRIBE", () => {
  const mayNot = "a chunk was described that may not be";

  // [FIND-1]
  test("where ACCEPT had no index ends the lane", async () => {
    const begun = await begin(undefined, "none-of-that-name");
    expect(begun.indexKey).toBeUndefined();
    const frame = begun.description(secret, begun.tagOf(secret), randomBytes(16));
    await refusedOn(begun.lane, frame, mayNot);
    expect(begun.isUntouched).toBe(true);
  });

  // [FIND-7]
  test("on an insecure link, where ACCEPT never has an index, ends the lane", async () => {
    const open = await HostileGround.make({ secure: false });
    try {
      mkdirSync(join(open.store, "golden"), { mode: 0o700 });
      writeFileSync(join(open.store, "golden", "disk.raw"), secret);
      const begun = await DescribingSource.begin(open, source, { content: secret, base: "golden" });
      expect(begun.indexKey).toBeUndefined();
      await refusedOn(begun.lane, begun.description(secret, begun.tagOf(secret), randomBytes(16)), mayNot);
      expect(begun.isUntouched).toBe(true);
    } finally {
      await open.close();
    }
  });

  // [FIND-1]
  test("of a chunk that waits for its CHUNK ends the lane", async () => {
    const begun = await begin();
    expect(await begun.wanted(begun.description(randomBytes(secret.length), zeroTag))).toBe(0);
    await refusedOn(begun.lane, begun.description(secret, begun.tagOf(secret)), mayNot);
    expect(begun.isUntouched).toBe(true);
  });

  // [FIND-1]
  test("of more chunks than may wait ends the lane, and nothing else", async () => {
    const most = limits.describedChunks;
    const bytes = (most + 1) * chunkBytes;
    const { lane } = await DescribingSource.begin(ground, source, {
      content: Buffer.alloc(0),
      base: "golden",
      bytes,
    });
    const hashes = randomBytes((chunkBytes / blockBytes) * blockHashBytes);
    for (let chunk = 0; chunk < most; chunk++) lane.sendBytes(encodeDescribe(0, chunk, zeroTag, hashes));
    for (let wants = 0; wants < most; ) wants += parseWant((await lane.next()).payload).length;
    await refusedOn(lane, encodeDescribe(0, most, zeroTag, hashes), mayNot);
    await ground.expectServing();
  });
});
