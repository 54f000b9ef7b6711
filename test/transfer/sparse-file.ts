/** Files with holes, of which a test knows every byte. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder for one test; `remove` ends it. */
export class Folder {
  readonly path = mkdtempSync(join(tmpdir(), "migrate-transfer-"));
  readonly #fds: number[] = [];

  /** Makes a file of `bytes` bytes, all hole but for the pieces at their offsets. Gives its path. */
  file(name: string, bytes: number, pieces: readonly { at: number; data: Uint8Array }[] = []): string {
    const path = join(this.path, name);
    const fd = openSync(path, "w+", 0o600);
    ftruncateSync(fd, bytes);
    for (const { at, data } of pieces) writeSync(fd, data, 0, data.length, at);
    closeSync(fd);
    return path;
  }

  /** Opens a file for as long as the folder is there. */
  open(path: string): number {
    const fd = openSync(path, "r+");
    this.#fds.push(fd);
    return fd;
  }

  remove(): void {
    for (const fd of this.#fds) closeSync(fd);
    rmSync(this.path, { recursive: true, force: true });
  }
}
