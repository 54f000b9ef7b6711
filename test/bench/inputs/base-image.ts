/** An ext4 file system in a raw file, filled from a folder without being mounted. */
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { findProgram } from "../../support/runner/needs.ts";
import { runChild } from "../../support/system/child.ts";

/** Any that is the same on every run: where directory entries and backups lie follows from it. */
const uuid = "6d696772-6174-4e00-8000-62656e636800";

export interface BaseImageOptions {
  /** The root folder of what goes in: its owners, modes and links are kept. */
  tree: string;
  imageMiB: number;
  /** Of a tree that is larger, files are left out until it fits: for tests, whose images are small. */
  dataMiB: number;
}

/**
 * Makes the image at `path`, where nothing may be yet. Blocks of zeros are holes. The same tree gives the same files
 * at the same places each time.
 * Throws an Error with what mke2fs wrote (mke2fs(8)), for instance where the files need more room.
 */
export async function makeBaseImage(path: string, options: BaseImageOptions): Promise<void> {
  const files = filesOf(options.tree);
  const budgetBytes = options.dataMiB * 2 ** 20;
  const isWhole = files.reduce((sum, { bytes }) => sum + bytes, 0) <= budgetBytes;
  // Hard links take no room, and need the same file system.
  const part = isWhole ? undefined : mkdtempSync(join(dirname(options.tree), "building-"));
  const full = `${path}.full`;
  try {
    if (part !== undefined) linkPart(files, options.tree, part, budgetBytes);
    writeFileSync(full, "", { flag: "wx" });
    truncateSync(full, options.imageMiB * 2 ** 20);
    await runChild(
      [
        ...[findProgram("mke2fs") ?? "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-U", uuid],
        // What the kernel would write later, at its leisure, is written now.
        ...["-E", `hash_seed=${uuid},lazy_itable_init=0,lazy_journal_init=0`],
        ...["-d", part ?? options.tree, full],
      ],
      { env: { ...process.env, E2FSPROGS_FAKE_TIME: "1700000000" } },
    );
    await runChild(["cp", "--sparse=always", full, path]);
  } finally {
    rmSync(full, { force: true });
    if (part !== undefined) rmSync(part, { recursive: true, force: true });
  }
}

interface TreeFile {
  /** Below the tree. */
  path: string;
  /** In whole blocks. */
  bytes: number;
}

/** The regular files, in the order of their names. Symbolic links are not followed. */
function filesOf(tree: string, folder = ""): TreeFile[] {
  const entries = readdirSync(join(tree, folder), { withFileTypes: true });
  return entries
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry): TreeFile[] => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return filesOf(tree, path);
      if (!entry.isFile()) return [];
      return [{ path, bytes: Math.ceil(lstatSync(join(tree, path)).size / 4096) * 4096 }];
    });
}

/** Links files into `part`, here and there over the tree, up to the budget. */
function linkPart(files: readonly TreeFile[], tree: string, part: string, budgetBytes: number): void {
  let left = budgetBytes;
  const mixed = [...files].sort((a, b) => Number(Bun.hash(a.path) - Bun.hash(b.path)));
  for (const { path, bytes } of mixed) {
    if (bytes > left) continue;
    left -= bytes;
    mkdirSync(join(part, dirname(path)), { recursive: true });
    linkSync(join(tree, path), join(part, path));
  }
}
