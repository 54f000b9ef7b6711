/** A real guest, moved by the compiled binary: two processes, each with a home of its own, as on two hosts. */
import { afterEach, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Guest, type GuestDisk, startGuest } from "../../support/guests/guest.ts";
import { guestImage } from "../../support/guests/guest-image.ts";
import { ticksIn } from "../../support/guests/serial-line.ts";
import { createDisk, ticksOnDisk } from "../../support/guests/tick-disk.ts";
import { killChildren } from "../../support/system/child.ts";
import { builtBinary, runMigrate } from "../../support/system/process.ts";

const folders: string[] = [];
const guests: Guest[] = [];

// The first run downloads and builds it, which is not what the test's time limit is for.
beforeAll(async () => {
  await guestImage();
}, 300_000);

afterEach(async () => {
  await Promise.all(guests.splice(0).map((guest) => guest.kill()));
  await killChildren();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** 1, 2, … up to and with `last`. */
const count = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

test("a stopped guest is moved by the compiled binary and goes on at the next tick, its disks with it", async () => {
  expect(existsSync(builtBinary), `${builtBinary} is what is tested: bun run build`).toBe(true);
  const folder = mkdtempSync(join(tmpdir(), "live-migrate-"));
  folders.push(folder);
  const [sourceFolder, store] = [join(folder, "source"), join(folder, "store")];
  mkdirSync(sourceFolder);
  mkdirSync(store);
  const disks: GuestDisk[] = [
    { path: join(sourceFolder, "system.raw"), format: "raw" },
    { path: join(sourceFolder, "data.qcow2"), format: "qcow2" },
  ];
  const ram = join(sourceFolder, "web1.ram");
  for (const disk of disks) await createDisk(disk, 16);

  const before = await startGuest({ ramMiB: 128, disks, workMiB: 24 });
  guests.push(before);
  await before.waitForTick(5);
  await before.stop();
  await before.saveRam(ram);
  await before.quit();
  const files = [ram, ...disks.map(({ path }) => path)];
  const bytesBefore = new Map(files.map((path) => [path, readFileSync(path)]));

  const serve = runMigrate(["serve", "--listen", "127.0.0.1:0", "--store", store, "--once", "--json"], {
    home: join(folder, "destination-home"),
  });
  const { address, ticket } = await serve.waitFor("listening");
  const vm = ["--name", "web1", "--ram", ram, ...disks.flatMap(({ path }) => ["--disk", path])];
  const send = runMigrate(["send", ...vm, address, "--ticket", ticket!, "--json"], {
    home: join(folder, "source-home"),
  });
  const done = await send.waitFor("done", { deadlineMs: 60_000 });
  expect(await send.exit).toEqual({ code: 0, signal: null });
  expect(await serve.exit).toEqual({ code: 0, signal: null });
  expect(send.events.at(-1)).toEqual(done);
  expect([...send.strayLines, ...serve.strayLines]).toEqual([]);
  const totalBytes = [...bytesBefore.values()].reduce((sum, { length }) => sum + length, 0);
  expect(done).toMatchObject({ name: "web1", owner: "destination", bytes: totalBytes });

  // What was the source's cannot be taken for the VM any more; what the destination has is the VM, byte by byte.
  expect(readdirSync(sourceFolder).sort()).toEqual(
    ["data.qcow2.migrated", "system.raw.migrated", "web1.ram.migrated"].sort(),
  );
  const moved = join(store, "web1");
  expect(readdirSync(moved).sort()).toEqual(["data.qcow2", "system.raw", "vm.json", "web1.ram"]);
  for (const [path, bytes] of bytesBefore) {
    const arrived = readFileSync(path.replace(sourceFolder, moved));
    expect(arrived.equals(bytes), `${path} at the destination`).toBe(true);
  }

  const movedDisks = disks.map((disk) => ({ ...disk, path: disk.path.replace(sourceFolder, moved) }));
  const last = before.ticks().at(-1)!;
  const after = await startGuest({
    ramMiB: 128,
    disks: movedDisks,
    workMiB: 24,
    incoming: join(moved, "web1.ram"),
  });
  guests.push(after);
  await after.cont();
  await after.waitForTick(last + 5);
  await after.quit();

  // A line may be cut by the stop, half of it printed here and half there: together they are whole.
  const printed = ticksIn(before.serial.text + after.serial.text);
  expect(printed).toEqual(count(printed.at(-1)!));
  for (const disk of movedDisks) {
    const written = await ticksOnDisk(disk);
    expect(written).toEqual(count(written.length));
    expect(written.length - printed.length).toBeOneOf([0, 1]);
  }
}, 120_000);
