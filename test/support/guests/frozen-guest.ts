/** A guest that was started once and stopped in the middle of its work: it goes on as often as a test needs one. */
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NewDisk, RunningHosts } from "../moves/running-hosts.ts";
import type { GuestDisk } from "./guest.ts";
import { RunningGuest } from "./running-guest.ts";
import { copyDisk, createDisk } from "./tick-disk.ts";

const disks: NewDisk[] = [
  { name: "data.raw", format: "raw" },
  { name: "system.qcow2", format: "qcow2" },
];
/** The first disk's second half is random: a mirror of it takes its time. */
const [diskMiB, emptyMiB] = [16, 8];
/** One tick in 50 ms: two QEMUs that both ran for a moment would both have printed one. */
const usual = { name: "web1", ramMiB: 128 };
const usualAppend = "tick_ms=50";

export interface FrozenWishes {
  append?: string;
  clusterBytes?: number;
}

export class FrozenGuest {
  private constructor(
    readonly folder: string,
    /** What it printed before it was stopped. */
    readonly serialText: string,
    private readonly append: string,
  ) {}

  /**
   * Starts the guest and stops it after some ticks. Takes seconds. Remove it. `append` are words for its init
   * beside those for how fast it ticks, `clusterBytes` the size of the clusters of its qcow2 disk.
   */
  static async make({ append = "", clusterBytes }: FrozenWishes = {}): Promise<FrozenGuest> {
    const folder = mkdtempSync(join(tmpdir(), "ice-"));
    const clusters = clusterBytes === undefined ? {} : { clusterBytes };
    const made = disks.map(
      ({ name, format }): GuestDisk => ({ path: join(folder, name), format, ...clusters }),
    );
    for (const disk of made) await createDisk(disk, diskMiB);
    const words = `${usualAppend} ${append}`.trim();
    const guest = await RunningGuest.start({
      ...usual,
      append: words,
      folder: join(folder, "vm"),
      disks: made,
    });
    try {
      await guest.waitForTick(4);
      await guest.saveAndQuit(join(folder, "ram"));
    } finally {
      await guest.kill();
    }
    const disk = openSync(join(folder, "data.raw"), "r+");
    const bytes = randomBytes((diskMiB - emptyMiB) * 2 ** 20);
    writeSync(disk, bytes, 0, bytes.length, emptyMiB * 2 ** 20);
    closeSync(disk);
    return new FrozenGuest(folder, guest.serialText(), words);
  }

  /** A guest on the source's host that goes on from there, with disks of its own. */
  async thaw(hosts: RunningHosts, wishes: { name?: string } = {}): Promise<RunningGuest> {
    const name = wishes.name ?? usual.name;
    const folder = join(hosts.folder, name);
    mkdirSync(folder);
    for (const { name } of disks) await copyDisk(join(this.folder, name), join(folder, name));
    const { append } = this;
    const guest = await hosts.guest({ ...usual, append, name, disks, incoming: join(this.folder, "ram") });
    await (await guest.watch()).execute("cont");
    return guest;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
