/** What is moved: random bytes, a real guest's RAM, a sparse disk, a Debian system and what the destination has of it. */
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { startGuest } from "../support/guests/guest.ts";
import { guestImage } from "../support/guests/guest-image.ts";
import {
  type DebianName,
  debianCopyBytes,
  debianFileBytes,
  debianNames,
  makeDebianInputs,
} from "./inputs/debian.ts";
import { debianAvailability, debianTree } from "./inputs/debian-tree.ts";
import { describeInput, type Input } from "./inputs/input.ts";

export type { Input };

const mib = 2 ** 20;
/** How much larger than its data the sparse disk is. */
const sparseFactor = 8;

export const inputNames = ["random", "ram", "ram-image", "disk", ...debianNames] as const;

const isDebian = (name: string): name is DebianName => (debianNames as readonly string[]).includes(name);

/** The most room that an input, what it is made from, and one copy of it without holes take together. */
export function roomBytes(name: string, sizeMiB: number): number {
  if (isDebian(name)) return debianFileBytes([name], sizeMiB) + debianCopyBytes(name, sizeMiB);
  return (name === "disk" ? 1 + sparseFactor : 2) * sizeMiB * mib;
}

/**
 * The most room that several inputs take together: the files that some share are there once, and one
 * copy at a time is made.
 */
export function roomOfAllBytes(names: readonly string[], sizeMiB: number): number {
  const copyBytes = (name: string): number => {
    if (isDebian(name)) return debianCopyBytes(name, sizeMiB);
    return (name === "disk" ? sparseFactor : 1) * sizeMiB * mib;
  };
  const others = names.filter((name) => !isDebian(name));
  return (
    debianFileBytes(names.filter(isDebian), sizeMiB) +
    others.length * sizeMiB * mib +
    Math.max(0, ...names.map(copyBytes))
  );
}

/**
 * Makes the inputs named, in the order of inputNames. The folder must be there. The Debian ones are
 * left out where this machine cannot make them; `say` is told why.
 */
export async function makeInputs(
  names: string[],
  folder: string,
  sizeMiB: number,
  say: (text: string) => void = (text) => console.error(text),
): Promise<Input[]> {
  const inputs: Input[] = [];
  if (names.includes("random")) inputs.push(makeRandom(folder, sizeMiB));
  if (names.includes("ram") || names.includes("ram-image")) {
    const both = await makeGuestRam(folder, sizeMiB, names);
    inputs.push(...both.filter(({ name }) => names.includes(name)));
  }
  if (names.includes("disk")) inputs.push(makeDisk(folder, sizeMiB));
  const debian = names.filter(isDebian);
  if (debian.length > 0) {
    const { available, reason } = await debianAvailability();
    if (available) inputs.push(...(await makeDebianInputs(debian, folder, sizeMiB, await debianTree())));
    else say(`left out: ${debian.join(", ")}; ${reason}`);
  }
  return inputs;
}

function makeRandom(folder: string, sizeMiB: number): Input {
  const path = join(folder, "random.raw");
  const file = openSync(path, "wx");
  writeRandom(file, 0, sizeMiB);
  closeSync(file);
  return describeInput({
    name: "random",
    path,
    kind: "disk",
    sparse: false,
    title: `${sizeMiB} MiB of random bytes`,
  });
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
  return describeInput({
    name: "disk",
    path,
    kind: "disk",
    sparse: true,
    title: `a sparse disk of ${diskMiB} MiB with ${sizeMiB} MiB of random data`,
  });
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
      inputs.push(ramInput("ram-image", path, `the plain RAM image ${work}`));
    }
    if (names.includes("ram")) {
      const path = join(folder, "guest.ram");
      await guest.saveRam(path);
      inputs.push(ramInput("ram", path, `the saved RAM (QEMU stream) ${work}`));
    }
  } finally {
    await guest.kill();
    rmSync(scratch, { recursive: true, force: true });
  }
  return inputs;
}

function ramInput(name: string, path: string, title: string): Input {
  return describeInput({ name, path, kind: "ram", sparse: false, title });
}

function writeRandom(file: number, offset: number, sizeMiB: number): void {
  const piece = new Uint8Array(mib);
  for (let index = 0; index < sizeMiB; index++) {
    for (let start = 0; start < mib; start += 65_536)
      crypto.getRandomValues(piece.subarray(start, start + 65_536));
    writeSync(file, piece, 0, mib, offset + index * mib);
  }
}
