/** A file that fills a disk. */
import { closeSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";

const name = "ballast";

/** Fills the disk of `folder` until `leaveBytes` are left. */
export function fillDisk(folder: string, leaveBytes = 0): void {
  const { bavail, bsize } = statfsSync(folder);
  const fd = openSync(join(folder, name), "a");
  try {
    const block = Buffer.alloc(bsize, 1);
    for (let left = bavail * bsize - leaveBytes; left >= bsize; left -= bsize) writeSync(fd, block);
  } finally {
    closeSync(fd);
  }
}

/** Takes away what `fillDisk` wrote. */
export function emptyDisk(folder: string): void {
  rmSync(join(folder, name), { force: true });
}
