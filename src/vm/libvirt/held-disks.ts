/** Disks of a domain that this process keeps every QEMU from that may be started later. */
import { closeSync, openSync } from "node:fs";
import { holdAgainstLaterQemus } from "../../platform/files/locks.ts";

export class HeldDisks {
  #fds: number[] = [];

  /** Holds the disks at these paths, until `release` or the end of this process. False if that cannot be had. */
  hold(paths: readonly string[]): boolean {
    try {
      for (const path of paths) this.#fds.push(openSync(path, "r"));
      return this.#fds.every((fd) => holdAgainstLaterQemus(fd));
    } catch {
      return false;
    }
  }

  /** Idempotent. */
  release(): void {
    for (const fd of this.#fds.splice(0)) closeSync(fd);
  }
}
