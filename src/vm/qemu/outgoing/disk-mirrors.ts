/** The mirrors of all disks of a VM that departs live, from their connections to the last write of the guest. */
import type { Qmp } from "../qmp/qmp.ts";
import { DiskMirror } from "./disk-mirror.ts";

/** A disk that is mirrored: its name there, its uppermost node, and whether its image there has its room beforehand. */
export type MirroredDisk = ConstructorParameters<typeof DiskMirror>[2];

export class DiskMirrors {
  readonly all: readonly DiskMirror[];

  /** One for each of the disks, in the order of the offer. */
  constructor(qmp: Qmp, disks: readonly MirroredDisk[]) {
    this.all = disks.map((disk, n) => new DiskMirror(qmp, n, disk));
  }

  /**
   * Connects each of them by `connect`, and begins. All connect before the first one begins: the guest stands still
   * meanwhile, and bulk data would make that longer. Throws what `connect` throws, and QmpError.
   */
  async begin(connect: (mirror: DiskMirror) => Promise<void>): Promise<void> {
    for (const mirror of this.all) await connect(mirror);
    for (const mirror of this.all) await mirror.begin();
  }

  /** Resolves once every disk is the same there. Rejects with MigrateError "qemu-failed". */
  get ready(): Promise<unknown> {
    return Promise.all(this.all.map((mirror) => mirror.ready));
  }

  /** Ends them, each with both disks the same. Throws MigrateError "qemu-failed", and QmpError. */
  async finish(): Promise<void> {
    for (const mirror of this.all) await mirror.finish();
  }

  /** Closes their connections. Throws QmpError. */
  async detach(): Promise<void> {
    for (const mirror of this.all) await mirror.detach();
  }
}
