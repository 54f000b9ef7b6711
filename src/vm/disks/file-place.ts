/** A regular file of a VM's folder in the store: sparse, of this user alone, published and removed with the folder. */
import { closeSync, constants, fstatSync, ftruncateSync, lstatSync, openSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { statBlockBytes } from "../../platform/files/filesystem.ts";
import { dropFromMemory } from "../../platform/files/writeback.ts";
import type { DiskPlace } from "./disk-place.ts";

/** Changes whenever somebody writes to the file at `path`, replaces it or takes it away (inode(7)). */
export function fileStamp(path: string): string {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? "gone" : `${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
}

export class FilePlace implements DiskPlace {
  readonly path: string;

  /** `path` lies in a folder of ours that nobody else may enter. */
  constructor(path: string) {
    this.path = path;
  }

  /** Makes the file in its full size, without a block in it. */
  prepare(bytes: number): boolean {
    const fd = openSync(this.path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    try {
      const { size } = fstatSync(fd);
      if (size !== bytes) ftruncateSync(fd, bytes);
      return size !== 0;
    } finally {
      closeSync(fd);
    }
  }

  size(): number | null {
    const stat = lstatSync(this.path, { throwIfNoEntry: false });
    return stat?.isFile() === true ? stat.size : null;
  }

  allocatedBytes(): number {
    return (lstatSync(this.path, { throwIfNoEntry: false })?.blocks ?? 0) * statBlockBytes;
  }

  stamp(): string {
    return fileStamp(this.path);
  }

  async sync(): Promise<void> {
    const file = await open(this.path, constants.O_RDWR | constants.O_NOFOLLOW);
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }

  dropFromMemory(): void {
    const fd = openSync(this.path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      dropFromMemory(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** It is renamed with its folder. */
  publish(): void {}

  remove(): void {
    rmSync(this.path, { force: true });
  }
}
