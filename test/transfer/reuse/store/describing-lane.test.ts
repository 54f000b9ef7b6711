/** A lane of the source whose destination has an index: what it describes, and what it sends when. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../../src/protocol/limits.ts";
import { encodeAck } from "../../../../src/transfer/chunks/ack.ts";
import { tagHolds } from "../../../../src/transfer/chunks/chunk.ts";
import { ChunkBuffer } from "../../../../src/transfer/chunks/chunk-buffer.ts";
import { Tagger } from "../../../../src/transfer/chunks/tagger.ts";
import type { FromLane } from "../../../../src/transfer/lanes/lane-messages.ts";
import { BlockHasher } from "../../../../src/transfer/reuse/store/block-hash.ts";
import { encodeWant } from "../../../../src/transfer/reuse/store/describe.ts";
import { randomStream } from "../../../support/files/small-vm.ts";
import {
  laneIndexKey,
  laneKey,
  laneWelcome,
  type PlayedLane,
  playLane,
  type Said,
} from "../../../support/moves/played-lane.ts";
import { Folder } from "../../sparse-file.ts";

const { blockBytes, chunkBytes } = limits;
const bytes = 2 * chunkBytes + 3 * blockBytes + 100;
const content = randomStream(11)(bytes);

let folder: Folder;
let path: string;
let confirmed: Extract<FromLane, { kind: "confirmed" }>[];
let played: PlayedLane | undefined;
beforeEach(() => {
  folder = new Folder();
  path = join(folder.path, "disk");
  writeFileSync(path, content);
  confirmed = [];
});
afterEach(() => {
  played?.close();
  folder.remove();
});

/** Sends the whole file to a destination that answers so, and resolves with how the lane ended. */
async function send(answer: (said: Said) => Buffer): Promise<FromLane> {
  const places = new Set<number>();
  const lane = playLane({
    path,
    bytes,
    describes: true,
    answer: (said) => (said.kind === "hello" ? laneWelcome : answer(said)),
    heard: (message) => {
      if (message.kind !== "confirmed") return;
      confirmed.push(message);
      for (let i = 1; i < message.places.length; i += 2) places.add(message.places[i]!);
      if (places.size === 3) lane.drop();
    },
  });
  played = lane;
  lane.work(3);
  return await lane.ended;
}

const place = (said: Said) => said as Exclude<Said, { kind: "hello" }>;
const want = (said: Said, found: number) =>
  encodeWant([{ file: place(said).file, chunk: place(said).chunk, found }]);
const foundBytes = () => confirmed.reduce((sum, message) => sum + message.foundBytes, 0);
const chunkOf = (chunk: number) => content.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes);

// [FIND-2]
test("what the destination has all of is described and not sent", async () => {
  expect(await send((said) => encodeAck([place(said)]))).toMatchObject({ kind: "dropped" });
  expect(played!.said.map(({ kind }) => kind)).toEqual(["description", "description", "description"]);
  const hashes = new BlockHasher(laneIndexKey);
  for (const said of played!.said) {
    if (said.kind === "description") expect(said.hashes).toEqual(hashes.hashes(chunkOf(said.chunk)));
  }
  expect(foundBytes()).toBe(bytes);
});

// [FIND-4] [CHUNK-8]
test("of what the destination has in part the rest is sent, under the tag of the whole", async () => {
  const mask = 0b101;
  const end = await send((said) =>
    said.kind === "description" ? want(said, mask) : encodeAck([place(said)]),
  );
  expect(end).toMatchObject({ kind: "dropped" });
  expect(played!.chunks.map(({ chunk, leftOut }) => [chunk, leftOut]).sort()).toEqual([
    [0, mask],
    [1, mask],
    [2, mask],
  ]);
  const buffer = new ChunkBuffer();
  for (const chunk of played!.chunks) {
    const whole = chunkOf(chunk.chunk);
    buffer.unpack(chunk, whole.length);
    const room = buffer.dataRoom(whole.length);
    for (let block = 0; block * blockBytes < whole.length; block++) {
      const [from, to] = [block * blockBytes, Math.min(whole.length, (block + 1) * blockBytes)];
      const isLeftOut = (mask & (1 << block)) !== 0;
      expect(
        room.subarray(from, to).equals(isLeftOut ? Buffer.alloc(to - from) : whole.subarray(from, to)),
      ).toBe(true);
    }
    whole.copy(buffer.dataRoom(whole.length));
    expect(tagHolds(chunk, buffer.pack(whole.length).body, new Tagger(laneKey))).toBe(true);
  }
  expect(foundBytes()).toBe(3 * 2 * blockBytes);
});

// [FIND-4]
test("what the destination has lost meanwhile is sent whole", async () => {
  const end = await send((said) => {
    if (said.kind === "description") return want(said, 1);
    return place(said).kind === "chunk" && (said as { leftOut: number }).leftOut === 1
      ? want(said, 0)
      : encodeAck([place(said)]);
  });
  expect(end).toMatchObject({ kind: "dropped" });
  const whole = played!.chunks.filter(({ leftOut }) => leftOut === 0);
  expect(whole.map(({ chunk }) => chunk).sort()).toEqual([0, 1, 2]);
  for (const chunk of whole) expect(tagHolds(chunk, chunk.body, new Tagger(laneKey))).toBe(true);
  expect(foundBytes()).toBe(0);
});

// [FIND-5]
describe("a lane ends where a chunk is wanted", () => {
  test.each([
    ["twice", (said: Said) => Buffer.concat([want(said, 1), want(said, 1)])],
    ["again with something found", (said: Said) => want(said, 1)],
    [
      "without blocks that it has",
      (said: Said) => encodeWant([{ file: 0, chunk: 2, found: 1 << 4 }]) ?? said,
    ],
    ["that was not described", () => encodeWant([{ file: 0, chunk: 99, found: 0 }])],
  ])("%s", async (_how, answer) => {
    expect(await send(answer)).toMatchObject({ kind: "failed", error: { code: "protocol" } });
  });

  test("and acknowledged before it came", async () => {
    const answer = (said: Said) => Buffer.concat([want(said, 0), encodeAck([place(said)])]);
    expect(await send(answer)).toMatchObject({ kind: "failed", error: { code: "protocol" } });
  });
});

test("a file that was written to between the description and the chunk ends the lane", async () => {
  const end = await send((said) => {
    if (said.kind === "description") writeFileSync(path, randomStream(12)(bytes));
    return want(said, 0);
  });
  expect(end).toMatchObject({ kind: "failed", error: { code: "source-changed" } });
});
