/**
 * A Worker that notes and looks up pages in a memory that others write to at the same moment, and says how
 * often what it found lay outside of the VM.
 */
import { chunkCount, chunkLength, limits } from "../../../../src/protocol/limits.ts";
import { KnownPages } from "../../../../src/transfer/reuse/repeats/known-pages.ts";
import { SeededRandom } from "../../../support/system/random.ts";

declare const self: Worker;

export interface PagesWork {
  memory: SharedArrayBuffer;
  /** One i32: how many Workers are ready; they begin when all are. */
  gate: SharedArrayBuffer;
  workers: number;
  lane: number;
  fileBytes: number[];
  seed: number;
  rounds: number;
}

export interface PagesFound {
  found: number;
  outside: number;
  /** An error that was thrown. */
  thrown: string | undefined;
}

const { pageBytes } = limits;

self.onmessage = ({ data }: MessageEvent<PagesWork>) => {
  const { memory, gate, workers, lane, fileBytes, seed, rounds } = data;
  const known = new KnownPages(memory, lane, fileBytes);
  const random = new SeededRandom(seed);
  const said: PagesFound = { found: 0, outside: 0, thrown: undefined };
  const ready = new Int32Array(gate);
  Atomics.add(ready, 0, 1);
  Atomics.notify(ready, 0);
  for (let seen = Atomics.load(ready, 0); seen < workers; seen = Atomics.load(ready, 0)) {
    Atomics.wait(ready, 0, seen, 1000);
  }
  try {
    for (let round = 0; round < rounds; round++) {
      const file = random.below(fileBytes.length);
      const chunk = random.below(chunkCount(fileBytes[file]!));
      const pages = Math.floor(chunkLength(fileBytes[file]!, chunk) / pageBytes);
      known.sent(file, chunk);
      // Hashes of few places in the memory, so that one pushes the other out.
      const hash = random.below(40) * 2 ** 20 + random.below(2);
      if (pages > 0) known.add(hash, file, chunk, random.below(pages) * pageBytes);
      for (let i = known.find(hash) - 1; i >= 0; i--) {
        said.found++;
        const from = known.places[i]!;
        if (!(from >= 0 && from + pageBytes <= fileBytes[known.files[i]!]!)) said.outside++;
      }
      if (random.chance(0.1)) known.confirmed(file, chunk);
      if (random.chance(0.05)) known.gone(file, chunk);
    }
  } catch (thrown) {
    said.thrown = String(thrown);
  }
  self.postMessage(said);
};
