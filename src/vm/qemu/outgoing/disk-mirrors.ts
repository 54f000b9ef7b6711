/** The mirrors of all disks of a VM that departs live, from their connections to the last write of the guest. */
import type { Qmp } from "../qmp/qmp.ts";
import { DiskMirror } from "./disk-mirror.ts";
import { MirrorPace } from "./mirror-pace.ts";

/** A disk that is mirrored: its name there, its uppermost node, and whether its image there has its room beforehand. */
export type MirroredDisk = ConstructorParameters<typeof DiskMirror>[2];

export class DiskMirrors {
  readonly all: readonly DiskMirror[];
  readonly #paces: readonly MirrorPace[];
  /** The look in progress: QEMU may be slow to answer, so there is only one at a time. */
  #looking: Promise<void> | undefined;
  #isHalted = false;
  readonly #halted = Promise.withResolvers<void>();

  /** One for each of the disks, in the order of the offer. */
  constructor(qmp: Qmp, disks: readonly MirroredDisk[]) {
    this.all = disks.map((disk, n) => new DiskMirror(qmp, n, disk));
    this.#paces = this.all.map(() => new MirrorPace());
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

  /**
   * Looks whether each gets done; one that does not, since the guest writes faster than it is copied, begins anew with
   * the guest's writes waiting for it. `slowed` is called with the number of its disk before that. To be called often while
   * the link stands: without one nothing gets done, whatever the guest writes.
   */
  look(slowed: (disk: number) => void): void {
    this.#looking ??= this.#look(slowed)
      // The mirror has failed then, and whoever waits for it learns that.
      .catch(() => {})
      .finally(() => {
        this.#looking = undefined;
      });
  }

  async #look(slowed: (disk: number) => void): Promise<void> {
    const hopeless: DiskMirror[] = [];
    for (const [n, mirror] of this.all.entries()) {
      if (mirror.isReady) continue;
      const progress = await mirror.progress();
      // One that gets done leaves more of the link to the others.
      if (progress === null || !this.#paces[n]!.isHopeless(progress, performance.now())) return;
      hopeless.push(mirror);
    }
    for (const mirror of hopeless) {
      // It may have become ready while QEMU answered.
      if (this.#isHalted || !mirror.mayBeginAnew) continue;
      slowed(mirror.number);
      await mirror.beginAnew(this.#halted.promise);
    }
  }

  /** True while writes of the guest wait until they are at the destination as well. */
  get areBlocking(): boolean {
    return this.all.some(({ isBlocking }) => isBlocking);
  }

  /** Begins nothing any more; resolves once no command of `look` is unanswered. Never rejects. */
  async halt(): Promise<void> {
    this.#isHalted = true;
    this.#halted.resolve();
    await this.#looking;
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
