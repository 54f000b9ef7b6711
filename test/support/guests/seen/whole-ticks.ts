/** The ticks of a guest that was stopped under one QEMU and went on under another, without a gap, on its disks too. */
import { expect } from "bun:test";
import { type Guest, type GuestDisk, type GuestOptions, startGuest } from "../guest.ts";
import type { GuestsOfTests } from "../guests-of-tests.ts";
import { ticksIn } from "../serial-line.ts";
import { ticksOnDisk } from "../tick-disk.ts";

/** Starts a guest that goes on from a saved RAM stream, up to that tick, and has its QEMU end in good order. */
export async function goesOn(
  guests: GuestsOfTests<Guest>,
  options: GuestOptions,
  tick: number,
): Promise<Guest> {
  const guest = guests.keep(await startGuest(options));
  await guest.cont();
  await guest.waitForTick(tick);
  await guest.quit();
  return guest;
}

/**
 * Throws (by `expect`) if a tick is missing or comes twice in what the QEMUs printed one after another, or if one
 * of the disks, which no QEMU holds any more, has other ticks than these.
 */
export async function expectWholeTicks(
  stations: readonly Guest[],
  disks: readonly GuestDisk[],
): Promise<void> {
  // A line may be cut by the stop, half of it printed here and half there: together they are whole.
  const printed = ticksIn(stations.map(({ serial }) => serial.text).join(""));
  const countedTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);
  expect(printed).toEqual(countedTo(printed.length));
  for (const disk of disks) {
    const written = await ticksOnDisk(disk);
    expect(written).toEqual(countedTo(written.length));
    // The guest prints a tick after it has written it.
    expect(written.length - printed.length).toBeOneOf([0, 1]);
  }
}
