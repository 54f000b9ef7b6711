/**
 * The vectors were computed with another implementation of AES-GCM, SHA-256, HMAC and HKDF than the
 * program uses, and with zstd frames put together by hand or by the zstd command; a second
 * implementation of the protocol can be held against the same files.
 *
 * [FRAME-1] [FRAME-2] [FRAME-3] [FRAME-4] [FRAME-5] [STAND-2] [STAND-3] [STAND-4] [STAND-6] [MSG-1] [MSG-2] [MSG-3]
 * [MSG-4] [MSG-5] [CHUNK-1] [CHUNK-2] [CHUNK-3] [CHUNK-4] [CHUNK-8] [ZSTD-1] [ZSTD-2] [ACK-1] [INV-1] [FIND-1] [FIND-2] [TAG-1]
 * [TAG-2] [DIGEST-1] [DIGEST-2] [DIGEST-6] [PAIR-1] [VER-1] [LIMIT-2] [LIMIT-3] [STREAM-2] [STREAM-5] [STREAM-6]
 * [STREAM-9] [STREAM-10] [COPY-1] [COPY-2] [ATT-2] [RCPT-1]
 */
import { describe, expect, test } from "bun:test";
import { type Binding, enrolBinding, quoteBinding } from "../../src/attestation/evidence/binding.ts";
import { checkProof } from "../../src/channel/ticket.ts";
import { requireSigned } from "../../src/migration/receipts/signature.ts";
import { MigrateError } from "../../src/protocol/errors.ts";
import { FrameDecoder, type FrameName, type Standing } from "../../src/protocol/frames.ts";
import { chunkBodyBytes, limits } from "../../src/protocol/limits.ts";
import { decodeMessage, isMessageName } from "../../src/protocol/messages.ts";
import type { ReceiptKind } from "../../src/protocol/receipt.ts";
import { parseChunk, tagHolds } from "../../src/transfer/chunks/chunk.ts";
import type { ReadReceived } from "../../src/transfer/chunks/shortened-body.ts";
import { TagTable, vmDigest } from "../../src/transfer/chunks/tag-table.ts";
import { Tagger } from "../../src/transfer/chunks/tagger.ts";
import { BlockHasher } from "../../src/transfer/reuse/store/block-hash.ts";
import { streamKey } from "../../src/transfer/streams/stream-frame.ts";
import { StreamInbox } from "../../src/transfer/streams/stream-inbox.ts";
import { readFrame } from "./read-frame.ts";
import { kinds, type Outcome, outcomes, parseVector, type Vector, vectors } from "./vector.ts";

/** Longer streams are split at the places that matter alone. */
const splitEverywhereBytes = 4096;

const all = vectors();
/** Of no meaning between two chunks. */
const bodyRoom = Buffer.alloc(chunkBodyBytes, 0xee);

interface Heard {
  outcome: string;
  frames: string;
}

/** What comes of a stream that arrives in these pieces. */
function hear(vector: Vector, pieces: Iterable<Buffer>): Heard {
  const files = (vector.optional("files") ?? "").split(" ").filter(Boolean).map(Number);
  const tagger = new Tagger(Buffer.from(vector.optional("key") ?? "00".repeat(16), "hex"));
  const inbox = inboxOf(vector);
  const received = { read: readerOf(vector, files), room: bodyRoom };
  let isWanted = false;
  const frames: FrameName[] = [];
  const take = (name: FrameName, payload: Buffer) => {
    if (isMessageName(name)) decodeMessage(name, payload);
    // What a message is, is known once it has been read; of the others the layout is looked at here.
    frames.push(name);
    readFrame(name, payload, files, inbox);
    if (name !== "chunk") return;
    const chunk = parseChunk(payload, files, received);
    // The tag of a chunk that leaves blocks out is that of more than came: here its layout is judged alone.
    if (chunk.leftOut !== 0 || tagHolds(chunk, chunk.body, tagger)) return;
    if (chunk.repeats === 0) throw new MigrateError("integrity", "the tag is wrong");
    isWanted = true;
  };
  const decoder = new FrameDecoder(vector.header("standing") as Standing, take);
  const heard = (outcome: string) => ({ outcome, frames: frames.join(" ") });
  try {
    for (const piece of pieces) decoder.push(piece);
  } catch (thrown) {
    return heard(thrown instanceof MigrateError ? thrown.code : String(thrown));
  }
  return heard(!decoder.atBoundary ? "cut" : isWanted ? "wanted" : "ok");
}

