/** The test guest itself: what the live tests conclude from its ticks holds only if this does. */
import { afterEach, beforeAll, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Guest, type GuestDisk, startGuest } from "../../support/guests/guest.ts";
import { guestImage } from "../../support/guests/guest-image.ts";
import { ticksIn } from "../../support/guests/serial-line.ts";
import { createDisk, ticksOnDisk } from "../../support/guests/tick-disk.ts";

const folders: string[] = [];
const guests: Guest[] = [];

// The first run downloads and builds it, which is not what the test's time limit is for.
beforeAll(async () => {
  await guestImage();
}, 300_000);

afterEach(async () => {
  await Promise.all(guests.splice(0).map((guest) => guest.kill()));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** 1, 2, … up to and with `last`. */
const count = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

test("a guest that is stopped and saved goes on at the next tick in another QEMU, and its disks agree", async () => {
  const folder = mkdtempSync(join(tmpdir(), "live-guest-"));
  folders.push(folder);
  const disks: GuestDisk[] = [
    { path: join(folder, "a.raw"), format: "raw" },
    { path: join(folder, "b.qcow2"), format: "qcow2" },
  ];
  for (const disk of disks) await createDisk(disk, 16);

  const source = await startGuest({ ramMiB: 128, disks, workMiB: 24, serialLog: join(folder, "source.log") });
  guests.push(source);
  await source.waitForWork();
  await source.waitForTick(5);
  await source.stop();
  await source.saveRam(join(folder, "ram"));
  await source.quit();
  // The work is in the RAM: a quarter of it random bytes, all of it in files of a tmpfs.
  expect(statSync(join(folder, "ram")).size).toBeGreaterThan(24 * 2 ** 20);

  const moved: GuestDisk[] = disks.map((disk) => ({ ...disk, path: `${disk.path}.moved` }));
  for (const [index, disk] of disks.entries()) copyFileSync(disk.path, moved[index]!.path);
  const last = source.ticks().at(-1)!;
  const destination = await startGuest({
    ramMiB: 128,
    disks: moved,
    workMiB: 24,
    incoming: join(folder, "ram"),
  });
  guests.push(destination);
  await destination.cont();
  await destination.waitForTick(last + 5);
  await destination.quit();

  // A line may be cut by the stop, half of it printed here and half there: together they are whole.
  const printed = ticksIn(source.serial.text + destination.serial.text);
  expect(printed).toEqual(count(printed.at(-1)!));
  expect(readFileSync(join(folder, "source.log"), "utf8")).toBe(source.serial.text);
  for (const disk of moved) {
    const written = await ticksOnDisk(disk);
    expect(written).toEqual(count(written.length));
    // The guest prints a tick after it has written it.
    expect(written.length - printed.length).toBeOneOf([0, 1]);
  }
  // The source's disk stands where the source stopped.
  expect((await ticksOnDisk(disks[0]!)).length - last).toBeOneOf([0, 1]);
}, 60_000);
