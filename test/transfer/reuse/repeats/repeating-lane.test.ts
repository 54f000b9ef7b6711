/** A lane of the source whose destination takes copies: what it sends as one, and what it does where that was wrong. */
import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { limits } from "../../../../src/protocol/limits.ts";
import { encodeAck } from "../../../../src/transfer/chunks/ack.ts";
import { type Chunk, tagHolds } from "../../../../src/transfer/chunks/chunk.ts";
import { ChunkBuffer } from "../../../../src/transfer/chunks/chunk-buffer.ts";
import type { ReadReceived } from "../../../../src/transfer/chunks/shortened-body.ts";
import { Tagger } from "../../../../src/transfer/chunks/tagger.ts";
import type { FromLane } from "../../../../src/transfer/lanes/lane-messages.ts";
import { KnownPages } from "../../../../src/transfer/reuse/repeats/known-pages.ts";
import { encodeWant } from "../../../../src/transfer/reuse/store/describe.ts";
import { randomStream } from "../../../support/files/small-vm.ts";
import {
  laneKey,
  laneWelcome,
  type PlayedLane,
  type PlayedLaneOptions,
  playLane,
  type Said,
} from "../../../support/moves/played-lane.ts";
import { Folder } from "../../sparse-file.ts";

const { blockBytes, chunkBytes } = limits;
const half = chunkBytes / 2;
/** A chunk; one that has its first half, and other bytes behind it; and twice the first one again. */
const [first, other] = [randomStream(5)(chunkBytes), randomStream(6)(half)];
const content = Buffer.concat([first, first.subarray(0, half), other, first, first]);
/** The file ends in a hole: the memory is made for what it could hold, so that nothing is forgotten. */
const bytes = 128 * chunkBytes;
const newMemory = () => KnownPages.memory([bytes]);
const fromContent: ReadReceived = (_file, from, into) => content.copy(into, 0, from) === into.length;

let folder: Folder;
let path: string;
let lanes: PlayedLane[];
beforeEach(() => {
  folder = new Folder();
  path = folder.file("disk", bytes, [{ at: 0, data: content }]);
  lanes = [];
});
afterEach(() => {
  for (const lane of lanes) lane.close();
  folder.remove();
});

type Answer = (said: Exclude<Said, { kind: "hello" }>) => Buffer;
const acknowledge: Answer = (said) => encodeAck([said]);
const want = ({ file, chunk }: { file: number; chunk: number }, found = 0) =>
  encodeWant([{ file, chunk, found }]);
const silence = Buffer.alloc(0);

interface Playing extends PlayedLane {
  /** Waits until so many chunks are confirmed, and drops the lane; resolves with how it ended. */
  end: (confirmed: number) => Promise<FromLane>;
}

function play(
  answer: Answer,
  {
    memory = newMemory(),
    lane = 0,
    ...more
  }: Partial<PlayedLaneOptions> & {
    memory?: SharedArrayBuffer;
    lane?: number;
  } = {},
): Playing {
  let confirmed = 0;
  let wanted = Number.POSITIVE_INFINITY;
  const look = () => confirmed >= wanted && played.drop();
  const played = playLane({
    path,
    bytes,
    compression: 1,
    repeats: { lane, memory },
    received: fromContent,
    answer: (said) => (said.kind === "hello" ? laneWelcome : answer(said)),
    ...more,
    heard: (message) => {
      if (message.kind === "confirmed") confirmed += message.places.length / 2;
      more.heard?.(message);
      look();
    },
  });
  lanes.push(played);
  const end = (count: number) => {
    wanted = count;
    look();
    return played.ended;
  };
  return { ...played, end };
}

/** Which chunk it was, and whether it had repeats: on a busy machine it may have fewer than there could be. */
const shape = ({ chunk, repeats }: Chunk) => [chunk, Math.min(1, repeats)];
const isRight = (chunk: Chunk) => tagHolds(chunk, chunk.body, new Tagger(laneKey));

// [COPY-1]
test("what was sent before is sent as a repeat of it, under the tag of the bytes that it stands for", async () => {
  let bytesSent = 0;
  const heard = (message: FromLane) => {
    if (message.kind === "confirmed") bytesSent = message.bytesSent;
  };
  const lane = play(acknowledge, { heard });
  lane.work(4);
  const end = await lane.end(4);
  expect(end).toMatchObject({ kind: "dropped" });
  expect(lane.chunks.map(shape)).toEqual([
    [0, 0],
    [1, 1],
    [2, 1],
    [3, 1],
  ]);
  expect(lane.chunks.every(isRight)).toBe(true);
  expect(bytesSent).toBeGreaterThan(chunkBytes);
  expect(bytesSent).toBeLessThan(3 * chunkBytes);
});

test("auto knows, once the link turns out to be slow, what went before that", async () => {
  let nowMs = 0;
  const clock = spyOn(performance, "now").mockImplementation(() => nowMs);
  try {
    const windowChunks = 16;
    // One more to learn of the second window, and one that is looked at.
    const count = 2 * windowChunks + 2;
    path = folder.file(
      "slow",
      bytes,
      Array.from({ length: count }, (_, i) => ({ at: i * chunkBytes, data: first })),
    );
    const held: { file: number; chunk: number }[] = [];
    const lane = play(
      (said) => {
        held.push(said);
        // Each of two windows is full before anything of it is acknowledged, which takes a while.
        if (held.length < windowChunks && said.chunk < 2 * windowChunks) return silence;
        nowMs += 800;
        return encodeAck(held.splice(0));
      },
      { compression: "auto", path },
    );
    lane.work(count);
    expect(await lane.end(count)).toMatchObject({ kind: "dropped" });
    const copied = lane.chunks.filter(({ repeats }) => repeats > 0);
    expect(copied.map(({ chunk }) => chunk)).toEqual([count - 1]);
  } finally {
    clock.mockRestore();
  }
});

