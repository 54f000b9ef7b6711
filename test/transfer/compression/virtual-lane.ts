/**
 * A lane in virtual time: its thread, a window of 16 chunks, a link and a busy destination, with
 * nothing in it that reads a clock. What a strategy takes is exact, so tests may compare it closely.
 */

import { ChunkCompressor, type Engine } from "../../../src/transfer/compression/chunk-compressor.ts";
import type { Compression } from "../../../src/transfer/compression/compression.ts";

const mebibyte = 1024 * 1024;
const windowChunks = 16;
/** Milliseconds for decompressing 1 MiB. */
const unpackMs = { random: 0.3, friendly: 0.2, text: 0.69, modules: 0.69, ram: 0.69 } as const;
/** What the socket and the kernel hold of what was written. */
const socketBytes = mebibyte;

/** Part that is left and milliseconds for 1 MiB, for each level that is tried. */
type Costs = Readonly<Record<number, readonly [part: number, ms: number]>>;

/** The levels that are tried. */
const levels = [1, 3, 6, 9, 13, 16, 18, 19];

/** Takes part and milliseconds for each level in turn. */
function costs(text: string): Costs {
  const pairs = text.split("  ").map((pair) => pair.split(" ").map(Number) as [part: number, ms: number]);
  return Object.fromEntries(levels.map((level, n) => [level, pairs[n]!]));
}

/** Measured with zstd 1.5 on pieces of 1 MiB; "friendly" is text that repeats itself. */
export const data = {
  random: costs("1 0.5  1 0.4  1 0.6  1 0.8  1 3.4  1 65  1 66  1 67"),
  friendly: costs(
    "0.002 0.11  0.0015 0.13  0.0014 0.3  0.0014 0.5  0.0013 3  0.0012 8  0.0012 12  0.0012 14",
  ),
  text: costs("0.165 1.9  0.15 2.5  0.133 6.9  0.13 10.3  0.128 48  0.122 91  0.12 146  0.119 189"),
  modules: costs("0.31 2.5  0.3 3.6  0.28 9.1  0.277 20.8  0.27 47  0.26 140  0.25 208  0.249 248"),
  ram: costs("0.464 1.3  0.451 2.7  0.446 5.5  0.445 7.5  0.444 33  0.442 77  0.375 159  0.374 183"),
} as const satisfies Record<string, Costs>;

export type Kind = keyof typeof data;
const kinds = Object.keys(data) as Kind[];
const scratch = Buffer.alloc(mebibyte + 1);
const bodies = new Map(kinds.map((kind, i) => [kind, Buffer.alloc(mebibyte, i)]));

export interface VirtualMove {
  chunks: number;
  /** What chunk `i` consists of. */
  kind(i: number): Kind;
  /** The link's rate while chunk `i` passes. */
  mbitPerSec(i: number): number;
  rttMs: number;
  /** What the destination takes for a chunk; without it 0.7 ms, more where it has to decompress. */
  destinationMs?(compressed: boolean): number;
  idleShare?: number;
}

export interface VirtualResult {
  ms: number;
  wireBytes: number;
  /** How many chunks went out at each level; 0 is as they are. */
  levels: Map<number, number>;
}

/** Moves everything by this strategy; when all is acknowledged is what it took. */
export function move(setting: Compression, plan: VirtualMove): VirtualResult {
  let nowMs = 0;
  let used = 0;
  const engine: Engine = (body, level) => {
    const costs: Costs = data[kinds[body[0]!]!];
    const [part, ms] = costs[level]!;
    nowMs += (ms * body.length) / mebibyte;
    if (body.length === mebibyte) used = level;
    return scratch.subarray(0, Math.ceil(part * body.length));
  };
  const compressor = new ChunkCompressor(setting, {
    nowMs: () => nowMs,
    engine,
    idleShare: () => plan.idleShare ?? 1,
  });
  const result: VirtualResult = { ms: 0, wireBytes: 0, levels: new Map() };
  const underWay: { ackMs: number; bytes: number }[] = [];
  const takenMs: number[] = [];
  let linkFreeMs = 0;
  let destinationFreeMs = 0;

  // A lane hears of acknowledgements while it waits, and otherwise not before it has to.
  const hear = () => {
    while (underWay[0] && underWay[0].ackMs <= nowMs) compressor.acknowledged(underWay.shift()!.bytes);
  };
  const waitUntil = (ms: number) => {
    const fromMs = nowMs;
    for (const next of [...underWay]) {
      if (next.ackMs > ms) break;
      nowMs = Math.max(nowMs, next.ackMs);
      hear();
    }
    nowMs = Math.max(nowMs, ms);
    compressor.waited(nowMs - fromMs);
  };

  for (let i = 0; i < plan.chunks; i++) {
    if (underWay.length >= windowChunks) waitUntil(underWay[0]!.ackMs);
    // Two buffers: one is filled while the socket takes the other.
    if ((takenMs[i - 2] ?? 0) > nowMs) waitUntil(takenMs[i - 2]!);
    nowMs += 0.3;
    used = 0;
    const body = bodies.get(plan.kind(i))!;
    const frame = compressor.compress(body);
    const compressed = frame !== null;
    const bytes = (frame ?? body).length + 37;
    if (!compressed) used = 0;
    result.levels.set(used, (result.levels.get(used) ?? 0) + 1);
    result.wireBytes += bytes;
    nowMs += (0.5 * bytes) / mebibyte;
    const bytesPerMs = (plan.mbitPerSec(i) * 1e6) / 8 / 1000;
    linkFreeMs = Math.max(linkFreeMs, nowMs) + bytes / bytesPerMs;
    takenMs.push(linkFreeMs - socketBytes / bytesPerMs);
    const service =
      plan.destinationMs?.(compressed) ??
      (compressed ? 0.2 + (0.5 * bytes) / mebibyte + unpackMs[plan.kind(i)] : 0.7);
    destinationFreeMs = Math.max(destinationFreeMs, linkFreeMs + plan.rttMs / 2) + service;
    underWay.push({ ackMs: destinationFreeMs + plan.rttMs / 2, bytes });
  }
  result.ms = underWay.at(-1)!.ackMs;
  return result;
}
