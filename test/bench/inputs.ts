/** What is moved: random bytes, a real guest's RAM, a sparse disk. */
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { startGuest } from "../support/guest.ts";
import { guestImage } from "../support/guest-image.ts";

export interface Input {
  name: string;
  path: string;
  /** What it is to the VM: it decides the flag of `send`. */
  kind: "ram" | "disk";
  sparse: boolean;
  /** Logical size. */
  bytes: number;
  /** Room that it takes. */
  allocatedBytes: number;
  /** For the table's heading. */
  title: string;
}

const mib = 2 ** 20;
/** How much larger than its data the sparse disk is. */
const sparseFactor = 8;

export const inputNames = ["random", "ram", "ram-image", "disk"] as const;

/** The most room that an input and one copy of it without holes take together. */
export function roomBytes(name: string, sizeMiB: number): number {
  return (name === "disk" ? 1 + sparseFactor : 2) * sizeMiB * mib;
}

/** Makes the inputs named, in that order. The folder must be there. */
export async function makeInputs(names: string[], folder: string, sizeMiB: number): Promise<Input[]> {
  const inputs: Input[] = [];
  if (names.includes("random")) inputs.push(makeRandom(folder, sizeMiB));
  if (names.includes("ram") || names.includes("ram-image")) {
    const both = await makeGuestRam(folder, sizeMiB, names);
    inputs.push(...both.filter(({ name }) => names.includes(name)));
  }
  if (names.includes("disk")) inputs.push(makeDisk(folder, sizeMiB));
  return inputs;
}

function makeRandom(folder: string, sizeMiB: number): Input {
  const path = join(folder, "random.raw");
  const file = openSync(path, "wx");
  writeRandom(file, 0, sizeMiB);
  closeSync(file);
  return describe("random", path, "disk", false, `${sizeMiB} MiB of random bytes`);
}

/** The data lies in 64 places, evenly over the disk, as files do on one that is not full. */
function makeDisk(folder: string, sizeMiB: number): Input {
  const path = join(folder, "sparse.raw");
  const diskMiB = sizeMiB * sparseFactor;
  const places = Math.min(64, sizeMiB);
  const file = openSync(path, "wx");
  ftruncateSync(file, diskMiB * mib);
  for (let place = 0; place < places; place++) {
    const beginMiB = Math.floor((sizeMiB * place) / places);
    const endMiB = Math.floor((sizeMiB * (place + 1)) / places);
    writeRandom(file, Math.floor((diskMiB * place) / places) * mib, endMiB - beginMiB);
  }
  closeSync(file);
  return describe(
    "disk",
    path,
    "disk",
    true,
    `a sparse disk of ${diskMiB} MiB with ${sizeMiB} MiB of random data`,
  );
}

/**
 * Boots a guest, lets it fill half its RAM with work, stops it and saves its RAM in both shapes:
 * QEMU's migration stream, which names zero pages in a few bytes each, and the plain image of the
 * memory, as Firecracker and Cloud Hypervisor keep it.
 */
async function makeGuestRam(folder: string, sizeMiB: number, names: string[]): Promise<Input[]> {
  const ramMiB = Math.max(128, sizeMiB);
  const workMiB = Math.floor(ramMiB / 2);
  const scratch = join(folder, "guest");
  mkdirSync(scratch);
  const { corpus } = await guestImage();
  // The corpus is unpacked twice: too much for a small guest.
  const disks = ramMiB >= 768 ? [{ path: corpus, format: "raw" as const, readOnly: true }] : [];
  const guest = await startGuest({ ramMiB, disks, workMiB });
  const inputs: Input[] = [];
  const work = `of a Linux guest of ${ramMiB} MiB after work on about ${workMiB} MiB of files`;
  try {
    await guest.waitForWork();
    await guest.waitForTick(3);
    await guest.stop();
    if (names.includes("ram-image")) {
      const path = join(folder, "ram-image.raw");
      await guest.saveRamImage(path);
      inputs.push(describe("ram-image", path, "ram", false, `the plain RAM image ${work}`));
    }
    if (names.includes("ram")) {
      const path = join(folder, "guest.ram");
      await guest.saveRam(path);
      inputs.push(describe("ram", path, "ram", false, `the saved RAM (QEMU stream) ${work}`));
    }
  } finally {
    await guest.kill();
    rmSync(scratch, { recursive: true, force: true });
  }
  return inputs;
}

function describe(name: string, path: string, kind: Input["kind"], sparse: boolean, title: string): Input {
  const { size, blocks } = statSync(path);
  return { name, path, kind, sparse, bytes: size, allocatedBytes: blocks * 512, title };
}

function writeRandom(file: number, offset: number, sizeMiB: number): void {
  const piece = new Uint8Array(mib);
  for (let index = 0; index < sizeMiB; index++) {
    for (let start = 0; start < mib; start += 65_536)
      crypto.getRandomValues(piece.subarray(start, start + 65_536));
    writeSync(file, piece, 0, mib, offset + index * mib);
  }
}