test("nothing is sent as a repeat where the destination takes none, or where chunks are sent as they are read", async () => {
  for (const options of [{ repeats: null }, { compression: "off" }] as const) {
    const lane = play(acknowledge, options as Partial<PlayedLaneOptions>);
    lane.work(4);
    expect(await lane.end(4)).toMatchObject({ kind: "dropped" });
    expect(lane.chunks.map(({ repeats }) => repeats)).toEqual([0, 0, 0, 0]);
  }
});

// [COPY-2] [COPY-3]
describe("a chunk that the destination could not put together", () => {
  test("is sent again as it is", async () => {
    const lane = play((said) => (said.kind === "chunk" && said.repeats > 0 ? want(said) : encodeAck([said])));
    lane.work(4);
    expect(await lane.end(4)).toMatchObject({ kind: "dropped" });
    const again = lane.chunks.filter(({ repeats }) => repeats === 0);
    expect(again.map(({ chunk }) => chunk)).toEqual([0, 1, 2, 3]);
    expect(lane.chunks).toHaveLength(7);
    expect(again.every(isRight)).toBe(true);
  });

  test("may not be wanted twice, nor with blocks that were found, nor where it was no repeat", async () => {
    for (const answer of [
      (said) => (said.chunk === 1 ? want(said) : encodeAck([said])),
      (said) => (said.chunk === 1 ? want(said, 1) : encodeAck([said])),
      (said) => want(said),
    ] satisfies Answer[]) {
      const lane = play(answer);
      lane.work(2);
      expect(await lane.ended).toMatchObject({ kind: "failed", error: { code: "protocol" } });
    }
  });

  test("ends the lane where its file has changed meanwhile", async () => {
    const lane = play((said) => {
      if (said.chunk === 0) return encodeAck([said]);
      writeFileSync(path, randomStream(9)(content.length), { flag: "r+" });
      return want(said);
    });
    lane.work(2);
    expect(await lane.ended).toMatchObject({ kind: "failed", error: { code: "source-changed" } });
  });
});

test("what another lane has sent is referred to once it was acknowledged, and not before", async () => {
  const memory = newMemory();
  const [sent, confirmed, early] = [0, 1, 2].map(() => Promise.withResolvers<void>());
  const one = play(
    () => {
      sent!.resolve();
      return silence;
    },
    { memory, lane: 0, heard: ({ kind }) => kind === "confirmed" && confirmed!.resolve() },
  );
  const two = play(acknowledge, {
    memory,
    lane: 1,
    heard: ({ kind }) => kind === "confirmed" && early!.resolve(),
  });
  one.work(1);
  await sent!.promise;
  two.work(1, undefined, 2);
  await early!.promise;
  // The second lane's own chunk is confirmed now as well, and so of no use to tell them apart.
  const known = new KnownPages(memory, 2, [bytes]);
  known.gone(0, 2);
  one.say(encodeAck([{ file: 0, chunk: 0 }]));
  await confirmed!.promise;
  two.work(1, undefined, 3);
  expect(await two.end(2)).toMatchObject({ kind: "dropped" });
  expect(two.chunks.map(shape)).toEqual([
    [2, 0],
    [3, 1],
  ]);
});

describe("where the destination has an index", () => {
  test("what it found in its store is referred to as what was sent is", async () => {
    const lane = play(
      (said) => (said.kind === "description" && said.chunk > 0 ? want(said) : encodeAck([said])),
      {
        describes: true,
      },
    );
    // The last one is zeros, and is looked at before the others are wanted.
    lane.work(3);
    lane.work(1, undefined, 4);
    expect(await lane.end(4)).toMatchObject({ kind: "dropped" });
    const wanted = lane.chunks.filter(({ chunk }) => chunk < 4);
    expect(wanted.map(shape)).toEqual([
      [1, 1],
      [2, 1],
    ]);
    expect(lane.chunks.every(isRight)).toBe(true);
  });

  test("a chunk may have blocks that are left out, and repeats of the rest", async () => {
    const mask = 0b1001;
    const lane = play(
      (said) => (said.kind === "description" ? want(said, said.chunk === 1 ? mask : 0) : encodeAck([said])),
      {
        describes: true,
      },
    );
    lane.work(2);
    expect(await lane.end(2)).toMatchObject({ kind: "dropped" });
    const chunk = lane.chunks.find((each) => each.chunk === 1)!;
    expect([chunk.leftOut, chunk.repeats > 0]).toEqual([mask, true]);
    const buffer = new ChunkBuffer();
    buffer.unpack(chunk, chunkBytes);
    const whole = content.subarray(chunkBytes, 2 * chunkBytes);
    for (const block of [0, 3]) {
      whole.copy(
        buffer.dataRoom(chunkBytes),
        block * blockBytes,
        block * blockBytes,
        (block + 1) * blockBytes,
      );
    }
    expect(buffer.dataRoom(chunkBytes).equals(whole)).toBe(true);
    expect(tagHolds(chunk, buffer.pack(chunkBytes).body, new Tagger(laneKey))).toBe(true);
  });
});
