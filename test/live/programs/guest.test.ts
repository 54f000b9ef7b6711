/** The test guest itself: what the live tests conclude from its ticks holds only if this does. */
import { expect, test } from "bun:test";
import { copyFileSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Guest, type GuestDisk, startGuest } from "../../support/guests/guest.ts";
import { guestsOfTests } from "../../support/guests/guests-of-tests.ts";
import { expectWholeTicks, goesOn } from "../../support/guests/seen/whole-ticks.ts";
import { createDisk, ticksOnDisk } from "../../support/guests/tick-disk.ts";

const guests = guestsOfTests<Guest>();

test("a guest that is stopped and saved goes on at the next tick in another QEMU, and its disks agree", async () => {
  const folder = guests.folder();
  const disks: GuestDisk[] = [
    { path: join(folder, "a.raw"), format: "raw" },
    { path: join(folder, "b.qcow2"), format: "qcow2" },
  ];
  for (const disk of disks) await createDisk(disk, 16);

  const source = guests.keep(
    await startGuest({ ramMiB: 128, disks, workMiB: 24, serialLog: join(folder, "source.log") }),
  );
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
  const how = { ramMiB: 128, disks: moved, workMiB: 24, incoming: join(folder, "ram") };
  const destination = await goesOn(guests, how, last + 5);

  await expectWholeTicks([source, destination], moved);
  expect(readFileSync(join(folder, "source.log"), "utf8")).toBe(source.serial.text);
  // The source's disk stands where the source stopped.
  expect((await ticksOnDisk(disks[0]!)).length - last).toBeOneOf([0, 1]);
}, 60_000);
