/** One contender moving one running guest once, measured; the guest must tick on over there. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { RunningGuest } from "../../support/guests/running-guest.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import type { Link, LinkName } from "../link.ts";
import type { QemuAttempt, QemuContender } from "./contender.ts";
import { cpuMsOf } from "./cpu-time.ts";
import type { BenchGuest } from "./guests.ts";

export interface QemuSample {
  round: number;
  guest: string;
  link: LinkName;
  contender: string;
  /** From the order to move until the mover says that it is done and the guest runs over there. */
  seconds: number;
  /** What the mover itself says that it took; absent for QEMU, which counts the same as we do. */
  ownSeconds: number | undefined;
  /** The guest's pause, as the mover counts it on the source's clock. */
  downtimeMs: number | undefined;
  /** Of all processes at the source, until the source's QEMU is gone. */
  sourceCpuMs: number;
  /** Of all processes at the destination, until the mover is done. */
  destinationCpuMs: number;
  /** As the link's device counts, both ways, headers included: right only while nothing else uses it. */
  wireBytes: number;
}

const deadlineMs = 600_000;

/**
 * Measures one run in a folder that it makes and removes. The destination waits, and the guest has
 * ticked twice, before the clock starts.
 * Throws where the contender fails, is not done in 10 minutes, or the guest does not go on.
 */
export async function takeSample(
  contender: QemuContender,
  guest: BenchGuest,
  link: Link,
  round: number,
  parent: string,
): Promise<QemuSample> {
  let source: RunningGuest | undefined;
  let attempt: QemuAttempt | undefined;
  const folder = join(parent, "run");
  mkdirSync(folder);
  try {
    source = await guest.start(join(folder, "source"), link.source);
    attempt = await contender.prepare(source, join(folder, "move"), link);
    await ticks(source, 2);

    const sourceBefore = cpuMsOf(source.pid);
    const destinationBefore = attempt.destinationCpuMs();
    const wireBefore = await link.wireBytes();
    const begun = performance.now();
    const moved = await withDeadline(attempt.move(), deadlineMs, "the end of the move");
    const seconds = (performance.now() - begun) / 1000;
    const wireBytes = (await link.wireBytes()) - wireBefore;
    const destinationCpuMs = attempt.destinationCpuMs() - destinationBefore;

    const last = source.ticks().at(-1) ?? 0;
    await attempt.confirm(last + 2);
    const sourceCpuMs = (await cpuToTheEnd(source)) - sourceBefore + attempt.sourceCpuMs();
    return {
      round,
      guest: guest.name,
      link: link.name,
      contender: contender.name,
      seconds,
      ...moved,
      sourceCpuMs,
      destinationCpuMs,
      wireBytes,
    };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const run = `${contender.name} with ${guest.name} ${link.title}`;
    throw new Error(`${run}: ${message}; QEMU wrote: ${source?.lastWords()}`);
  } finally {
    await attempt?.cleanUp();
    await source?.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Waits for so many more ticks. */
async function ticks(guest: RunningGuest, more: number): Promise<void> {
  await guest.waitForTick((guest.ticks().at(-1) ?? 0) + more);
}

/** The source's QEMU has to go in any case: we end it ourselves where the contender leaves it, and count it to its end. */
async function cpuToTheEnd(source: RunningGuest): Promise<number> {
  if (source.isRunning()) await (await source.watch()).execute("quit").catch(() => {});
  await withDeadline(source.ended(), 30_000, "the end of the source's QEMU");
  const cpu = source.cpuMs();
  if (cpu === undefined) throw new Error("a process's CPU time is not known before its end");
  return cpu.userMs + cpu.systemMs;
}
