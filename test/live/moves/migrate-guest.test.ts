/** A real guest, moved by the compiled binary: two processes, each with a home of its own, as on two hosts. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Guest, type GuestDisk, startGuest } from "../../support/guests/guest.ts";
import { guestsOfTests } from "../../support/guests/guests-of-tests.ts";
import { expectWholeTicks, goesOn } from "../../support/guests/seen/whole-ticks.ts";
import { createDisk } from "../../support/guests/tick-disk.ts";
import { builtBinary, runMigrate } from "../../support/system/process.ts";

const guests = guestsOfTests<Guest>();

test("a stopped guest is moved by the compiled binary and goes on at the next tick, its disks with it", async () => {
  expect(existsSync(builtBinary), `${builtBinary} is what is tested: bun run build`).toBe(true);
  const folder = guests.folder();
  const [sourceFolder, store] = [join(folder, "source"), join(folder, "store")];
  mkdirSync(sourceFolder);
  mkdirSync(store);
  const disks: GuestDisk[] = [
    { path: join(sourceFolder, "system.raw"), format: "raw" },
    { path: join(sourceFolder, "data.qcow2"), format: "qcow2" },
  ];
  const ram = join(sourceFolder, "web1.ram");
  for (const disk of disks) await createDisk(disk, 16);

  const before = guests.keep(await startGuest({ ramMiB: 128, disks, workMiB: 24 }));
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
  const how = { ramMiB: 128, disks: movedDisks, workMiB: 24, incoming: join(moved, "web1.ram") };
  const after = await goesOn(guests, how, before.ticks().at(-1)! + 5);

  await expectWholeTicks([before, after], movedDisks);
}, 120_000);
