/** A lane of the destination to which chunks are described: what it answers, and what it writes when. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FrameSocket } from "../../../../src/channel/frame-socket.ts";
import { ReceivedFiles } from "../../../../src/migration/destination/received-files.ts";
import type { MigrateError } from "../../../../src/protocol/errors.ts";
import { frameTypes } from "../../../../src/protocol/frames.ts";
import { limits } from "../../../../src/protocol/limits.ts";
import { parseAck } from "../../../../src/transfer/chunks/ack.ts";
import { ChunkBuffer } from "../../../../src/transfer/chunks/chunk-buffer.ts";
import { Tagger } from "../../../../src/transfer/chunks/tagger.ts";
import type { LaneFinder } from "../../../../src/transfer/landing/lane-grant.ts";
import { LaneReceiver } from "../../../../src/transfer/lanes/lane-receiver.ts";
import { BlockHasher } from "../../../../src/transfer/reuse/store/block-hash.ts";
import { encodeDescribe, parseWant, type Want } from "../../../../src/transfer/reuse/store/describe.ts";
import { newMissBudget } from "../../../../src/transfer/reuse/store/miss-budget.ts";
import { randomStream } from "../../../support/files/small-vm.ts";
import { Folder } from "../../sparse-file.ts";

const blocksPerChunk = limits.chunkBytes / limits.blockBytes;

const { blockBytes, chunkBytes, frameHeaderBytes } = limits;
const key = Buffer.alloc(16, 3);
const indexKey = Buffer.alloc(16, 9);
const chunks = 70;
const disk = { kind: "disk" as const, name: "disk", bytes: chunks * chunkBytes };
const content = randomStream(5)(chunkBytes);
const everyBlock = 2 ** blocksPerChunk - 1;

let store: Folder;
let base: string;
let received: ReceivedFiles;
let lane: LaneReceiver;
let said: Buffer[];
let failures: MigrateError[];
beforeEach(() => {
  store = new Folder();
  base = join(store.path, "base.raw");
  received = new ReceivedFiles(store.path, "ab".repeat(16), [disk], key);
  received.prepare();
  said = [];
  failures = [];
  lane = newLane({ key: indexKey, index: null, bases: [base], sharesBlocks: false, misses: newMissBudget() });
});
afterEach(() => {
  lane.close();
  store.remove();
});

/** A lane whose connection only remembers what was said on it. */
function newLane(finder: LaneFinder | null): LaneReceiver {
  const link = { bytesReceived: 0, send: (frame: Buffer) => void said.push(frame) } as unknown as FrameSocket;
  const grant = received.grant("ab".repeat(16), finder);
  return new LaneReceiver(
    grant,
    link,
    () => {},
    (error) => failures.push(error),
  );
}

const written = (chunk: number) => {
  const at = chunk * chunkBytes;
  return readFileSync(received.staging.paths[0]!).subarray(at, at + chunkBytes);
};

/** The frames of a source that has `data` there: how it describes it, and how it sends it. */
function source(data: Buffer, chunk = 0) {
  const buffer = new ChunkBuffer();
  data.copy(buffer.dataRoom(data.length));
  const tag = Buffer.from(new Tagger(key).tag(0, chunk, buffer.pack(data.length).body));
  const hashes = new BlockHasher(indexKey).hashes(data);
  return {
    describe: (claimed = hashes, claimedTag = tag) =>
      lane.frame("describe", encodeDescribe(0, chunk, claimedTag, claimed).subarray(frameHeaderBytes)),
    send: (leftOut: number) => {
      data.copy(buffer.dataRoom(data.length));
      buffer.clear(leftOut, data.length);
      buffer.pack(data.length);
      lane.frame("chunk", buffer.frame(0, chunk, tag, leftOut).subarray(frameHeaderBytes));
    },
  };
}

/** What the lane said since this was asked before. */
async function answers(): Promise<{ acks: number; wants: Want[] }> {
  await new Promise<void>((done) => setImmediate(done));
  const frames = said.splice(0);
  const of = (type: number) =>
    frames.filter((frame) => frame[4] === type).map((frame) => frame.subarray(frameHeaderBytes));
  const acks = of(frameTypes.ack).flatMap(parseAck).length;
  return { acks, wants: of(frameTypes.want).flatMap(parseWant) };
}

/** The base has the content with its blocks from 0 on, but for those of the mask. */
function makeBase(without = 0): void {
  const data = Buffer.from(content);
  for (let i = 0; i < blocksPerChunk; i++) {
    if ((without & (1 << i)) !== 0) data.fill(0xee, i * blockBytes, (i + 1) * blockBytes);
  }
  writeFileSync(base, data);
}

// [FIND-4]
test("a chunk that is all there is written and acknowledged", async () => {
  makeBase();
  source(content).describe();
  expect(await answers()).toEqual({ acks: 1, wants: [] });
  expect(written(0).equals(content)).toBe(true);
});

