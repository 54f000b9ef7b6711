/**
 * Frames: the outermost layer of the wire format (SPEC.md, Frames). Pure: bytes in, frames out.
 *
 *   u32 payload length (big endian) | u8 type | payload
 */
import { MigrateError } from "./errors.ts";
import { chunkBodyBytes, limits } from "./limits.ts";

/** Frame types by name. The numbers are the wire's and never change their meaning. */
export const frameTypes = {
  hello: 1,
  welcome: 2,
  error: 3,
  pair: 4,
  paired: 5,
  offer: 6,
  accept: 7,
  inventory: 8,
  inventoryEnd: 9,
  seal: 10,
  ready: 11,
  release: 12,
  owned: 13,
  publish: 14,
  published: 15,
  confirm: 16,
  closed: 17,
  cancel: 18,
  cancelled: 19,
  query: 20,
  state: 21,
  list: 22,
  sessions: 23,
  ping: 24,
  pong: 25,
  profile: 26,
  profiling: 27,
  run: 28,
  runReady: 29,
  runEnd: 30,
  runDone: 31,
  chunk: 32,
  ack: 33,
  start: 34,
  started: 35,
  data: 36,
  dataAck: 37,
  dataEnd: 38,
  describe: 39,
  want: 40,
  dataZstd: 41,
  ask: 42,
  answer: 43,
  challenge: 44,
  evidence: 45,
  log: 46,
  attest: 47,
  verdict: 48,
  enrol: 49,
  enrolled: 50,
  activate: 51,
  activated: 52,
  fetch: 53,
} as const;

export type FrameName = keyof typeof frameTypes;

const namesByType = new Map<number, FrameName>(
  Object.entries(frameTypes).map(([name, type]) => [type, name as FrameName]),
);

/** The name of a frame type, or undefined if there is none. */
export function frameName(type: number): FrameName | undefined {
  return namesByType.get(type);
}

/** Who the peer is to us so far; decides how long a frame may be and which types may come. */
export type Standing =
  | "stranger"
  | "control"
  | "lane-source"
  | "lane-destination"
  | "stream-source"
  | "stream-destination";

const strangerTypes: ReadonlySet<FrameName> = new Set([
  "hello",
  "welcome",
  "error",
  "pair",
  "paired",
  "ping",
  "pong",
]);
const laneDestinationTypes: ReadonlySet<FrameName> = new Set(["chunk", "describe", "error", "ping", "pong"]);
const laneSourceTypes: ReadonlySet<FrameName> = new Set(["ack", "want", "error", "ping", "pong", "welcome"]);
const streamTypes = ["data", "dataAck", "dataEnd", "error", "ping", "pong"] as const;
const streamDestinationTypes: ReadonlySet<FrameName> = new Set([...streamTypes, "dataZstd"]);
const streamSourceTypes: ReadonlySet<FrameName> = new Set([...streamTypes, "welcome"]);
const bulkTypes: ReadonlySet<FrameName> = new Set([
  "chunk",
  "ack",
  "describe",
  "want",
  "data",
  "dataAck",
  "dataEnd",
  "dataZstd",
]);

/**
 * Largest payload in bytes that a frame of this type may have from a peer of this standing, or null
 * if such a frame may not come at all.
 */
export function payloadLimit(name: FrameName, standing: Standing): number | null {
  switch (standing) {
    case "stranger":
      return strangerTypes.has(name) ? limits.strangerPayloadBytes : null;
    case "control":
      if (bulkTypes.has(name)) return null;
      return name === "inventory" ? 8 + limits.inventoryTags * limits.tagBytes : limits.controlPayloadBytes;
    case "lane-destination":
      if (!laneDestinationTypes.has(name)) return null;
      return name === "chunk" ? limits.chunkHeaderBytes + chunkBodyBytes : limits.strangerPayloadBytes;
    case "lane-source":
      if (!laneSourceTypes.has(name)) return null;
      return name === "ack" ? limits.ackChunks * 8 : limits.strangerPayloadBytes;
    case "stream-destination":
      return streamDestinationTypes.has(name) ? streamLimit(name) : null;
    case "stream-source":
      return streamSourceTypes.has(name) ? streamLimit(name) : null;
  }
}

function streamLimit(name: FrameName): number {
  const isData = name === "data" || name === "dataZstd";
  return isData ? limits.dataHeaderBytes + limits.dataBytes : limits.strangerPayloadBytes;
}

