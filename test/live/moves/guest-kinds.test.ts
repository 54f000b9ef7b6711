/** The guests that are moved as they run: what the live tests of moving conclude holds only if this does. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { processId } from "../../../src/platform/process-id.ts";
import { ArrivedGuest } from "../../support/guests/arrived-guest.ts";
import type { GuestDisk } from "../../support/guests/guest.ts";
import { guestsOfTests } from "../../support/guests/guests-of-tests.ts";
import { RunningGuest, type RunningGuestOptions } from "../../support/guests/running-guest.ts";
import { migrationEnd, unlimitedBytesPerSec } from "../../support/guests/saved-ram.ts";
import { ticksIn } from "../../support/guests/serial-line.ts";
import { createDisk, ticksOnDisk } from "../../support/guests/tick-disk.ts";
import { pcr16AfterExtend, tpmSealedLine, tpmSecret } from "../../support/guests/tpm-guest.ts";
import { count } from "../../support/moves/whole-move.ts";
import { until } from "../../support/system/until.ts";

const guests = guestsOfTests<RunningGuest>();

const start = async (options: RunningGuestOptions) => guests.keep(await RunningGuest.start(options));

/** QEMU's own live migration, over a unix socket. Gives the destination, where the guest runs on. */
async function moveByHand(source: RunningGuest, folder: string): Promise<RunningGuest> {
  const destination = await start({ ...source.options, folder, incoming: "defer" });
  const [from, to] = [await source.watch(), await destination.watch()];
  const uri = `unix:${join(folder, "stream")}`;
  const arrived = await migrationEnd(to);
  const left = await migrationEnd(from);
  await to.execute("migrate-incoming", { uri });
  await from.execute("migrate-set-parameters", { "max-bandwidth": unlimitedBytesPerSec });
  await from.execute("migrate", { uri });
  await Promise.all([left(), arrived()]);
  expect(await source.status()).toBe("postmigrate");
  return destination;
}

test("a guest moved by QEMU's own means goes on in the other log where it stopped in the first, to the letter", async () => {
  const folder = guests.folder();
  const disk: GuestDisk = { path: join(folder, "system.raw"), format: "raw" };
  await createDisk(disk, 16);
  const append = "random_mib=16 check_ticks=5";
  const guest = { name: "web1", ramMiB: 128, disks: [disk], append };
  const source = await start({ ...guest, folder: join(folder, "a") });
  await source.waitForTick(6);
  expect(await source.status()).toBe("running");

  const destination = await moveByHand(source, join(folder, "b"));
  const last = source.ticks().at(-1)!;
  await destination.waitForTick(last + 6);
  await (await destination.watch()).execute("stop");
  expect(await destination.status()).toBe("paused");
  const printed = ticksIn(source.serialText() + destination.serialText());
  expect(printed).toEqual(count(printed.at(-1)!));
  expect(source.ticks().at(-1)).toBe(last);
  expect(destination.ticks().at(-1)).toBeGreaterThanOrEqual(last + 6);
  for (const { log } of [source, destination]) {
    expect(log.text()).toContain("ram intact");
    expect(log.text()).not.toContain("ram damaged");
  }

  await Promise.all([source.kill(), destination.kill()]);
  expect([source.isRunning(), destination.isRunning()]).toEqual([false, false]);
  const written = await ticksOnDisk(disk);
  expect(written).toEqual(count(written.length));
  expect(written.length - printed.length).toBeOneOf([0, 1]);
}, 60_000);

test("a guest told to dirty its memory does so over and over, and ticks on meanwhile", async () => {
  const folder = guests.folder();
  const append = "dirty_mib=64";
  const guest = await start({ folder: join(folder, "a"), name: "busy", ramMiB: 256, disks: [], append });
  const passes = () =>
    Number(
      guest
        .serialText()
        .match(/dirty pass (\d+)/g)
        ?.at(-1)
        ?.slice(11) ?? 0,
    );
  await guest.log.waitUntil((text) => text.includes("dirty pass 10"), "ten passes");
  const qmp = await guest.watch();
  const before = guest.ticks().at(-1)!;
  // In seconds, up to the minute that QEMU can measure over: a busy machine makes few passes in one.
  for (let seconds = 2; ; seconds = Math.min(60, 2 * seconds)) {
    const begun = passes();
    await qmp.execute("calc-dirty-rate", { "calc-time": seconds });
    let rate: number | undefined;
    const measured = async (): Promise<boolean> => {
      const answer = (await qmp.execute("query-dirty-rate")) as { status: string; "dirty-rate"?: number };
      rate = answer.status === "measured" ? answer["dirty-rate"] : undefined;
      return rate !== undefined;
    };
    await until(measured, "a dirty rate", 2 * seconds * 1000 + 10_000);
    // With two marks of the log in it lies one whole pass at least. The rate is in MiB a second, of pages that are
    // dirty for the first time: all 64 MiB in time, half of them for a sample's error. One that ticks has one or two.
    if (passes() - begun < 20 && seconds < 60) continue;
    expect(rate! * seconds).toBeGreaterThan(32);
    break;
  }
  await guest.waitForTick(before + 20);
}, 240_000);

