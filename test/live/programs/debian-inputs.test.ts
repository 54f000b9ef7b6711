/** The benchmark's disks, small: a file system that a real guest has worked in, and what it was before. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { aligned } from "../../bench/chunking/cutting.ts";
import { Image } from "../../bench/chunking/image.ts";
import { measureOverlap, type Overlap } from "../../bench/chunking/overlap.ts";
import { makeBaseImage } from "../../bench/inputs/base-image.ts";
import { debianFileBytes, debianNames, makeDebianInputs } from "../../bench/inputs/debian.ts";
import type { Input } from "../../bench/inputs/input.ts";
import { guestImage } from "../../support/guests/guest-image.ts";
import { findProgram } from "../../support/runner/needs.ts";
import { runChild } from "../../support/system/child.ts";

const mib = 2 ** 20;
const sizeMiB = 32;
let folder = "";
/** Stands for a Debian: some 90 MiB of the files that the guest's image is made from. */
let tree = "";
let inputs: Input[] = [];

// The first run downloads and builds the guest, and four guests boot and work one after another.
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "debian-inputs-"));
  tree = join(folder, "tree");
  mkdirSync(tree);
  await runChild(["tar", "-x", "-f", (await guestImage()).corpus, "-C", tree]);
  const disks = join(folder, "disks");
  mkdirSync(disks);
  inputs = await makeDebianInputs(debianNames, disks, sizeMiB, tree);
}, 600_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function inputOf(name: (typeof debianNames)[number]): Input {
  const input = inputs.find((one) => one.name === name);
  if (input === undefined) throw new Error(`there is no ${name}`);
  return input;
}

/** What debugfs(8) says of a raw image. */
async function debugfs(path: string, request: string): Promise<string> {
  return await runChild([findProgram("debugfs") ?? "debugfs", "-R", request, path]);
}

/** Both images as they are read page by page, and what of the second one the first has. */
function compare(oldPath: string, newPath: string): Overlap & { newBytes: number; oldBytes: number } {
  const [old, young] = [new Image(oldPath), new Image(newPath)];
  try {
    return {
      ...measureOverlap(old, young, aligned(4096)),
      newBytes: young.dataBytes,
      oldBytes: old.dataBytes,
    };
  } finally {
    old.close();
    young.close();
  }
}

test("a tree gives the same files at the same places each time", async () => {
  const [one, two] = [join(folder, "one.raw"), join(folder, "two.raw")];
  for (const path of [one, two]) await makeBaseImage(path, { tree, imageMiB: 256, dataMiB: 256 });
  const { inPlaceBytes, newBytes } = compare(one, two);
  // The first reading of a file leaves its time in the second image's inodes.
  expect(inPlaceBytes).toBeGreaterThan(0.97 * newBytes);
});

test("of a tree that is too large so many files go in as fit, and blocks of zeros are holes", async () => {
  const path = join(folder, "part.raw");
  await makeBaseImage(path, { tree, imageMiB: 64, dataMiB: 16 });
  const image = new Image(path);
  image.close();
  expect(image.bytes).toBe(64 * mib);
  expect(image.dataBytes).toBeGreaterThan(14 * mib);
  expect(image.dataBytes).toBeLessThan(20 * mib);
  expect(statSync(path).blocks * 512).toBeLessThan(20 * mib);
  expect(readdirSync(folder).filter((name) => name.startsWith("building-"))).toEqual([]);
});

test("all six are there, over the files that they share, and none takes more room than was said", () => {
  expect(inputs.map(({ name }) => name)).toEqual([...debianNames]);
  const files = readdirSync(join(folder, "disks")).sort();
  expect(files).toEqual(["back.qcow2", "back.raw", "base.qcow2", "base.raw", "lived.qcow2", "lived.raw"]);
  const paths = new Set(inputs.flatMap(({ path, before }) => [path, before?.path ?? path]));
  expect([...paths].sort()).toEqual(files.map((name) => join(folder, "disks", name)));
  expect(inputOf("debian-raw").before).toBeUndefined();
  const kinds = debianNames.slice(2).map((name) => inputOf(name).before?.kind);
  expect(kinds).toEqual(["base", "base", "same", "same"]);
  const bytes = inputs.filter(({ before }) => before?.kind !== "same").map((input) => input.allocatedBytes);
  expect(Math.max(...bytes)).toBeLessThan(debianFileBytes(["debian-raw"], sizeMiB) / 2);
});

test("what a guest has worked in is a whole file system, in both formats", async () => {
  for (const name of ["debian-raw", "back-raw"] as const) {
    await runChild([findProgram("e2fsck") ?? "e2fsck", "-f", "-n", inputOf(name).path]);
  }
  for (const name of ["debian-qcow2", "back-qcow2"] as const) {
    await runChild(["qemu-img", "check", "-q", inputOf(name).path]);
    const asRaw = join(folder, `${name}.as-raw`);
    await runChild(["qemu-img", "convert", "-O", "raw", inputOf(name).path, asRaw]);
    await runChild([findProgram("e2fsck") ?? "e2fsck", "-f", "-n", asRaw]);
  }
});

test("the guest has unpacked, copied, logged, archived and written text", async () => {
  const raw = inputOf("back-raw").path;
  expect(await debugfs(raw, "ls -p /opt/unpacked")).toContain("/boot/");
  expect(await debugfs(raw, "ls -p /srv/copies")).toMatch(/\/(usr|lib)\//);
  expect(await debugfs(raw, "cat /var/log/syslog")).toContain("line 100 of its log");
  expect(await debugfs(raw, "cat /var/backups/system.cpio")).toStartWith("070701");
  expect(await debugfs(raw, "cat /var/log/copied.log")).toContain("copied: ");
});

test("most of the base is still there, and the guest has written about what it was told to", () => {
  for (const [name, writtenMib] of [
    ["debian-raw-base", 5],
    ["debian-qcow2-base", 5],
    ["back-raw", 3],
    ["back-qcow2", 3],
  ] as const) {
    const { path, before } = inputOf(name);
    const { foundBytes, newBytes, oldBytes } = compare(before!.path, path);
    expect(foundBytes).toBeGreaterThan(0.85 * oldBytes);
    const newMib = (newBytes - foundBytes) / mib;
    expect(newMib).toBeGreaterThan(writtenMib / 2);
    expect(newMib).toBeLessThan(writtenMib * 2 + 4);
  }
});
