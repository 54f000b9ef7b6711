/**
 * What the index of a store costs as the store grows: `bun run bench index`. The fingerprints are random
 * bytes, as those of real blocks are for whoever does not know the key.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { limits } from "../../../src/protocol/limits.ts";
import { BlockIndex } from "../../../src/transfer/reuse/store/block-index.ts";
import { randomStream } from "../../support/files/small-vm.ts";

export const usage = `bun run bench index [--millions 1,4] [--folder DIR]

  --millions  sizes of the index, in millions of blocks of 64 KiB, ascending (default 1,4; 16 takes minutes)
  --folder    where it lies (default: the system's folder for temporary files, on a disk)`;

const { blockBytes, blockHashBytes } = limits;
const million = 1_000_000;
/** Blocks of one file: 4 GiB. */
const fileBlocks = 65_536;
const lookUps = 20_000;

interface Row {
  blocks: number;
  bytesPerBlock: number;
  buildUs: number;
  missUs: number;
  hitUs: number;
}

/** Builds an index step by step and hashes a table. Throws where the options make no sense. */
export function benchIndex(args: string[], say: (text: string) => void): void {
  const { values } = parseArgs({
    args,
    strict: true,
    options: { millions: { type: "string", default: "1,4" }, folder: { type: "string", default: tmpdir() } },
  });
  const sizes = values.millions.split(",").map((text) => Number(text) * million);
  if (sizes.some((size, i) => !(size > 0 && size <= 256 * million && size > (sizes[i - 1] ?? 0)))) {
    throw new Error(`--millions takes ascending numbers up to 256, not ${values.millions}`);
  }
  const folder = mkdtempSync(join(values.folder, "migrate-bench-index-"));
  try {
    const path = join(folder, "index.sqlite");
    const index = BlockIndex.open(path, folder);
    const random = randomStream(1);
    const rows: Row[] = [];
    let blocks = 0;
    let buildMs = 0;
    for (const size of sizes) {
      let hashes = Buffer.alloc(0);
      while (blocks < size) {
        const count = Math.min(fileBlocks, size - blocks);
        hashes = Buffer.from(random(count * blockHashBytes));
        const begunMs = performance.now();
        const file = index.begin();
        index.add(file, 0, hashes);
        index.finish(file, `vm-${blocks}/disk.raw`, "stamp");
        buildMs += performance.now() - begunMs;
        blocks += count;
      }
      const hits = Array.from({ length: lookUps }, (_, i) =>
        hashAt(hashes, (i * 7919) % (hashes.length / 8)),
      );
      const misses = Array.from({ length: lookUps }, () => Buffer.from(random(blockHashBytes)));
      const bytes = statSync(path).size;
      rows.push({
        blocks,
        bytesPerBlock: bytes / blocks,
        buildUs: (buildMs * 1000) / blocks,
        missUs: microsecondsEach(index, misses),
        hitUs: microsecondsEach(index, hits),
      });
      say(`${(blocks / million).toFixed(0)} million blocks`);
    }
    index.close();
    console.log(table(rows));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const hashAt = (hashes: Buffer, block: number): Buffer =>
  hashes.subarray(block * blockHashBytes, (block + 1) * blockHashBytes);

/** As a lane looks up: the blocks of a chunk at once. */
function microsecondsEach(index: BlockIndex, hashes: readonly Buffer[]): number {
  const begunMs = performance.now();
  for (let at = 0; at < hashes.length; at += 16) {
    index.atOnce(() => hashes.slice(at, at + 16).forEach((print) => void index.lookup(print)));
  }
  return ((performance.now() - begunMs) * 1000) / hashes.length;
}

function table(rows: readonly Row[]): string {
  return [
    "| blocks of 64 KiB | of a store with | bytes a block | building, µs a block | look-up in vain, µs | look-up with a find, µs |",
    "|---:|---:|---:|---:|---:|---:|",
    ...rows.map(({ blocks, bytesPerBlock, buildUs, missUs, hitUs }) => {
      const gib = (blocks * blockBytes) / 2 ** 30;
      const figures = [bytesPerBlock, buildUs, missUs, hitUs].map((value) => value.toFixed(1));
      return `| ${(blocks / million).toFixed(0)} million | ${gib.toFixed(0)} GiB | ${figures.join(" | ")} |`;
    }),
  ].join("\n");
}
