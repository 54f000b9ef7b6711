/** The two guests that are moved, each started anew for each run. */
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { runChild } from "../../support/child.ts";
import type { GuestDisk } from "../../support/guest.ts";
import { RunningGuest } from "../../support/running-guest.ts";
import { saveRam } from "../../support/saved-ram.ts";

/** A guest at hand: `start` gives it running, in a folder of its own. */
export interface BenchGuest {
  /** For the table's heading. */
  title: string;
  start(folder: string): Promise<RunningGuest>;
}

/** An idle guest prints one tick a second and does nothing else. */
const idle = "tick_ms=1000";
/** The guest's init fills a tmpfs, which may take nine tenths of the memory that its kernel leaves. */
const roomMiB = (randomMiB: number): number => Math.ceil((randomMiB * 1.15 + 96) / 64) * 64;

/**
 * A guest whose RAM is full of random bytes. Filling it takes half a minute a GiB, so that is done
 * once: each run goes on from the same saved RAM, and every contender finds the same guest.
 */
export async function makeFullGuest(folder: string, randomMiB: number): Promise<BenchGuest> {
  const ramMiB = roomMiB(randomMiB);
  const options = { name: "bench", ramMiB, disks: [], append: `random_mib=${randomMiB} ${idle}` };
  const saved = join(folder, "full.ram");
  const guest = await RunningGuest.start({ ...options, folder: join(folder, "full") });
  try {
    await guest.waitForTick(2, 600_000);
    const qmp = await guest.watch();
    await qmp.execute("stop");
    await saveRam(qmp, join(folder, "full"), saved);
  } finally {
    await guest.kill();
    rmSync(join(folder, "full"), { recursive: true, force: true });
  }
  return {
    title: `an idle guest of ${ramMiB} MiB with ${randomMiB} MiB of random bytes in its RAM, no disk`,
    async start(place) {
      const source = await RunningGuest.start({ ...options, folder: place, incoming: saved });
      await (await source.watch()).execute("cont");
      return source;
    },
  };
}

/** A small guest that boots anew each time, with a disk of which every block holds random bytes. */
export async function makeDiskGuest(folder: string): Promise<BenchGuest> {
  const [ramMiB, diskMiB] = [256, 1024];
  const original = join(folder, "disk.qcow2");
  const raw = join(folder, "disk.raw");
  await runChild(["dd", "if=/dev/urandom", `of=${raw}`, "bs=1M", `count=${diskMiB}`, "status=none"]);
  await runChild(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, original]);
  rmSync(raw);
  return {
    title: `an idle guest of ${ramMiB} MiB with a qcow2 disk of ${diskMiB} MiB, full of random bytes`,
    async start(place) {
      mkdirSync(place, { recursive: true });
      const disk: GuestDisk = { path: join(place, "disk.qcow2"), format: "qcow2" };
      copyFileSync(original, disk.path);
      return await RunningGuest.start({
        ...{ folder: place, name: "bench", ramMiB, disks: [disk], append: idle },
      });
    },
  };
}
