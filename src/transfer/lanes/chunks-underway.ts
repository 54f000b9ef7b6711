/** The chunks of one lane that the destination has not acknowledged, and which answers about them are possible (SPEC.md). */
import { MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import type { Place } from "../chunks/ack.ts";
import type { Want } from "../reuse/store/describe.ts";

/** What became of a chunk so far: described, answered by WANT, or sent. */
type State = "described" | "wanted" | "sent";

export interface ChunkUnderway {
  file: number;
  chunk: number;
  tag: Buffer;
  /** Bytes of data in it. */
  dataBytes: number;
  /** Number of its blocks. */
  blocks: number;
  state: State;
  /** Blocks that the destination has, by its WANT: bit 0 is the first one. */
  found: number;
  /** Length of its CHUNK frame, once it was sent. */
  wireBytes: number;
  /** When it was sent last, in milliseconds on the monotonic clock. */
  sentAtMs: number;
  /** Bytes of its data that were not sent, since they repeat something before it. */
  repeatedBytes: number;
  /** It was sent, and could not be put together there: now it must come as it is. */
  isAgain: boolean;
}

/** A chunk that is neither described nor sent yet; its data is `dataBytes` of the `bytes` that it is long. */
export function newChunk(place: Place, tag: Buffer, bytes: number, dataBytes: number): ChunkUnderway {
  const blocks = Math.ceil(bytes / limits.blockBytes);
  return {
    ...place,
    tag,
    dataBytes,
    blocks,
    state: "sent",
    found: 0,
    wireBytes: 0,
    sentAtMs: 0,
    repeatedBytes: 0,
    isAgain: false,
  };
}

const keyOf = ({ file, chunk }: Place) => `${file}:${chunk}`;

export class ChunksUnderway {
  readonly #chunks = new Map<string, ChunkUnderway>();
  #sent = 0;

  get size(): number {
    return this.#chunks.size;
  }

  /** How many of them are on the link, or behind it: the others wait for a look into the store. */
  get sent(): number {
    return this.#sent;
  }

  /** When the first of those was sent, in milliseconds on the monotonic clock; undefined if there is none. */
  get oldestSentAtMs(): number | undefined {
    const sent = [...this.#chunks.values()].filter(({ state }) => state === "sent");
    return sent.length === 0 ? undefined : Math.min(...sent.map(({ sentAtMs }) => sentAtMs));
  }

  /** A chunk that was described now. */
  describe(chunk: ChunkUnderway): void {
    chunk.state = "described";
    this.#chunks.set(keyOf(chunk), chunk);
  }

  /** A chunk that is sent now, be it wanted or a new one. */
  send(chunk: ChunkUnderway): void {
    chunk.state = "sent";
    chunk.sentAtMs = performance.now();
    this.#sent++;
    this.#chunks.set(keyOf(chunk), chunk);
  }

  /** The destination has confirmed a chunk. Throws MigrateError "protocol" for one that was not sent. */
  acknowledge(place: Place): ChunkUnderway {
    const chunk = this.#chunks.get(keyOf(place));
    if (chunk === undefined || chunk.state === "wanted") {
      throw new MigrateError("protocol", "a chunk was acknowledged that was not sent");
    }
    this.#chunks.delete(keyOf(place));
    if (chunk.state === "sent") this.#sent--;
    return chunk;
  }

  /**
   * The destination wants what it did not find of a chunk. Throws MigrateError "protocol" if the chunk
   * neither was described nor came in parts, is wanted already, or does not have the blocks.
   */
  want(want: Want): ChunkUnderway {
    const chunk = this.#chunks.get(keyOf(want));
    // What was there when the chunk was described, or sent, may be gone when it comes: then all of it is wanted.
    const isInParts = chunk !== undefined && (chunk.found !== 0 || chunk.repeatedBytes > 0);
    const isAgain = isInParts && chunk.state === "sent" && want.found === 0;
    if (chunk === undefined || (chunk.state !== "described" && !isAgain)) {
      throw new MigrateError("protocol", "a chunk was wanted that was not described");
    }
    if (want.found >>> chunk.blocks !== 0) {
      throw new MigrateError("protocol", "blocks were found that the chunk does not have");
    }
    if (isAgain) this.#sent--;
    chunk.state = "wanted";
    chunk.found = want.found;
    chunk.isAgain = isAgain;
    return chunk;
  }
}

/** Bytes of a chunk's data that the destination did not need. */
export function foundBytes({ state, dataBytes, found }: ChunkUnderway): number {
  if (state === "described") return dataBytes;
  let blocks = 0;
  for (let rest = found; rest !== 0; rest &= rest - 1) blocks++;
  return Math.min(dataBytes, blocks * limits.blockBytes);
}
