/** `migrate send qmp:PATH`: a VM from here to there while it runs, or stopped on the way. */
import { join } from "node:path";
import { loadIdentity } from "../../channel/identity.ts";
import { parseTicket, type Ticket } from "../../channel/ticket.ts";
import { openHome } from "../../home/home.ts";
import { socketPathBytes } from "../../platform/peer-process.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { HeldFiles } from "../../vm/qemu/held-files.ts";
import { Journal } from "../journal/journal.ts";
import { DepartingVm } from "../providers/qemu/departing-vm.ts";
import type { StallLimits } from "../providers/qemu/stall-watch.ts";
import type { Observer } from "../report/events.ts";
import type { Report } from "../report/report.ts";
import { claimRunning, type RunningClaim, type RunningSpec } from "./claim-running.ts";
import { type GivingUp, giveUpRunning } from "./give-up.ts";
import type { SendOptions } from "./send.ts";
import { Source } from "./source.ts";
import { addressText } from "./source-link.ts";

export interface SendRunningOptions extends Omit<SendOptions, "vm" | "copy"> {
  vm: RunningSpec;
  /** Mirror the disks while the VM runs; else it is stopped first. */
  live: boolean;
  /** QEMU stops the VM once it expects to be done in this time. */
  downtimeLimitMs: number;
  autoConverge: boolean;
  /** Channels of the RAM (QEMU's multifd) beside the main one; 0 for none. */
  channels: number;
  /** Threads that carry streams. */
  workers: number;
  /** How long nothing may go forward, in place of the usual. */
  stallLimits?: StallLimits;
  /** Watches over this process: lets the VM go on where it dies. Gives what ends the watch. */
  guard: (session: string) => () => Promise<void>;
}

/**
 * Moves a VM that runs under QEMU. Gives what was done; the observer has heard the same as its last event.
 * Throws MigrateError, after which the VM goes on here, unless it says otherwise: "in-doubt", "not-owner",
 * "qemu-failed" where QEMU cannot be asked, and what fails after the destination owns it.
 */
export async function sendRunningVm(options: SendRunningOptions, observe: Observer): Promise<Report> {
  const home = openHome(options.home);
  if (Buffer.byteLength(join(home, "sessions", "0".repeat(16), "disk-63")) > socketPathBytes) {
    const said = "the path of MIGRATE_HOME is too long for the sockets of a move";
    throw new MigrateError("home-unusable", said, { side: "source", hint: "set it to a shorter one" });
  }
  const ticket = options.ticket === undefined || options.insecure ? undefined : parseTicket(options.ticket);
  const identity = options.insecure ? null : await loadIdentity(home, { passphrase: options.passphrase });
  const journal = Journal.open(home, options.onJournalWrite);
  const { timing } = options;
  const givingUp: GivingUp = { home, journal, identity, observe, now: () => Date.now(), timing };
  try {
    const claim = await claimRunning(
      journal,
      home,
      { ...options, spec: options.vm, address: addressText(options.address), now: givingUp.now },
      givingUp,
    );
    let unguard: (() => Promise<void>) | undefined;
    try {
      unguard = options.guard(claim.record.session);
      return await sendClaimed(claim, { ...options, ticket }, givingUp);
    } finally {
      claim.departing?.vm.qmp.close();
      claim.release();
      await unguard?.();
    }
  } finally {
    journal.close();
  }
}

async function sendClaimed(
  claim: RunningClaim,
  options: Omit<SendRunningOptions, "ticket"> & { ticket: Ticket | undefined },
  givingUp: GivingUp,
): Promise<Report> {
  const { home, journal, identity, observe, now } = givingUp;
  const { session } = claim.record;
  const { departing: found } = claim;
  const vm =
    found &&
    new DepartingVm(found.vm, {
      live: options.live,
      downtimeLimitMs: options.downtimeLimitMs,
      channels: options.channels,
      autoConverge: options.autoConverge,
      bandwidthBytesPerSec: options.bandwidthBytesPerSec ?? null,
      workers: options.workers,
      socketFolder: join(home, "sessions", session.slice(0, 16)),
      stallLimits: options.stallLimits,
    });
  let files: HeldFiles | null = null;
  try {
    files = found && HeldFiles.open(found.files.files);
    return await new Source({
      ...options,
      home,
      journal,
      session,
      vm: found?.files ?? null,
      files,
      ...(vm && found ? { departing: vm, machine: found.machine } : {}),
      identity,
      lanes: options.lanes,
      observe,
      now,
    }).run();
  } catch (thrown) {
    await vm?.halt();
    // Forgotten where no destination ever heard of it; else it is taken back, and that is said.
    if (journal.find(session) !== null) await giveUpRunning(session, givingUp, vm?.vm.qmp);
    throw thrown instanceof MigrateError && thrown.code === "cancelled" ? givenBack(thrown) : thrown;
  } finally {
    files?.close();
    await vm?.halt();
    vm?.vm.qmp.close();
  }
}

function givenBack(error: MigrateError): MigrateError {
  return new MigrateError("cancelled", error.message, {
    side: error.side,
    phase: error.phase,
    cause: error,
    hint: "the VM goes on here as before",
  });
}