/** Reads what was received, and nothing beside it: a place that no file has is never asked for. */
function readerOf({ received }: Vector, files: readonly number[]): ReadReceived {
  return (file, from, into) => {
    expect(from + into.length).toBeLessThanOrEqual(files[file]!);
    into.fill(0);
    for (const piece of received) {
      const at = piece.from - from;
      if (piece.file !== file || at >= into.length || at + piece.bytes.length <= 0) continue;
      piece.bytes.copy(into, Math.max(0, at), Math.max(0, -at));
    }
    return true;
  };
}

/** Takes what comes on a stream as a program would that is always ready. */
function inboxOf(vector: Vector): StreamInbox {
  const stream = Number(vector.optional("stream") ?? 0);
  const key = Buffer.from(vector.optional("key") ?? "00".repeat(16), "hex");
  const sender = vector.header("standing") === "stream-source" ? "destination" : "source";
  const instance = vector.optional("instance") ?? "00".repeat(16);
  const program = { write: ({ length }: Buffer) => length, shutdown: () => {} };
  return new StreamInbox(stream, streamKey(key, instance, sender), program);
}

/** Every single byte as a buffer of its own, so that nothing can be kept of it. */
function* bytes(body: Buffer): Generator<Buffer> {
  for (const byte of body) yield Buffer.of(byte);
}

function splits(length: number): number[] {
  if (length <= splitEverywhereBytes) return Array.from({ length }, (_, at) => at);
  const near = Array.from({ length: 64 }, (_, at) => at);
  return [...near, ...near.map((at) => length - 1 - at), 4096, 65_536, length >> 1].filter(
    (at) => at < length,
  );
}

function outcomeOf(vector: Vector): string {
  switch (vector.kind) {
    case "stream":
      return hear(vector, [vector.body]).outcome;
    case "tag": {
      const [file = 0, chunk = 0] = vector.header("place").split(" ").map(Number);
      const tag = new Tagger(Buffer.from(vector.header("key"), "hex")).tag(file, chunk, vector.body);
      return tag.toString("hex") === vector.header("tag") ? "ok" : "integrity";
    }
    case "fingerprint": {
      const hashes = new BlockHasher(Buffer.from(vector.header("key"), "hex")).hashes(vector.body);
      return hashes.toString("hex") === vector.header("print") ? "ok" : "integrity";
    }
    case "digest":
      return digestOutcome(vector);
    case "receipt":
      return receiptOutcome(vector);
    case "proof": {
      const context = {
        ticketId: Buffer.from(vector.header("ticket"), "hex"),
        exporter: Buffer.from(vector.header("exporter"), "hex"),
        sourceFingerprint: vector.header("source"),
        destinationFingerprint: vector.header("destination"),
      };
      return checkProof(Buffer.from(vector.header("secret"), "hex"), context, vector.body)
        ? "ok"
        : "ticket-invalid";
    }
    case "binding":
      return bindingOf(vector).equals(vector.body) ? "ok" : "integrity";
  }
}

