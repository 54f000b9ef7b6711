/** The folder that a benchmark works in. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { freeBytes } from "./machine.ts";

/**
 * Makes one in `parent`; it is removed when this process ends, also where it is interrupted.
 * Throws an Error with a sentence where the parent has less room than is needed.
 */
export async function makeWorkFolder(parent: string, neededBytes: number): Promise<string> {
  const free = await freeBytes(parent);
  if (free < neededBytes) {
    const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
    throw new Error(
      `${parent} has ${gib(free)} free and ${gib(neededBytes)} may be needed: measure less, or in another --folder`,
    );
  }
  const folder = mkdtempSync(join(parent, "migrate-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));
  return folder;
}
