/**
 * What QEMU sends: one JSON object a line (QEMU docs/interop/qmp-spec). Lines are cut from the stream
 * without ever holding more than a limit, and read as one of the few messages that there are.
 */
import * as v from "valibot";

/** Longest line in bytes; query-qmp-schema, the longest that QEMU 7.2 has, is a fifth of a MiB. */
export const qmpLineBytes = 16 * 1024 * 1024;

const newline = 0x0a;
/** A buffer that has grown beyond this is given back once its line is complete. */
const keptBytes = 64 * 1024;

/** Cuts a stream of bytes into lines. */
export class LineCutter {
  readonly #limitBytes: number;
  /** The beginning of a line whose end has not come. One buffer: many small pieces must not cost more. */
  #held: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #heldBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Bytes of a line whose end has not come. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Takes the next piece of the stream and returns its whole lines, without their ends, one by one; they
   * are to be read before the next piece is taken. Throws a RangeError, before anything is stored, if
   * a line is longer than the limit.
   */
  *take(piece: Uint8Array): Generator<Uint8Array> {
    let at = 0;
    for (let end = piece.indexOf(newline); end >= 0; end = piece.indexOf(newline, at)) {
      const part = piece.subarray(at, end);
      at = end + 1;
      if (this.#heldBytes === 0) {
        this.#checkRoom(part.length);
        yield part;
        continue;
      }
      this.#hold(part);
      const line = this.#held.subarray(0, this.#heldBytes);
      this.#heldBytes = 0;
      if (this.#held.length > keptBytes) this.#held = new Uint8Array(0);
      yield line;
    }
    if (at < piece.length) this.#hold(piece.subarray(at));
  }

  #checkRoom(bytes: number): void {
    if (this.#heldBytes + bytes > this.#limitBytes)
      throw new RangeError(`a line is longer than ${this.#limitBytes} bytes`);
  }

  #hold(part: Uint8Array): void {
    this.#checkRoom(part.length);
    const needed = this.#heldBytes + part.length;
    if (needed > this.#held.length) {
      const larger = new Uint8Array(Math.min(this.#limitBytes, Math.max(needed, 2 * this.#held.length)));
      larger.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = larger;
    }
    this.#held.set(part, this.#heldBytes);
    this.#heldBytes = needed;
  }
}

export interface QmpVersion {
  major: number;
  minor: number;
  micro: number;
}

export interface QmpEvent {
  event: string;
  data: Record<string, unknown>;
  /** QEMU's wall clock in milliseconds since 1970, with its microseconds behind the point. */
  atMs: number;
}

export type QmpMessage =
  | { kind: "greeting"; version: QmpVersion }
  | { kind: "event"; event: QmpEvent }
  | { kind: "answer"; id: number; value: unknown }
  | { kind: "refusal"; id: number; errorClass: string; description: string };

const count = v.pipe(v.number(), v.safeInteger());

const greeting = v.object({
  QMP: v.object({
    version: v.object({ qemu: v.object({ major: count, minor: count, micro: count }) }),
    capabilities: v.array(v.unknown()),
  }),
});

const event = v.object({
  event: v.string(),
  data: v.optional(v.record(v.string(), v.unknown()), {}),
  timestamp: v.object({ seconds: count, microseconds: count }),
});

/** `id` is always ours: QEMU leaves it out only if it could not read what we sent. */
const answer = v.object({ id: count, return: v.unknown() });
const refusal = v.object({ id: count, error: v.object({ class: v.string(), desc: v.string() }) });

/** UTF-8 or nothing: a character that is replaced in silence could be part of a path. */
const text = new TextDecoder("utf-8", { fatal: true });

/** Reads one line. Throws an Error that says what is wrong with it. */
export function parseQmpLine(line: Uint8Array): QmpMessage {
  const value: unknown = JSON.parse(text.decode(line));
  if (typeof value !== "object" || value === null) throw new TypeError("a line is no JSON object");
  if ("QMP" in value) {
    const { QMP } = v.parse(greeting, value);
    return { kind: "greeting", version: QMP.version.qemu };
  }
  if ("event" in value) {
    const { event: name, data, timestamp } = v.parse(event, value);
    const atMs = timestamp.seconds * 1000 + timestamp.microseconds / 1000;
    return { kind: "event", event: { event: name, data, atMs } };
  }
  if ("error" in value) {
    const { id, error } = v.parse(refusal, value);
    return { kind: "refusal", id, errorClass: error.class, description: error.desc };
  }
  const { id, return: result } = v.parse(answer, value);
  return { kind: "answer", id, value: result };
}
