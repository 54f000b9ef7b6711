/** A lane of the source that is told to send: what it sends, what it leaves out, and how it ends. */
import { afterEach, describe, expect, test } from "bun:test";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { frameTypes } from "../../../src/protocol/frames.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { encodeError, encodeMessage } from "../../../src/protocol/messages.ts";
import { encodeAck } from "../../../src/transfer/chunks/ack.ts";
import { tagHolds } from "../../../src/transfer/chunks/chunk.ts";
import { Tagger } from "../../../src/transfer/chunks/tagger.ts";
import type { FromLane } from "../../../src/transfer/lanes/lane-messages.ts";
import { encodeWant } from "../../../src/transfer/reuse/store/describe.ts";
import {
  laneKey as key,
  type PlayedLane,
  playLane,
  type Said,
  laneWelcome as welcome,
} from "../../support/moves/played-lane.ts";
import { until } from "../../support/system/until.ts";
import { slowBody, slowTag } from "../slow-chunk.ts";
import { Folder } from "../sparse-file.ts";

const { chunkBytes, pageBytes, tagBytes } = limits;
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function play(
  path: string,
  bytes: number,
  answer: (said: Said) => Buffer,
  heard: (message: FromLane) => void = () => {},
): PlayedLane {
  const played = playLane({ path, bytes, answer, heard });
  cleanups.push(played.close);
  return played;
}

const newFile = (bytes: number, ...pages: number[]) => {
  const folder = new Folder();
  cleanups.push(() => folder.remove());
  const pieces = pages.map((page) => ({ at: page * pageBytes, data: Buffer.alloc(100, page + 1) }));
  return folder.file("disk", bytes, pieces);
};
const acknowledge = (said: Said) => (said.kind === "hello" ? welcome : encodeAck([said]));

describe("a lane of the source", () => {
  test("sends what differs, leaves out what is zero or there already, and reports what is confirmed", async () => {
    const bytes = 3 * chunkBytes + 100;
    const path = newFile(bytes, 0, 300, 768);
    // The destination has chunk 1 already, in which page 300 of the file is page 44.
    const there = Buffer.alloc(chunkBytes);
    there.fill(301 % 256, 44 * pageBytes, 44 * pageBytes + 100);
    const have = Buffer.alloc(4 * tagBytes);
    slowTag(key, 0, 1, slowBody(there)).copy(have, tagBytes);
    const confirmed: number[] = [];
    const { promise: allConfirmed, resolve } = Promise.withResolvers<void>();
    const played = play(path, bytes, acknowledge, (message) => {
      if (message.kind !== "confirmed") return;
      confirmed.push(...message.places.filter((_, i) => i % 2 === 1));
      if (confirmed.length === 4) resolve();
    });
    played.work(4, have);
    await allConfirmed;
    played.drop();
    expect(await played.ended).toMatchObject({ kind: "dropped" });
    expect(confirmed.sort()).toEqual([0, 1, 2, 3]);
    expect(played.chunks.map(({ chunk }) => chunk).sort()).toEqual([0, 3]);
    for (const chunk of played.chunks) expect(tagHolds(chunk, chunk.body, new Tagger(key))).toBe(true);
  });

  test("has few chunks under way where the first one takes long, and many again where none does", async () => {
    const silenceMs = 200;
    const path = newFile(12 * chunkBytes, ...Array.from({ length: 12 }, (_, chunk) => chunk * 256));
    const played = playLane({
      path,
      bytes: 12 * chunkBytes,
      silenceMs: silenceMs * 100,
      answer: (said) => (said.kind === "hello" ? welcome : Buffer.alloc(0)),
    });
    cleanups.push(played.close);
    played.work(12);
    // Where nothing is acknowledged, and nothing is late yet, all go.
    await until(() => played.chunks.length === 12, "all chunks");

    const late = playLane({
      path,
      bytes: 12 * chunkBytes,
      silenceMs,
      answer: (said) => (said.kind === "hello" ? welcome : Buffer.alloc(0)),
    });
    cleanups.push(late.close);
    late.work(1);
    await until(() => late.chunks.length === 1, "the first chunk");
    const arrivedMs = performance.now();
    await until(() => performance.now() - arrivedMs > silenceMs / 4, "a chunk that is late");
    late.work(11, undefined, 1);
    late.say(encodeMessage("ping", {}));
    await until(() => late.pongs === 1, "its answer, behind what it had to say");
    expect(late.chunks.length).toBe(1);
    late.say(encodeAck([late.chunks[0]!]));
    await until(() => late.chunks.length > 1, "the next chunks");
    expect(late.chunks[1]).toMatchObject({ chunk: 1 });
  });

  // [ACK-2]
  test.each([
    ["that was not sent", encodeAck([{ file: 0, chunk: 7 }])],
    ["of another file", encodeAck([{ file: 1, chunk: 0 }])],
    ["twice", Buffer.concat([encodeAck([{ file: 0, chunk: 0 }]), encodeAck([{ file: 0, chunk: 0 }])])],
  ])("ends where a chunk is acknowledged %s", async (_what, acks) => {
    const path = newFile(100, 0);
    const played = play(path, 100, ({ kind }) => (kind === "hello" ? welcome : acks));
    played.work(1);
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
      const played = play(path, 100, ({ kind }) => (kind === "hello" ? welcome : frame));
      played.work(1);
      expect(await played.ended).toMatchObject({ kind: "failed", error: { code: "protocol" } });
    }
  });

  // [FIND-5]
  test("ends where a chunk is wanted that was not described", async () => {
    const path = newFile(100, 0);
    const want = encodeWant([{ file: 0, chunk: 0, found: 0 }]);
    const played = play(path, 100, ({ kind }) => (kind === "hello" ? welcome : want));
    played.work(1);
    expect(await played.ended).toMatchObject({ kind: "failed", error: { code: "protocol" } });
  });

  test("hands on what the destination says went wrong", async () => {
    const path = newFile(100, 0);
    const played = play(path, 100, ({ kind }) =>
      kind === "hello" ? welcome : encodeError(new MigrateError("no-room", "the disk is full")),
    );
    played.work(1);
    expect(await played.ended).toMatchObject({
      kind: "failed",
      error: { code: "no-room", side: "destination", message: "the disk is full" },
    });
  });

  test("aborts where a file has become shorter than it was said to be", async () => {
    const path = newFile(100, 0);
    const played = play(path, 5000, acknowledge);
    played.work(1);
    expect(await played.ended).toMatchObject({ kind: "failed", error: { code: "source-changed" } });
  });
});
