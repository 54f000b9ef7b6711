/** The disk of a VM that was made from a base image and then lived: raw and qcow2, and what it was before. */
import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { runChild } from "../../support/system/child.ts";
import { makeBaseImage } from "./base-image.ts";
import { describeInput, type Input } from "./input.ts";
import { workInDisk } from "./living-guest.ts";

export const debianNames = [
  "debian-raw",
  "debian-qcow2",
  "debian-raw-base",
  "debian-qcow2-base",
  "back-raw",
  "back-qcow2",
] as const;

export type DebianName = (typeof debianNames)[number];
type Format = "raw" | "qcow2";

const mib = 2 ** 20;
/** How much larger than its data the disk is. */
const imageFactor = 4;
/** How much of the tree goes in at most: all of it from a size of 1024 on. */
const dataFactor = 1.25;

/** How much a guest writes in its first weeks, and before the disk goes back: on a disk of 4 GiB, less on smaller ones. */
const writtenMib = (kind: "live" | "change", sizeMiB: number): number =>
  Math.max(3, Math.round(((kind === "live" ? 150 : 100) * sizeMiB) / 1024));

const formatOf = (name: DebianName): Format => (name.includes("raw") ? "raw" : "qcow2");
const isBack = (name: DebianName): boolean => name.startsWith("back-");
const hasBase = (name: DebianName): boolean => name.endsWith("-base");

/** The files in the folder that some of these inputs need, the ones they share but once: each has room for all its data. */
function filesOf(names: readonly DebianName[]): string[] {
  const needed = names.flatMap((name) => {
    const format = formatOf(name);
    const base = format === "qcow2" ? ["base.raw", "base.qcow2"] : ["base.raw"];
    return [...base, `lived.${format}`, ...(isBack(name) ? [`back.${format}`] : [])];
  });
  return [...new Set(needed)];
}

/** The most room that the files of these inputs take. */
export function debianFileBytes(names: readonly DebianName[], sizeMiB: number): number {
  return filesOf(names).length * fullFileBytes(sizeMiB);
}

/** The most room that the destination takes for one of them: a copy without holes, and what is there before. */
export function debianCopyBytes(name: DebianName, sizeMiB: number): number {
  const before = isBack(name) || hasBase(name) ? fullFileBytes(sizeMiB) : 0;
  return imageFactor * sizeMiB * mib + before;
}

function fullFileBytes(sizeMiB: number): number {
  // The file system's own tables and journal take room as well.
  return (1.05 * dataFactor * sizeMiB + writtenMib("live", sizeMiB) + writtenMib("change", sizeMiB)) * mib;
}

/**
 * Makes those of the inputs that are named, in the order of debianNames. Takes the root folder of a Debian system;
 * where it has more than 1.25 MiB for each MiB of the size, files are left out. The guest in between needs QEMU.
 * Throws an Error that names what failed.
 */
export async function makeDebianInputs(
  names: readonly DebianName[],
  folder: string,
  sizeMiB: number,
  tree: string,
): Promise<Input[]> {
  const files = filesOf(names);
  const path = (file: string): string => join(folder, file);
  const scratch = path("living");
  mkdirSync(scratch);
  await makeBaseImage(path("base.raw"), {
    tree,
    imageMiB: imageFactor * sizeMiB,
    dataMiB: dataFactor * sizeMiB,
  });
  if (files.includes("base.qcow2")) {
    await runChild(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", path("base.raw"), path("base.qcow2")]);
  }
  for (const [before, after, kind] of [
    ["base", "lived", "live"],
    ["lived", "back", "change"],
  ] as const) {
    for (const format of ["raw", "qcow2"] as const) {
      if (!files.includes(`${after}.${format}`)) continue;
      const disk = { path: path(`${after}.${format}`), format };
      await runChild(["cp", "--sparse=auto", path(`${before}.${format}`), disk.path]);
      await workInDisk(disk, { kind, mib: writtenMib(kind, sizeMiB) }, scratch);
    }
  }
  rmSync(scratch, { recursive: true, force: true });
  return debianNames.filter((name) => names.includes(name)).map((name) => inputOf(name, folder, sizeMiB));
}

function inputOf(name: DebianName, folder: string, sizeMiB: number): Input {
  const format = formatOf(name);
  const file = (stage: string): string => join(folder, `${stage}.${format}`);
  const dataMib = (statSync(join(folder, "base.raw")).blocks * 512) / mib;
  const system = `a Debian 12 root file system of ${imageFactor * sizeMiB} MiB with ${dataMib.toFixed(0)} MiB of data`;
  const [lived, changed] = [writtenMib("live", sizeMiB), writtenMib("change", sizeMiB)];
  const life = `${system}, ${format}, after a guest has written ${lived} MiB in it`;
  return describeInput({
    name,
    path: file(isBack(name) ? "back" : "lived"),
    kind: "disk",
    sparse: format === "raw",
    title: isBack(name) ? `${life} and then ${changed} MiB more` : life,
    ...(hasBase(name)
      ? { before: { path: file("base"), kind: "base", title: "the image that the disk was made from" } }
      : {}),
    ...(isBack(name)
      ? { before: { path: file("lived"), kind: "same", title: "the disk as it was before" } }
      : {}),
  });
}
