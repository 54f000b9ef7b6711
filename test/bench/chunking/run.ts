/**
 * Which cutting finds more of a disk in an older one: `bun run bench chunking`. The disks are those of the
 * benchmark: a Debian system, raw and qcow2, that a guest has worked in, and what it was made from.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { BenchArguments } from "../../support/runner/bench-arguments.ts";
import { debianNames } from "../inputs/debian.ts";
import type { Input } from "../inputs/input.ts";
import { makeInputs, roomOfAllBytes } from "../inputs.ts";
import { describeMachine, freeBytes } from "../machine.ts";
import { cuttings } from "./cutting.ts";
import { Image } from "./image.ts";
import { measureOverlap } from "./overlap.ts";
import { type ChunkingRow, chunkingTable } from "./report.ts";

export const usage = `bun run bench chunking [--size MIB] [--folder DIR]

  --size    a quarter of the disks' size in MiB (default 1024)
  --folder  where the disks lie (default /dev/shm)`;

/**
 * Takes the words behind `chunking` and what progress is told to; writes the tables to standard output.
 * Throws an Error with a sentence where the words make no sense, the room is short or the disks cannot be made.
 */
export async function benchChunking(args: string[], say: (text: string) => void): Promise<void> {
  const given = new BenchArguments(args, "--size 1024 --folder /dev/shm");
  const values = { size: given.text("--size"), folder: given.text("--folder") };
  const sizeMiB = Number(values.size);
  if (!Number.isInteger(sizeMiB) || sizeMiB < 16 || sizeMiB > 65_536) {
    throw new Error(`--size takes a whole number from 16 to 65536, not ${values.size}\n\n${usage}`);
  }
  const needed = roomOfAllBytes(debianNames, sizeMiB);
  if ((await freeBytes(values.folder)) < needed) {
    throw new Error(
      `${values.folder} has no ${(needed / 2 ** 30).toFixed(1)} GiB free: use a smaller --size or another --folder`,
    );
  }
  const folder = mkdtempSync(join(values.folder, "migrate-chunking-"));
  const cleanUp = (): void => rmSync(folder, { recursive: true, force: true });
  process.on("exit", cleanUp);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));
  try {
    say(`making the disks in ${folder}`);
    const inputs = await makeInputs([...debianNames], folder, sizeMiB, say);
    if (inputs.length === 0) throw new Error("without the disks there is nothing to cut");
    const tables = pairsOf(inputs).map((pair) => chunkingTable(pair.title, rowsOf(pair, say)));
    console.log([await describeMachine(), ...tables].join("\n\n"));
  } finally {
    process.off("exit", cleanUp);
    cleanUp();
  }
}

export interface Pair {
  title: string;
  oldPath: string;
  newPath: string;
}

/** What is looked for in what: each disk in what was there before it, and the qcow2 one in the raw base. */
export function pairsOf(inputs: readonly Input[]): Pair[] {
  const pairs = inputs.flatMap(({ name, path, title, before }): Pair[] =>
    before === undefined
      ? []
      : [{ title: `**${name}**: ${title}; in ${before.title}`, oldPath: before.path, newPath: path }],
  );
  const path = (name: string): string | undefined =>
    inputs.find((input) => input.name === name)?.before?.path;
  const [raw, qcow2] = [path("debian-raw-base"), inputs.find(({ name }) => name === "debian-qcow2-base")];
  if (raw !== undefined && qcow2 !== undefined) {
    const title = `**${qcow2.name} in the raw base**: ${qcow2.title}; in the image that the disk was made from, as raw`;
    pairs.push({ title, oldPath: raw, newPath: qcow2.path });
  }
  return pairs;
}

function rowsOf(pair: Pair, say: (text: string) => void): ChunkingRow[] {
  const [old, young] = [new Image(pair.oldPath), new Image(pair.newPath)];
  try {
    return cuttings.map((cutting) => {
      const overlap = measureOverlap(old, young, cutting);
      say(
        `${pair.title.split(":")[0]}  ${cutting.title}  ${((100 * overlap.foundBytes) / young.dataBytes).toFixed(1)} %`,
      );
      return { title: cutting.title, overlap, oldBytes: old.dataBytes, newBytes: young.dataBytes };
    });
  } finally {
    old.close();
    young.close();
  }
}
