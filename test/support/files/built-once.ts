/** A folder that takes long to make, and is kept for all processes. */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";

/** How the folders begin in which one is being built; a process that was killed leaves its. */
export const buildingPrefix = "building-";

/**
 * Makes the folder if it is not there. `build` gets a folder for its work and an empty one in it, which becomes
 * `folder` at once when it is done. Two processes may build at the same time: the first to rename wins.
 */
export async function builtOnce(
  folder: string,
  build: (building: string, finished: string) => Promise<void>,
): Promise<void> {
  if (existsSync(folder)) return;
  const building = mkdtempSync(join(dirname(folder), buildingPrefix));
  try {
    const finished = join(building, "finished");
    mkdirSync(finished);
    await build(building, finished);
    try {
      renameSync(finished, folder);
    } catch (error) {
      if (!existsSync(folder)) throw error;
    }
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
}
