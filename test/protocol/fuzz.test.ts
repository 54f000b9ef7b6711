/** Whatever a peer sends, what comes of it is a frame, or one of a few errors. */
import { afterEach, expect, mock, spyOn, test } from "bun:test";
import { readdirSync } from "node:fs";
import { MigrateError } from "../../src/protocol/errors.ts";
import {
  FrameDecoder,
  type FrameName,
  frameTypes,
  payloadLimit,
  type Standing,
} from "../../src/protocol/frames.ts";
import { chunkBodyBytes, limits } from "../../src/protocol/limits.ts";
import { decodeMessage, isMessageName } from "../../src/protocol/messages.ts";
import { printable } from "../../src/protocol/printable.ts";
import { parseChunk, tagHolds } from "../../src/transfer/chunks/chunk.ts";
import type { ReadReceived } from "../../src/transfer/chunks/shortened-body.ts";
import { Tagger } from "../../src/transfer/chunks/tagger.ts";
import { streamKey } from "../../src/transfer/streams/stream-frame.ts";
import { StreamInbox } from "../../src/transfer/streams/stream-inbox.ts";
import { type SeededRandom, seeded } from "../support/system/random.ts";
import { allocations } from "./allocations.ts";
import { readFrame } from "./read-frame.ts";
import { standings } from "./standings.ts";
import { folder, vectors } from "./vector.ts";

const inputs = 300_000;
/** Vectors that are longer are left to their own test: the time goes into variety here. */
const seedBytes = 20_000;

const allowed = new Set(["protocol", "limit", "name-invalid", "version", "insecure-mismatch", "integrity"]);
const files = [8192, 2 * limits.chunkBytes, 6000, 0];
const key = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");
const tagger = new Tagger(key);
/** With the instance of the vectors, so that what is not altered is let through. */
const streamKeys = (["source", "destination"] as const).map((sender) =>
  streamKey(key, "f0e1d2c3b4a5968778695a4b3c2d1e0f", sender),
) as [Buffer, Buffer];
const program = { write: ({ length }: Buffer) => length, shutdown: () => {} };
const bodyRoom = Buffer.alloc(chunkBodyBytes);

afterEach(() => mock.restore());

interface Seed {
  standing: Standing;
  bytes: Buffer;
}

/**
 * Takes everything apart as the two sides do, and counts in `taken` what made sense. Gives the code of
 * what it was refused with.
 */
function feed(
  standing: Standing,
  pieces: Buffer[],
  taken: Map<FrameName, number>,
  read: ReadReceived,
): string {
  let heardBytes = 0;
  const inbox = new StreamInbox(0, streamKeys[standing === "stream-source" ? 1 : 0], program);
  const sink = (name: FrameName, payload: Buffer) => {
    heardBytes += payload.length + limits.frameHeaderBytes;
    if (isMessageName(name)) decodeMessage(name, payload);
    readFrame(name, payload, files, inbox);
    if (name === "chunk") {
      const chunk = parseChunk(payload, files, { read, room: bodyRoom });
      tagHolds(chunk, chunk.body, tagger);
    }
    taken.set(name, (taken.get(name) ?? 0) + 1);
  };
  const decoder = new FrameDecoder(standing, sink);
  try {
    for (const piece of pieces) decoder.push(piece);
  } catch (thrown) {
    if (!(thrown instanceof MigrateError)) throw thrown;
    expect(allowed).toContain(thrown.code);
    expect(thrown.message.length).toBeLessThan(300);
    expect(thrown.message).toBe(printable(thrown.message));
    return thrown.code;
  }
  const sentBytes = pieces.reduce((sum, { length }) => sum + length, 0);
  expect(decoder.atBoundary).toBe(heardBytes === sentBytes);
  return decoder.atBoundary ? "ok" : "cut";
}

function split(bytes: Buffer, random: SeededRandom): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = random.chance(0.3) ? 1 + random.below(8) : 1 + random.below(bytes.length);
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

/** Numbers at which lengths and places go wrong. */
const edges = [
  0, 1, 2, 7, 8, 31, 32, 33, 255, 256, 4095, 4096, 4097, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0xffff_ffff,
];
const tokens = [
  "null",
  "-1",
  "1e999",
  '"',
  "{",
  "[",
  "true",
  "\\u0000",
  "9223372036854775808",
  '""',
  "{}",
  "[]",
  "\\ud800",
];

function mutate(seed: Buffer, other: Buffer, random: SeededRandom): Buffer {
  let bytes = Buffer.from(seed);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    if (bytes.length === 0) return random.bytes(random.below(16));
    const at = random.chance(0.5) ? random.below(Math.min(bytes.length, 64)) : random.below(bytes.length);
    switch (random.below(8)) {
      case 0:
        bytes[at] = bytes[at]! ^ (1 << random.below(8));
        break;
      case 1:
        bytes[at] = random.below(256);
        break;
      case 2:
        bytes = bytes.subarray(0, at);
        break;
      case 3:
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          random.bytes(1 + random.below(16)),
          bytes.subarray(at),
        ]);
        break;
      case 4:
        if (at + 4 <= bytes.length) bytes.writeUInt32BE(random.pick(edges), at);
        break;
      case 5:
        if (at + 2 <= bytes.length) bytes.writeUInt16BE(random.pick(edges) & 0xffff, at);
        break;
      case 6: {
        // A piece of something else.
        const token = Buffer.from(random.pick(tokens));
        bytes = Buffer.concat([bytes.subarray(0, at), token, bytes.subarray(at + random.below(8))]);
        break;
      }
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(random.below(other.length + 1))]);
    }
  }
  // With its length put right, what is wrong inside is what is looked at.
  if (bytes.length >= limits.frameHeaderBytes && random.chance(0.6)) {
    bytes.writeUInt32BE(bytes.length - limits.frameHeaderBytes, 0);
  }
  const behindHead = bytes.length - limits.frameHeaderBytes - limits.chunkHeaderBytes;
  if (behindHead >= 0 && bytes[4] === frameTypes.chunk && random.chance(0.6)) {
    bytes.writeUInt32BE(behindHead, limits.frameHeaderBytes + 8);
  }
  return bytes;
}

