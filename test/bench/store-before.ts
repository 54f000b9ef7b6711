/** What a store has before the clock starts: the VM's own earlier life, or the VM that it was made from. */
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { manifestName, migratedSuffix } from "../../src/protocol/names.ts";
import { serialiseManifest } from "../../src/vm/folder/manifest.ts";
import { runChild } from "../support/system/child.ts";
import type { Input } from "./inputs.ts";

/** The VM that others are made from. */
const baseName = "base";

/**
 * Puts what the input's destination has before into the store, as a VM at rest: where it is an image
 * that others are made from, under a name of its own; where it is the same VM's earlier life, under
 * the name that `send` left it with when it moved away, under which the destination finds it unasked.
 * Gives the flags of `send` that name it as the base; none where there is nothing to name.
 */
export async function settleBefore(
  { before, kind }: Input,
  store: string,
  vmName: string,
): Promise<string[]> {
  if (before === undefined) return [];
  const name = before.kind === "base" ? baseName : vmName;
  const folderName = before.kind === "base" ? baseName : `${vmName}${migratedSuffix}`;
  const folder = join(store, folderName);
  mkdirSync(folder);
  const file = basename(before.path);
  await runChild(["cp", "--sparse=always", before.path, join(folder, file)]);
  const bytes = statSync(before.path).size;
  const manifest = { format: "migrate-vm/1" as const, name, files: [{ kind, file, bytes }] };
  writeFileSync(join(folder, manifestName), serialiseManifest(manifest));
  return before.kind === "base" ? ["--base", baseName] : [];
}
