/** A lane of the source against a destination that the test plays, over plain TCP. */
import { afterEach, describe, expect, test } from "bun:test";
import type { TCPSocketListener } from "bun";
import { MigrateError } from "../../src/protocol/errors.ts";
import { FrameDecoder, frameTypes } from "../../src/protocol/frames.ts";
import { limits } from "../../src/protocol/limits.ts";
import { encodeError, encodeMessage } from "../../src/protocol/messages.ts";
import { encodeAck, type Place } from "../../src/transfer/ack.ts";
import { type Chunk, parseChunk, Tagger, tagHolds } from "../../src/transfer/chunk.ts";
import type { FromLane } from "../../src/transfer/lane-messages.ts";
import { LaneSender } from "../../src/transfer/lane-sender.ts";
import { slowBody, slowTag } from "./slow-chunk.ts";
import { Folder } from "./sparse-file.ts";

const { chunkBytes, pageBytes, tagBytes } = limits;
const key = Buffer.alloc(16, 3);
const welcome = encodeMessage("welcome", { version: limits.version, software: "test", trusted: true });
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

interface Played {
  chunks: Chunk[];
  lane: LaneSender;
  /** Resolves with the lane's last word. */
  ended: Promise<FromLane>;
}

/** `answer` gives what the destination says to HELLO and to each chunk. */
function play(
  path: string,
  bytes: number,
  answer: (to: "hello" | Place) => Buffer,
  heard: (message: FromLane) => void = () => {},
): Played {
  const chunks: Played["chunks"] = [];
  const server: TCPSocketListener<FrameDecoder> = Bun.listen<FrameDecoder>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = new FrameDecoder("stranger", (name, payload) => {
          if (name === "hello") {
            socket.data.standing = "lane-destination";
            socket.write(answer("hello"));
          } else if (name === "chunk") {
            const chunk = parseChunk(Buffer.from(payload), [bytes]);
            chunks.push(chunk);
            socket.write(answer(chunk));
          }
        });
      },
      data: (socket, data) => socket.data.push(data),
    },
  });
  cleanups.push(() => server.stop(true));
  const { promise: ended, resolve: end } = Promise.withResolvers<FromLane>();
  const lane = new LaneSender(
    {
      kind: "start",
      host: "127.0.0.1",
      port: server.port,
      credentials: null,
      peer: null,
      session: "ab".repeat(16),
      laneToken: "cd".repeat(16),
      tagKey: key,
      files: [{ path, bytes }],
      bandwidthBytesPerSec: null,
    },
    (message) => {
      heard(message);
      if (message.kind === "failed" || message.kind === "stopped") end(message);
    },
  );
  void lane.run();
  return { chunks, lane, ended };
}

const newFile = (bytes: number, ...pages: number[]) => {
  const folder = new Folder();
  cleanups.push(() => folder.remove());
  const pieces = pages.map((page) => ({ at: page * pageBytes, data: Buffer.alloc(100, page + 1) }));
  return folder.file("disk", bytes, pieces);
};
const acknowledge = (to: "hello" | Place) => (to === "hello" ? welcome : encodeAck([to]));

describe("a lane of the source", () => {
  test("sends what differs, leaves out what is zero or there already, and says what is right", async () => {
    const bytes = 3 * chunkBytes + 100;
    const path = newFile(bytes, 0, 300, 768);
    // The destination has chunk 1 already, in which page 300 of the file is page 44.
    const there = Buffer.alloc(chunkBytes);
    there.fill(301 % 256, 44 * pageBytes, 44 * pageBytes + 100);
    const have = Buffer.alloc(4 * tagBytes);
    slowTag(key, 0, 1, slowBody(there)).copy(have, tagBytes);
    const right: number[] = [];
    const { promise: allRight, resolve } = Promise.withResolvers<void>();
    const played = play(path, bytes, acknowledge, (message) => {
      if (message.kind !== "right") return;
      right.push(...message.places.filter((_, i) => i % 2 === 1));
      if (right.length === 4) resolve();
    });
    played.lane.add({ kind: "work", file: 0, first: 0, count: 4, have });
    await allRight;
    played.lane.stop();
    expect(await played.ended).toMatchObject({ kind: "stopped" });
    expect(right.sort()).toEqual([0, 1, 2, 3]);
    expect(played.chunks.map(({ chunk }) => chunk).sort()).toEqual([0, 3]);
    for (const chunk of played.chunks) expect(tagHolds(chunk, new Tagger(key))).toBe(true);
  });

  // [ACK-2]
  test.each([
    ["that was not sent", encodeAck([{ file: 0, chunk: 7 }])],
    ["of another file", encodeAck([{ file: 1, chunk: 0 }])],
    ["twice", Buffer.concat([encodeAck([{ file: 0, chunk: 0 }]), encodeAck([{ file: 0, chunk: 0 }])])],
  ])("ends where a chunk is acknowledged %s", async (_what, acks) => {
    const path = newFile(100, 0);
    const played = play(path, 100, (to) => (to === "hello" ? welcome : acks));
    played.lane.add({ kind: "work", file: 0, first: 0, count: 1, have: null });
    expect(await played.ended).toMatchObject({ kind: "failed", error: { code: "protocol" } });
  });

  // [STAND-4]
  test("ends where anything else is said on it", async () => {
    const path = newFile(100, 0);
    for (const frame of [
      encodeMessage("owned", {}),
      encodeMessage("accept", { state: "receiving", laneToken: "0".repeat(32), inventory: false }),
      Buffer.of(0, 0, 0, 1, frameTypes.ack, 0),
    ]) {
      const played = play(path, 100, (to) => (to === "hello" ? welcome : frame));
      played.lane.add({ kind: "work", file: 0, first: 0, count: 1, have: null });
      expect(await played.ended).toMatchObject({ kind: "failed", error: { code: "protocol" } });
    }
  });

  test("hands on what the destination says went wrong", async () => {
    const path = newFile(100, 0);
    const played = play(path, 100, (to) =>
      to === "hello" ? welcome : encodeError(new MigrateError("no-room", "the disk is full")),
    );
    played.lane.add({ kind: "work", file: 0, first: 0, count: 1, have: null });
    expect(await played.ended).toMatchObject({
      kind: "failed",
      error: { code: "no-room", side: "destination", message: "the disk is full" },
    });
  });

  test("aborts where a file has become shorter than it was said to be", async () => {
    const path = newFile(100, 0);
    const played = play(path, 5000, acknowledge);
    played.lane.add({ kind: "work", file: 0, first: 0, count: 1, have: null });
    expect(await played.ended).toMatchObject({ kind: "failed", error: { code: "source-changed" } });
  });
});
