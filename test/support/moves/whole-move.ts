/** What must be so once a running VM has moved: it went on over there at the very next tick, and is nobody else's. */
import { expect } from "bun:test";
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";
import type { ArrivedGuest } from "../guests/arrived-guest.ts";
import type { GuestDisk } from "../guests/guest.ts";
import type { RunningGuest } from "../guests/running-guest.ts";
import { callMonitor, statusOf } from "../guests/seen/monitor.ts";
import { ticksIn } from "../guests/serial-line.ts";
import { ticksOnDisk } from "../guests/tick-disk.ts";
import { withDeadline } from "../system/deadline.ts";
import type { MigrateProcess } from "../system/process.ts";
import { until } from "../system/until.ts";
import { sessionsIn } from "./ownership.ts";
import type { RunningHosts } from "./running-hosts.ts";

/** What a VM printed under one of the QEMUs that it ran under. */
export interface Printed {
  serialText(): string;
}

/** 1, 2, … up to and with `last`. */
export const count = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

/** Waits until `send` has ended well, in silence but for its events, and gives its last one. */
export async function doneOf(send: MigrateProcess) {
  const done = await send.waitFor("done", { deadlineMs: 90_000 });
  expect(await send.exit, send.stderr()).toEqual({ code: 0, signal: null });
  expect(send.events.at(-1)).toEqual(done);
  expect(send.strayLines).toEqual([]);
  return done;
}

/** Waits until `send` has failed, and gives what it said last. */
export async function failureOf(send: MigrateProcess) {
  const error = await send.waitFor("error", { deadlineMs: 90_000 });
  const { code } = await send.exit;
  return { ...error, exitCode: code };
}

/**
 * The ticks of a VM on its way over several QEMUs, in that order. A line may be cut by the move, half of
 * it printed here and half there: together they are whole.
 */
export function ticksOver(...stations: Printed[]): number[] {
  return ticksIn(stations.map((station) => station.serialText()).join(""));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Throws (by `expect`) where a tick is missing, came twice, or the count began again. */
export function expectGapless(...stations: Printed[]): number[] {
  const printed = ticksOver(...stations);
  expect(printed).toEqual(count(printed.length));
  return printed;
}

/**
 * Throws (by `expect`) where the VM has not moved as a whole from the source to the destination, or does not
 * go on there. To be asked while it runs there. Gives it.
 */
export async function expectMoved(
  at: RunningHosts,
  guest: RunningGuest,
  after: "keep" | "rename" | "delete" = "rename",
): Promise<ArrivedGuest> {
  const { hosts } = at;
  const { name, disks } = guest.options;
  const folder = join(hosts.store, name);
  // Nobody runs it here any more.
  await withDeadline(guest.ended(), 20_000, "the end of the source's QEMU");
  for (const { path } of disks) {
    expect(existsSync(path), path).toBe(after === "keep");
    expect(existsSync(`${path}.migrated`), `${path}.migrated`).toBe(after === "rename");
  }
  const sent = sessionsIn(hosts.sourceHome, "source").filter((session) => session.name === name);
  const got = sessionsIn(hosts.destinationHome, "destination").filter((session) => session.name === name);
  expect(sent.at(-1)).toMatchObject({ state: "confirmed", settled: 1, mode: "move" });
  expect(got.at(-1)).toMatchObject({
    session: sent.at(-1)!.session,
    state: "closed",
    settled: 1,
    digest: sent.at(-1)!.digest,
  });
  const manifest = JSON.parse(readFileSync(join(folder, "vm.json"), "utf8"));
  expect(manifest).toMatchObject({ name, ownership: { state: "owner", session: sent.at(-1)!.session } });
  const named = manifest.files.filter(({ kind }: { kind: string }) => kind === "disk");
  expect(named.map(({ file }: { file: string }) => file)).toEqual(disks.map(({ path }) => basename(path)));

  const arrived = at.arrived(name);
  expect(arrived.isRunning(), `it runs there; ${arrived.lastWords()}`).toBe(true);
  expect(arrived.noted()).toMatchObject({ session: sent.at(-1)!.session });
  // Nobody of ours holds its monitor any more.
  const monitor = await callMonitor(arrived.qmpPath, () => arrived.isRunning());
  const state = await statusOf(monitor);
  expect(state).toBeOneOf(["running", "paused"]);
  monitor.close();
  await expectListed(at, guest, arrived, state);
  return arrived;
}

async function expectListed(
  { hosts }: RunningHosts,
  guest: RunningGuest,
  arrived: ArrivedGuest,
  state: string,
) {
  const { name, disks, ramMiB, tpm = false } = guest.options;
  const ls = hosts.destination(["ls", "--store", hosts.store]);
  expect(await ls.exit).toEqual({ code: 0, signal: null });
  const rows = ls.events.filter(
    (row) => String(row.where).includes(arrived.folder) || row.state === "stored",
  );
  expect(rows).toMatchObject([{ name, state, pid: arrived.pid, tpm, where: `qmp:${arrived.qmpPath}` }]);
  expect(rows[0]!.ramBytes).toBe(ramMiB * 2 ** 20);
  const listed = rows[0]!.disks as string[];
  expect(listed.map((path) => realpathSync(path))).toEqual(
    disks.map(({ path }) => join(realpathSync(hosts.store), name, basename(path))),
  );
}

/**
 * Ends the VM that arrived, as a power cut would, and throws (by `expect`) where a tick is missing, or what
 * its disks in `folder` hold and what it has printed differ by more than the tick under way. `before` is
 * where it has run until then.
 */
export async function expectDisksAgree(
  folder: string,
  disks: readonly GuestDisk[],
  arrived: ArrivedGuest,
  ...before: Printed[]
): Promise<void> {
  const { pid } = arrived;
  await arrived.kill();
  // Its first thread may be gone before the others, which hold the disks for a moment.
  const threads = `/proc/${pid}/task`;
  await until(() => namesIn(threads).length <= 1, "the end of QEMU's threads");
  const printed = expectGapless(...before, arrived);
  for (const { path, format, readOnly } of disks) {
    if (readOnly === true) continue;
    const written = await ticksOnDisk({ path: join(folder, basename(path)), format });
    expect(written, path).toEqual(count(written.length));
    expect(written.length - printed.length, path).toBeOneOf([0, 1]);
  }
}