function bindingOf(vector: Vector): Buffer {
  const session = vector.header("session");
  const binding: Binding = {
    role: vector.header("role") as Binding["role"],
    exporter: Buffer.from(vector.header("exporter"), "hex"),
    prover: vector.header("prover"),
    verifier: vector.header("verifier"),
    session: session === "-" ? "" : session,
    attempt: Number(vector.header("attempt")),
  };
  const [nonce, digest] = [vector.header("nonce"), vector.header("digest")];
  return vector.header("label") === "migrate attest v1"
    ? quoteBinding(binding, nonce, digest)
    : enrolBinding(binding, nonce);
}

function receiptOutcome({ header, optional, body }: Vector): string {
  try {
    requireSigned({
      kind: header("word") as ReceiptKind,
      session: header("session"),
      mode: header("mode") as "move",
      digest: header("digest"),
      signer: header("signer"),
      other: header("other"),
      generation: Number(header("generation")),
      seen: Number(header("seen")),
      verdict: optional("verdict"),
      certificate: Buffer.from(header("certificate"), "hex").toString("base64"),
      signature: body.toString("hex"),
    });
    return "ok";
  } catch (thrown) {
    return thrown instanceof MigrateError ? thrown.code : String(thrown);
  }
}

function digestOutcome(vector: Vector): string {
  let at = 0;
  const files = vector
    .header("files")
    .split(", ")
    .map((file) => {
      const [kind = "", name = "", size] = file.split(" ");
      const table = new TagTable(Number(size));
      for (let chunk = 0; chunk < table.chunks; chunk++, at += limits.tagBytes) {
        table.set(chunk, vector.body.subarray(at, at + limits.tagBytes));
      }
      return { kind, name, digest: table.digest() };
    });
  expect(at).toBe(vector.body.length);
  expect(files.map(({ digest }) => digest).join(" ")).toBe(vector.header("digests"));
  const streams = (vector.optional("streams") ?? "")
    .split(", ")
    .filter(Boolean)
    .map((stream) => {
      const [name = "", digest = ""] = stream.split(" ");
      return { kind: "stream", name, digest };
    });
  const [vm, ek] = (vector.optional("bound") ?? "").split(" ");
  const bound = vm ? { vm, ek } : undefined;
  return vmDigest(vector.header("vm"), [...files, ...streams], bound) === vector.header("digest")
    ? "ok"
    : "integrity";
}

describe("the vectors of the protocol", () => {
  test("are of every kind and every outcome, and of no other", () => {
    expect(new Set(all.map(({ expect }) => expect))).toEqual(new Set<Outcome>(outcomes));
    expect(new Set(all.map(({ kind }) => kind))).toEqual(new Set(kinds));
    expect(all.length).toBeGreaterThanOrEqual(565);
  });

  for (const vector of all) {
    test(`${vector.header("name")}: ${vector.header("comment")}`, () => {
      expect(outcomeOf(vector)).toBe(vector.expect);
      if (vector.kind !== "stream") return;
      const { body } = vector;
      const whole = hear(vector, [body]);
      expect(whole).toEqual({ outcome: vector.expect, frames: vector.header("frames") });
      expect(hear(vector, bytes(body))).toEqual(whole);
      for (const at of splits(body.length)) {
        expect(hear(vector, [body.subarray(0, at), body.subarray(at)])).toEqual(whole);
      }
    });
  }
});

describe("a file that is no vector", () => {
  const good = "name: x\nkind: stream\ncomment: c\nstanding: control\nframes: \nexpect: ok\n\n00";
  for (const [what, text] of [
    ["an unknown header", good.replace("comment:", "remark:")],
    ["an unknown outcome", good.replace("ok", "fine")],
    ["an unknown kind", good.replace("stream", "river")],
    ["a body that is no hex", `${good}0`],
    ["what was received at no place", good.replace("frames:", "received: 00*8\nframes:")],
    ["another name than its file", good.replace("name: x", "name: y")],
  ] as const) {
    test(`is refused: ${what}`, () => {
      expect(() => parseVector("x.txt", good)).not.toThrow();
      expect(() => parseVector("x.txt", text)).toThrow("x.txt");
    });
  }
});