// [FIND-4] [CHUNK-8]
test("of a chunk that is there in part the rest is wanted, and nothing is written before it has come", async () => {
  makeBase(0b101);
  const from = source(content);
  from.describe();
  expect(await answers()).toEqual({ acks: 0, wants: [{ file: 0, chunk: 0, found: everyBlock & ~0b101 }] });
  expect(written(0).equals(Buffer.alloc(chunkBytes))).toBe(true);
  from.send(everyBlock & ~0b101);
  expect(await answers()).toEqual({ acks: 1, wants: [] });
  expect(written(0).equals(content)).toBe(true);
});

// [FIND-3]
test("block hashes that are right and a tag that is not bring nothing into the file", async () => {
  makeBase();
  source(content).describe(undefined, Buffer.alloc(16, 1));
  expect(await answers()).toEqual({ acks: 0, wants: [{ file: 0, chunk: 0, found: 0 }] });
  expect(written(0).equals(Buffer.alloc(chunkBytes))).toBe(true);
});

// [FIND-3] [FIND-4]
describe.each([
  ["is written to", () => makeBase(0b10)],
  ["is cut short", () => writeFileSync(base, content.subarray(0, 3 * blockBytes))],
])("a base that %s between the description and the chunk", (_how, change) => {
  test("is not used: all of the chunk is wanted", async () => {
    makeBase(0b1);
    const from = source(content);
    from.describe();
    await answers();
    change();
    from.send(everyBlock & ~0b1);
    expect(await answers()).toEqual({ acks: 0, wants: [{ file: 0, chunk: 0, found: 0 }] });
    expect(written(0).equals(Buffer.alloc(chunkBytes))).toBe(true);
    from.send(0);
    expect(await answers()).toEqual({ acks: 1, wants: [] });
    expect(written(0).equals(content)).toBe(true);
  });
});

test("a base that is deleted between the description and the chunk is readable still", async () => {
  makeBase(0b1);
  const from = source(content);
  from.describe();
  await answers();
  rmSync(base);
  from.send(everyBlock & ~0b1);
  expect(await answers()).toEqual({ acks: 1, wants: [] });
  expect(written(0).equals(content)).toBe(true);
});

// [CHUNK-8]
test("blocks that were not found cannot be left out", () => {
  makeBase(0b1);
  const from = source(content);
  expect(() => from.send(0b10)).toThrow(expect.objectContaining({ code: "protocol" }));
  from.describe();
  expect(() => from.send(everyBlock)).toThrow(expect.objectContaining({ code: "protocol" }));
});

// [FIND-1]
test("chunks are not described twice, nor more of them than may wait", () => {
  makeBase(everyBlock);
  source(content).describe();
  expect(() => source(content).describe()).toThrow(expect.objectContaining({ code: "protocol" }));
  for (let chunk = 1; chunk < limits.describedChunks; chunk++) source(content, chunk).describe();
  expect(() => source(content, limits.describedChunks).describe()).toThrow(
    expect.objectContaining({ code: "protocol" }),
  );
});

// [FIND-1]
test("where the store is not looked through, nothing may be described", () => {
  lane.close();
  lane = newLane(null);
  expect(() => source(content).describe()).toThrow(expect.objectContaining({ code: "protocol" }));
});

test("a chunk that cannot be written after it was found ends the lane", async () => {
  makeBase();
  rmSync(received.staging.paths[0]!);
  source(content).describe();
  await answers();
  expect(failures).toMatchObject([{ code: "store-failed" }]);
});

test("one chunk is looked for at a time, and other work has its turn in between", async () => {
  makeBase();
  const order: string[] = [];
  for (let chunk = 0; chunk < 3; chunk++) source(content, chunk).describe();
  const turns = async () => {
    for (let turn = 0; turn < 3; turn++) {
      await new Promise<void>((done) => setImmediate(done));
      order.push(`${said.length} answers`);
    }
  };
  await turns();
  expect(order).toEqual(["1 answers", "2 answers", "3 answers"]);
});

test("a last block that is shorter than others leaves the file as long as it was, where files share blocks", async () => {
  const bytes = chunkBytes + 3 * blockBytes + 1000;
  received.remove();
  received = new ReceivedFiles(store.path, "cd".repeat(16), [{ ...disk, bytes }], key);
  received.prepare();
  lane.close();
  lane = newLane({ key: indexKey, index: null, bases: [base], sharesBlocks: true, misses: newMissBudget() });
  const data = randomStream(6)(bytes);
  writeFileSync(base, data);
  // The longer one first: its bytes are where those of the last one would be read.
  for (const chunk of [0, 1])
    source(data.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes), chunk).describe();
  expect(await answers()).toEqual({ acks: 1, wants: [] });
  expect(await answers()).toEqual({ acks: 1, wants: [] });
  expect(readFileSync(received.staging.paths[0]!).equals(data)).toBe(true);
});
