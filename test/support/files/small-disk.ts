/** A disk of a few MiB that can be filled and emptied: a tmpfs in mounts of its own. */
import { mkdirSync } from "node:fs";
import { MountNamespace } from "../system/mount-namespace.ts";
import { emptyDisk, fillDisk } from "./ballast.ts";

export class SmallDisk {
  private constructor(
    private readonly namespace: MountNamespace,
    private readonly mountPoint: string,
  ) {}

  /** Makes one with room for `bytes` bytes; `mountPoint` is a folder that must not be there yet. */
  static async make(mountPoint: string, bytes: number): Promise<SmallDisk> {
    mkdirSync(mountPoint);
    const mount = `mount -t tmpfs -o size=${bytes},mode=0700 tmpfs '${mountPoint}'`;
    return new SmallDisk(await MountNamespace.make([mount]), mountPoint);
  }

  /** The folder as this process reaches it. */
  get path(): string {
    return this.namespace.inside(this.mountPoint);
  }

  /** The words before a command that is to see the disk at its mount point. */
  get enter(): string[] {
    return this.namespace.enter("/");
  }

  /** Fills it until `leaveBytes` are left. */
  fill(leaveBytes = 0): void {
    fillDisk(this.path, leaveBytes);
  }

  /** Takes away what `fill` wrote. */
  empty(): void {
    emptyDisk(this.path);
  }

  async close(): Promise<void> {
    await this.namespace.close();
  }
}