/** A whole frame of `type` around `payload`. */
export function encodeFrame(type: number, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(limits.frameHeaderBytes + payload.byteLength);
  writeFrameHeader(frame, type, payload.byteLength);
  frame.set(payload, limits.frameHeaderBytes);
  return frame;
}

/** Writes the header of a frame whose payload of `payloadBytes` bytes follows it in `frame`. */
export function writeFrameHeader(frame: Buffer, type: number, payloadBytes: number): void {
  frame.writeUInt32BE(payloadBytes, 0);
  frame.writeUInt8(type, 4);
}

/**
 * How TLS records begin (RFC 8446 section 5.1: handshake or alert, then 3 and 0 to 4). As a length it is
 * beyond every limit, so a more helpful error can be thrown.
 */
const tlsRecordStarts: ReadonlySet<number> = new Set([0x1603, 0x1503]);

/** Takes a frame; the payload is valid only during the call. */
export type FrameSink = (name: FrameName, payload: Buffer) => void;

/**
 * Cuts a stream of bytes into frames. Nothing is allocated for a frame before its type and length
 * have been found to be allowed for the peer's standing; the room for a frame that spans several
 * reads is kept and used again.
 */
export class FrameDecoder {
  standing: Standing;
  readonly #sink: FrameSink;
  readonly #header = Buffer.alloc(limits.frameHeaderBytes);
  #headerFilled = 0;
  #name: FrameName = "error";
  #payloadBytes = 0;
  #room = Buffer.alloc(0);
  #filled = 0;

  constructor(standing: Standing, sink: FrameSink) {
    this.standing = standing;
    this.#sink = sink;
  }

  /** True between two frames: an end of the stream here has cut nothing. */
  get atBoundary(): boolean {
    return this.#headerFilled === 0;
  }

  /**
   * Takes the next bytes of the stream and hands every frame that they complete to the sink.
   * Throws MigrateError "protocol" at a frame that is unknown, too long or not for this peer; the
   * stream cannot be read on after that.
   */
  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#headerFilled < limits.frameHeaderBytes) {
        const taken = Math.min(limits.frameHeaderBytes - this.#headerFilled, bytes.length - at);
        bytes.copy(this.#header, this.#headerFilled, at, at + taken);
        this.#headerFilled += taken;
        at += taken;
        if (this.#headerFilled < limits.frameHeaderBytes) return;
        this.#begin();
        if (this.#payloadBytes === 0) {
          this.#headerFilled = 0;
          this.#sink(this.#name, Buffer.alloc(0));
          continue;
        }
      }
      if (at === bytes.length) return;
      const missing = this.#payloadBytes - this.#filled;
      if (this.#filled === 0 && bytes.length - at >= missing) {
        // The whole payload lies in this read: hand it on where it is.
        const payload = bytes.subarray(at, at + missing);
        at += missing;
        this.#headerFilled = 0;
        this.#sink(this.#name, payload);
        continue;
      }
      const taken = Math.min(missing, bytes.length - at);
      if (this.#room.length < this.#payloadBytes) this.#room = Buffer.allocUnsafeSlow(this.#payloadBytes);
      bytes.copy(this.#room, this.#filled, at, at + taken);
      this.#filled += taken;
      at += taken;
      if (this.#filled === this.#payloadBytes) {
        this.#filled = 0;
        this.#headerFilled = 0;
        this.#sink(this.#name, this.#room.subarray(0, this.#payloadBytes));
      }
    }
  }

  #begin(): void {
    const type = this.#header.readUInt8(4);
    const length = this.#header.readUInt32BE(0);
    if (tlsRecordStarts.has(length >>> 16)) {
      throw new MigrateError("insecure-mismatch", "the other side speaks TLS, and this side does not", {
        hint: "a host that serves with --insecure is reached with --insecure only, and the other way round",
      });
    }
    const name = frameName(type);
    if (name === undefined) throw new MigrateError("protocol", `unknown frame type ${type}`);
    const most = payloadLimit(name, this.standing);
    if (most === null) throw new MigrateError("protocol", `a ${name} frame is not expected here`);
    if (length > most) {
      throw new MigrateError("protocol", `a ${name} frame of ${length} bytes exceeds the limit of ${most}`);
    }
    this.#name = name;
    this.#payloadBytes = length;
    this.#filled = 0;
  }
}