/** What a zstd frame says that it holds (RFC 8878, section 3.1.1.1); infinitely much where it does not say. */
function declaredBytes(frame: Buffer): number {
  const isSingleSegment = (frame[4]! & 0x20) !== 0;
  const at = isSingleSegment ? 5 : 6;
  switch (frame[4]! >> 6) {
    case 0:
      return isSingleSegment ? frame[at]! : Number.POSITIVE_INFINITY;
    case 1:
      return frame.readUInt16LE(at) + 256;
    case 2:
      return frame.readUInt32LE(at);
    default:
      return Number(frame.readBigUInt64LE(at));
  }
}

/** What is given to the decoder of zstd, which sees to its memory itself. */
function decodings(): { largestDeclared: number; decoded: number } {
  const seen = { largestDeclared: 0, decoded: 0 };
  const real = Bun.zstdDecompressSync;
  spyOn(Bun, "zstdDecompressSync").mockImplementation((frame) => {
    seen.largestDeclared = Math.max(seen.largestDeclared, declaredBytes(frame as Buffer));
    const content = real(frame);
    seen.decoded++;
    return content;
  });
  return seen;
}

/** What a VM's files would be read for, and how much lies outside of them. */
function readings(): { read: ReadReceived; copied: number; outside: number } {
  const seen = {
    copied: 0,
    outside: 0,
    read: (file: number, from: number, into: Buffer) => {
      seen.copied++;
      if (!(from >= 0 && from + into.length <= (files[file] ?? -1))) seen.outside++;
      if (into.buffer !== bodyRoom.buffer) seen.outside++;
      return true;
    },
  };
  return seen;
}

function largestPayload(standing: Standing): number {
  const names = Object.keys(frameTypes) as FrameName[];
  return Math.max(...names.map((name) => payloadLimit(name, standing) ?? 0));
}

// [FRAME-2] [FRAME-3] [FRAME-4] [STAND-6] [MSG-3] [CHUNK-1] [INV-1] [ZSTD-2] [STREAM-10] [COPY-1]
test(`${inputs} inputs that nobody honest sends do no harm to the decoder`, () => {
  const random = seeded("the decoder's fuzz");
  const seeds: Seed[] = vectors()
    .filter(({ kind, body }) => kind === "stream" && body.length <= seedBytes)
    .map((vector) => ({ standing: vector.header("standing") as Standing, bytes: vector.body }));
  expect(readdirSync(folder).length).toBeGreaterThan(seeds.length);
  expect(seeds.length).toBeGreaterThan(100);
  // What a guest's bytes come in, and what a store is searched by: where most is to be found out.
  const bulk = seeds.filter(({ standing }) => standing.startsWith("lane-") || standing.startsWith("stream-"));
  const came = new Map<string, number>();
  const taken = new Map<FrameName, number>();
  const asked = allocations();
  const decoding = decodings();
  const reading = readings();
  const startMs = performance.now();
  for (let i = 0; i < inputs; i++) {
    const seed = random.pick(random.chance(0.5) ? bulk : seeds);
    const standing = random.chance(0.9) ? seed.standing : random.pick(standings);
    const bytes = random.chance(0.85)
      ? mutate(seed.bytes, random.pick(seeds).bytes, random)
      : random.bytes(random.below(64));
    const pieces = split(bytes, random);
    asked.begin();
    const outcome = feed(standing, pieces, taken, reading.read);
    came.set(outcome, (came.get(outcome) ?? 0) + 1);
    // The room for a frame is asked for whole, and never beyond what the peer may send.
    expect(asked.largest()).toBeLessThanOrEqual(largestPayload(standing));
    if (decoding.largestDeclared === 0) continue;
    const mostBytes = standing.startsWith("stream-") ? limits.dataBytes : chunkBodyBytes;
    expect(decoding.largestDeclared).toBeLessThanOrEqual(mostBytes);
    decoding.largestDeclared = 0;
  }
  console.log(`${inputs} inputs in ${Math.round(performance.now() - startMs)} ms:`, Object.fromEntries(came));
  // An input that never gets past the header proves little: every outcome must have come.
  for (const outcome of ["ok", "cut", ...allowed]) expect(came.get(outcome) ?? 0).toBeGreaterThan(10);
  for (const name of ["chunk", "ack", "describe", "want"] as const) {
    expect(taken.get(name) ?? 0).toBeGreaterThan(100);
  }
  for (const name of ["data", "dataZstd"] as const) expect(taken.get(name) ?? 0).toBeGreaterThan(50);
  expect(decoding.decoded).toBeGreaterThan(1000);
  expect(reading.copied).toBeGreaterThan(1000);
  expect(reading.outside).toBe(0);
}, 60_000);
