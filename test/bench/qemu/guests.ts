/** The guests that are moved, each started anew for each run. */
import { copyFileSync, mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { GuestDisk } from "../../support/guests/guest.ts";
import { guestImage } from "../../support/guests/guest-image.ts";
import type { Qmp } from "../../support/guests/qmp.ts";
import { RunningGuest, type RunningGuestOptions } from "../../support/guests/running-guest.ts";
import { saveRam } from "../../support/guests/saved-ram.ts";
import { runChild } from "../../support/system/child.ts";

/** A guest at hand, whose files lie in a folder of its own; remove that when it has been moved often enough. */
export interface BenchGuest {
  name: string;
  /** For the table's heading. */
  title: string;
  /** Gives it running, in a folder of this run and behind the words that lead to the source's host. */
  start(folder: string, enter: readonly string[]): Promise<RunningGuest>;
}

/** Those that have no disk: what they hold in their RAM names them. */
export const guestNames = ["random", "worked"] as const;
export type GuestName = (typeof guestNames)[number];

const mib = 2 ** 20;
/** An idle guest prints one tick a second and does nothing else. */
const idle = "tick_ms=1000";
/** Both kinds of filling take less than a minute a GiB on a machine that does nothing else. */
const fillingDeadlineMs = 900_000;

/** How much memory the guest needs whose RAM holds so many random bytes: a tmpfs may take nine tenths of what its kernel leaves. */
export const randomGuestMiB = (randomMiB: number): number => Math.ceil((randomMiB * 1.15 + 96) / 64) * 64;

/** A guest whose RAM is full of random bytes. Takes a folder that is there, and how many MiB. */
export async function makeRandomGuest(folder: string, randomMiB: number): Promise<BenchGuest> {
  const ramMiB = randomGuestMiB(randomMiB);
  const saved = await fillAndSave(folder, { ramMiB, append: `random_mib=${randomMiB} ${idle}` });
  return savedGuest("random", saved, {
    ramMiB,
    title: `an idle guest of ${ramMiB} MiB with ${randomMiB} MiB of random bytes in its RAM, no disk`,
  });
}

/**
 * A guest that has worked as the one has whose saved RAM `bun run bench` moves: on files that fill
 * half its RAM. Takes a folder that is there, and the MiB of its RAM, 128 or more.
 */
export async function makeWorkedGuest(folder: string, ramMiB: number): Promise<BenchGuest> {
  const workMiB = Math.floor(ramMiB / 2);
  const id = "corpus";
  const drive = `file=${(await guestImage()).corpus},format=raw,if=none,id=${id},read-only=on`;
  const disk = ["-drive", drive, "-device", `virtio-blk-pci,drive=${id},id=${id}`];
  // The corpus is unpacked twice: too much for a small guest.
  const hasCorpus = ramMiB >= 768;
  const boot = { ramMiB, append: `work_mib=${workMiB} ${idle}`, extraArgs: hasCorpus ? disk : [] };
  const saved = await fillAndSave(folder, boot, async (qmp) => {
    if (hasCorpus) await unplug(qmp, id);
  });
  const usedMiB = (statSync(saved).size / mib).toFixed(0);
  return savedGuest("worked", saved, {
    ramMiB,
    title: `an idle guest of ${ramMiB} MiB after work on about ${workMiB} MiB of files, ${usedMiB} MiB of its RAM not zero, no disk`,
  });
}

/**
 * Boots a guest, lets it fill its RAM and saves that: filling takes long, so it is done once, each run
 * goes on from the same RAM, and every contender finds the same guest. `settle` is run before it is
 * stopped. Gives the file.
 */
async function fillAndSave(
  folder: string,
  options: Pick<RunningGuestOptions, "ramMiB" | "append" | "extraArgs">,
  settle: (qmp: Qmp) => Promise<void> = async () => {},
): Promise<string> {
  const place = join(folder, "boot");
  const saved = join(folder, "saved.ram");
  const guest = await RunningGuest.start({ ...options, name: "bench", disks: [], folder: place });
  try {
    await guest.waitForTick(2, fillingDeadlineMs);
    const qmp = await guest.watch();
    await settle(qmp);
    await qmp.execute("stop");
    await saveRam(qmp, place, saved);
  } finally {
    await guest.kill();
    rmSync(place, { recursive: true, force: true });
  }
  return saved;
}

/** The guest that goes on from a saved RAM: it has no disk, whatever it had when it was filled. */
function savedGuest(
  name: GuestName,
  saved: string,
  { ramMiB, title }: { ramMiB: number; title: string },
): BenchGuest {
  return {
    name,
    title,
    async start(folder, enter) {
      const options = { name: "bench", ramMiB, disks: [], append: idle };
      const source = await RunningGuest.start({ ...options, folder, enter, incoming: saved });
      await (await source.watch()).execute("cont");
      return source;
    },
  };
}

/** Takes a device from a running guest, with the guest's consent: the saved RAM then goes on without it. */
async function unplug(qmp: Qmp, id: string): Promise<void> {
  const gone = qmp.nextEvent("DEVICE_DELETED", ({ data }) => data.device === id);
  await qmp.execute("device_del", { id });
  await gone;
}

/** A small guest that boots anew each time, with a disk of which every block holds random bytes. Takes a folder that is there. */
export async function makeDiskGuest(folder: string): Promise<BenchGuest> {
  const [ramMiB, diskMiB] = [256, 1024];
  const original = join(folder, "disk.qcow2");
  const raw = join(folder, "disk.raw");
  await runChild(["dd", "if=/dev/urandom", `of=${raw}`, "bs=1M", `count=${diskMiB}`, "status=none"]);
  await runChild(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, original]);
  rmSync(raw);
  return {
    name: "disk",
    title: `an idle guest of ${ramMiB} MiB with a qcow2 disk of ${diskMiB} MiB, full of random bytes`,
    async start(place, enter) {
      mkdirSync(place, { recursive: true });
      const disk: GuestDisk = { path: join(place, "disk.qcow2"), format: "qcow2" };
      copyFileSync(original, disk.path);
      return await RunningGuest.start({
        ...{ folder: place, name: "bench", ramMiB, disks: [disk], append: idle, enter },
      });
    },
  };
}
