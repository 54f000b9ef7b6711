/**
 * A guest as it is just after its boot, kept beside the guest's image for all test processes: it goes on from
 * there in a fraction of the time that a boot takes, with all that it has printed and written.
 */
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtOnce } from "../files/built-once.ts";
import type { GuestDisk } from "./guest.ts";
import { guestFolder, guestImage } from "./guest-image.ts";
import { RunningGuest, type RunningGuestOptions } from "./running-guest.ts";
import { copyDisk, createDisk } from "./tick-disk.ts";

export interface BootedWishes {
  ramMiB: number;
  /** Words for the guest's init, see guest-init.ts. */
  append?: string;
  disks: readonly (GuestDisk & { sizeMiB: number })[];
}

/** The first ticks lie in these bytes of a raw disk: sector N has tick N, and few have passed. */
const tickBytes = 64 * 1024;

/**
 * Gives the guest's own disks, which lie where `disks` says, the first ticks, and says what a RunningGuest goes on
 * from. A disk in qcow2 must not be there yet; a raw one may be, of the right size, and keeps all that is
 * behind the ticks.
 */
export async function bootedGuest(
  wishes: BootedWishes,
): Promise<Pick<RunningGuestOptions, "incoming" | "printed">> {
  const folder = await bootedFolder(wishes);
  for (const [n, { path, format }] of wishes.disks.entries()) {
    const booted = join(folder, `disk-${n}`);
    if (format === "raw" && existsSync(path))
      overwriteTicks(path, readFileSync(booted).subarray(0, tickBytes));
    else await copyDisk(booted, path);
  }
  return { incoming: join(folder, "ram"), printed: readFileSync(join(folder, "serial.log"), "utf8") };
}

/** The folder of such a guest, which is booted if there is none. */
async function bootedFolder({ ramMiB, append = "", disks }: BootedWishes): Promise<string> {
  const parent = guestFolder(await guestImage());
  const kinds = disks.map(({ format, sizeMiB }) => ({ format, sizeMiB }));
  const folder = join(parent, `booted-${Bun.hash(JSON.stringify([ramMiB, append, kinds])).toString(16)}`);
  await builtOnce(folder, async (_building, finished) => {
    const own = kinds.map(({ format }, n): GuestDisk => ({ path: join(finished, `disk-${n}`), format }));
    for (const [n, disk] of own.entries()) await createDisk(disk, kinds[n]!.sizeMiB);
    // Not below `building`: the paths of sockets have at most 107 bytes.
    const vm = mkdtempSync(join(tmpdir(), "boot-"));
    const guest = await RunningGuest.start({ folder: vm, name: "booted", ramMiB, append, disks: own });
    try {
      await guest.waitForTick(1);
      await guest.saveAndQuit(join(finished, "ram"));
      writeFileSync(join(finished, "serial.log"), guest.serialText());
    } finally {
      await guest.kill();
      rmSync(vm, { recursive: true, force: true });
    }
  });
  return folder;
}

function overwriteTicks(path: string, ticks: Buffer): void {
  const fd = openSync(path, "r+");
  writeSync(fd, ticks, 0, ticks.length, 0);
  closeSync(fd);
}
