/** A store: the folder in which a destination keeps its VMs, a folder each. */
import { closeSync, constants, mkdirSync, openSync, readdirSync, rmSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { MigrateError } from "../../protocol/errors.ts";

/** Throws MigrateError "store-unusable" if VMs cannot be kept in this folder. */
export function checkStore(store: string): void {
  const probe = join(store, `.migrate-probe-${process.pid}`);
  try {
    mkdirSync(store, { recursive: true, mode: 0o700 });
    const { mode } = statSync(store);
    if ((mode & constants.S_IFMT) !== constants.S_IFDIR) throw new Error("it is not a folder");
    // inode(7), the sticky bit: without it whoever may write here may put another folder in a VM's place.
    if ((mode & 0o1002) === 0o002)
      throw new Error("every user may rename what is in it; run chmod o-w on it");
    const fd = openSync(probe, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    writeSync(fd, "x");
    closeSync(fd);
    rmSync(probe);
    readdirSync(store);
  } catch (cause) {
    throw new MigrateError(
      "store-unusable",
      `the store ${store} cannot be used: ${(cause as Error).message}`,
      {
        side: "destination",
        cause,
        hint: "give a folder of yours on a disk with room with --store",
      },
    );
  }
}