test("a guest told to fill its memory with random bytes has them before its first tick, and ticks as slowly as told", async () => {
  const folder = guests.folder();
  const append = "random_mib=128 tick_ms=500";
  const guest = await start({ folder: join(folder, "a"), name: "full", ramMiB: 256, disks: [], append });
  await guest.waitForTick(1);
  const begun = performance.now();
  await guest.waitForTick(4);
  expect(performance.now() - begun).toBeGreaterThan(1400);

  const qmp = await guest.watch();
  const left = await migrationEnd(qmp);
  const destination = await start({ ...guest.options, folder: join(folder, "b"), incoming: "defer" });
  const uri = `unix:${join(folder, "b", "stream")}`;
  await (await destination.watch()).execute("migrate-incoming", { uri });
  await qmp.execute("migrate-set-parameters", { "max-bandwidth": unlimitedBytesPerSec });
  await qmp.execute("migrate", { uri });
  await left();
  const { ram } = (await qmp.execute("query-migrate")) as { ram: { normal: number } };
  // Pages of 4 KiB that had to be sent whole: none of the random ones is all zeros.
  expect(ram.normal * 4096).toBeGreaterThan(128 * 2 ** 20);
}, 60_000);

describe("a guest with a TPM", () => {
  const tpmGuest = { name: "sealed", ramMiB: 128, disks: [], append: "tpm=extend", tpm: true };
  const shown = [`pcr16 ${pcr16AfterExtend}`, `unsealed ${tpmSecret}`];
  const tpmLines = (guest: RunningGuest): string[] =>
    guest
      .serialText()
      .split(/\r?\n/)
      .filter((line) => /^(pcr16|unsealed|tpm) /.test(line));

  test("shows its extended PCR and its sealed secret at every tenth tick, before a move and after it", async () => {
    const folder = guests.folder();
    const source = await start({ ...tpmGuest, folder: join(folder, "a") });
    await source.waitForTick(11);
    expect(tpmLines(source)).toEqual([tpmSealedLine, ...shown]);
    const destination = await moveByHand(source, join(folder, "b"));
    const next = Math.ceil((source.ticks().at(-1)! + 1) / 10) * 10;
    await destination.waitForTick(next + 1);
    expect(tpmLines(destination)).toEqual(shown);
  }, 60_000);

  test("whose TPM was not extended says so and cannot unseal: what it shows is the TPM's answer", async () => {
    const guest = await start({ ...tpmGuest, folder: join(guests.folder(), "a"), append: "tpm=seal" });
    await guest.waitForTick(11);
    const refusal = "tpm refused unseal: 0000099d";
    expect(tpmLines(guest)).toEqual([tpmSealedLine, `pcr16 ${"0".repeat(64)}`, refusal, "unsealed nothing"]);
  }, 60_000);
});

describe("a guest that arrived", () => {
  test("is found by what lies in its run folder, and ended by what is noted there", async () => {
    const home = guests.folder();
    const folder = join(home, "run", "web1");
    mkdirSync(folder, { recursive: true });
    const arrived = new ArrivedGuest(home, "web1");
    expect(arrived.isRunning()).toBe(false);
    await arrived.kill();

    const guest = await start({ folder, name: "web1", ramMiB: 128, disks: [], tpm: true });
    const [qemu, swtpm] = [processId(guest.pid), processId(guest.swtpmPid!)];
    writeFileSync(join(folder, "processes.json"), JSON.stringify({ session: "s", qemu, swtpm }));
    await arrived.waitForTick(2);
    expect(arrived.isRunning()).toBe(true);
    expect(arrived.pid).toBe(guest.pid);
    await arrived.kill();
    await guest.ended();
    expect(arrived.isRunning()).toBe(false);
    expect(guest.isRunning()).toBe(false);
  }, 60_000);
});

test("a guest that QEMU does not start is an error with what QEMU said", async () => {
  const options = { folder: guests.folder(), name: "bad", ramMiB: 128, disks: [] };
  await expect(start({ ...options, extraArgs: ["-device", "no-such-device"] })).rejects.toThrow(
    /no-such-device/,
  );
}, 60_000);
