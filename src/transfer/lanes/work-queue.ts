/**
 * The work of all lanes, in memory that they share: the main thread lays chunks out, and each lane takes
 * the next one when it has time for it. So a slow lane keeps no more than what it has sent, and nobody
 * waits for it.
 *
 *   i32 laid out | i32 taken | then a ring of entries: u32 file | u32 chunk | 16 bytes tag
 *
 * The two counts only grow; a VM has fewer chunks than an i32 can count (limits.vmBytes).
 */
import { limits } from "../../protocol/limits.ts";

const { tagBytes } = limits;
/** Entries there is room for: what lanes take while the main thread is busy. */
const capacity = 1024;
const headBytes = 8;
const entryBytes = 8 + tagBytes;
const laidOut = 0;
const taken = 1;

export interface QueuedChunk {
  file: number;
  chunk: number;
  /** The tag of what the destination has there. */
  have: Buffer;
}

export class WorkQueue {
  readonly memory: SharedArrayBuffer;
  readonly #counts: Int32Array;
  readonly #entries: Buffer;

  /** Takes the memory of a queue that another thread made; makes a new one without. */
  constructor(memory = new SharedArrayBuffer(headBytes + capacity * entryBytes)) {
    this.memory = memory;
    this.#counts = new Int32Array(memory, 0, 2);
    this.#entries = Buffer.from(memory, headBytes);
  }

  /** Entries that nobody has taken yet. */
  get size(): number {
    return Atomics.load(this.#counts, laidOut) - Atomics.load(this.#counts, taken);
  }

  /** Entries that may be added now. */
  get room(): number {
    return capacity - this.size;
  }

  /** Lays a chunk out; for the one thread that made the queue, and if there is `room`. */
  add(file: number, chunk: number, have: Uint8Array): void {
    if (this.room <= 0) throw new RangeError("the queue is full");
    const at = (Atomics.load(this.#counts, laidOut) % capacity) * entryBytes;
    this.#entries.writeUInt32LE(file, at);
    this.#entries.writeUInt32LE(chunk, at + 4);
    this.#entries.set(have, at + 8);
    Atomics.add(this.#counts, laidOut, 1);
  }

  /** Takes the next chunk; null if there is none at the moment. For any thread. */
  take(): QueuedChunk | null {
    for (;;) {
      const turn = Atomics.load(this.#counts, taken);
      if (turn === Atomics.load(this.#counts, laidOut)) return null;
      const at = (turn % capacity) * entryBytes;
      const file = this.#entries.readUInt32LE(at);
      const chunk = this.#entries.readUInt32LE(at + 4);
      const have = Buffer.from(this.#entries.subarray(at + 8, at + entryBytes));
      // What was read is this entry's only if nobody took it meanwhile: no entry is laid over before that.
      if (Atomics.compareExchange(this.#counts, taken, turn, turn + 1) === turn) return { file, chunk, have };
    }
  }
}
