/** `migrate send`: moves or copies one VM to a destination. */

import { loadHostIdentity } from "../../attestation/host-identity.ts";
import { type Address, addressText } from "../../channel/address.ts";
import type { HeartbeatTiming } from "../../channel/control-link.ts";
import { parseTicket, type Ticket } from "../../channel/ticket.ts";
import type { Way } from "../../channel/transport/made-way.ts";
import { openHome } from "../../home/home.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { VerifyKind } from "../../protocol/offer.ts";
import type { VmPolicy } from "../../protocol/vm-policy.ts";
import type { Compression } from "../../transfer/compression/compression.ts";
import { newStateSeal } from "../../vm/tpm/sealed-state.ts";
import { Journal, type SessionRecord, type WriteHook } from "../journal/journal.ts";
import { candidateOf, type VmSpec } from "../providers/candidates.ts";
import type { Departure, OpenedVm } from "../providers/departure.ts";
import { providerOf } from "../providers/providers.ts";
import type { Observer } from "../report/events.ts";
import type { Report } from "../report/report.ts";
import { applyLocally, type LocalOptions } from "./apply-locally.ts";
import { beginDeparture, leftBehind } from "./begin-departure.ts";
import { type Claim, claimSession } from "./claim.ts";
import { openControl } from "./control-socket.ts";
import { Source } from "./source.ts";

export interface SendOptions {
  home: string;
  vm: VmSpec;
  address: Address;
  ticket?: string | undefined;
  /** Makes the way to `address` before each connection, if one has to be made; brings its own tickets. */
  way?: Way | undefined;
  /** Lanes: connections that carry chunks, each in a Worker of its own. */
  lanes: number;
  bandwidthBytesPerSec?: number | undefined;
  /** How chunks and the streams of a running VM are compressed. */
  compression: Compression;
  /** Name of a VM in the destination's store that has much in common with this one. */
  base?: string | undefined;
  /** Whether the destination reads back what it has written before the VM is released. */
  verify?: VerifyKind | undefined;
  after: "keep" | "rename" | "delete";
  /** Rules that are added to the VM's own policy. */
  vmPolicy?: VmPolicy | undefined;
  /** The passphrase with which the state of its virtual TPM is kept here, where the VM's files are. */
  sealTpm?: string | undefined;
  copy: boolean;
  /** How long a lost link is retried, in milliseconds since the last progress. */
  retryForMs: number;
  /** Retry for as long also if no link has ever stood: the destination may be about to start. */
  waitsForFirst?: boolean | undefined;
  /** A move that is not at the handover after so long is given up, in milliseconds. */
  timeoutMs?: number | undefined;
  /** Then a VM that runs is stopped instead, so that its move gets done. */
  forces?: boolean | undefined;
  insecure: boolean;
  /** The destination has to prove what it runs, or nothing of the VM is told to it. */
  attests?: boolean | undefined;
  /** This host proves what it runs to a destination that demands it. */
  proves?: boolean | undefined;
  /** Names this host's TPM where it is not its own (MIGRATE_TPM). */
  env?: Record<string, string | undefined> | undefined;
  passphrase: () => Promise<string>;
  /**
   * Starts a guard that resumes a running VM if this process dies. Returns a function that ends the guard.
   */
  guard?: ((session: string) => () => Promise<void>) | undefined;
  signal: AbortSignal;
  timing?: HeartbeatTiming | undefined;
  onJournalWrite?: WriteHook | undefined;
}

/**
 * Moves or copies a VM. Returns the "done" event, which the observer receives as its last event. Throws
 * MigrateError. Unless its code tells otherwise, the source then still owns the VM, and a VM that ran runs
 * here: the exceptions are "in-doubt", "not-owner", "qemu-failed" if QEMU cannot be reached, and failures
 * after the destination has become the owner.
 */
export async function sendVm(options: SendOptions, observe: Observer): Promise<Report> {
  const home = openHome(options.home);
  const ticket = options.ticket === undefined || options.insecure ? undefined : parseTicket(options.ticket);
  const { bandwidthBytesPerSec = null, retryForMs } = options;
  const mode = options.copy ? "copy" : "move";
  const tpmSeal = options.sealTpm === undefined ? undefined : await newStateSeal(options.sealTpm);
  const candidate = candidateOf(options.vm, {
    ...{ home, bandwidthBytesPerSec, retryForMs, mode },
    ...(tpmSeal === undefined ? {} : { tpmSeal }),
  });
  const identity = options.insecure ? null : await loadHostIdentity(home, { passphrase: options.passphrase });
  const waiting = () =>
    observe({ event: "notice", message: "another program has the journal locked: waiting for it" });
  const journal = Journal.open(home, options.onJournalWrite, { waiting });
  const { timing, way } = options;
  const local = {
    home,
    journal,
    identity: async () => identity,
    observe,
    now: () => Date.now(),
    timing,
    way,
  };
  try {
    const { address, after } = options;
    const { vmPolicy } = options;
    const claim = await claimSession(
      candidate,
      { address: addressText(address), mode, after, vmPolicy },
      local,
    ).catch((thrown: unknown) => {
      throw asMigrateError(thrown).within({ vm: givenName(options.vm) });
    });
    let unguard: (() => Promise<void>) | undefined;
    try {
      unguard = options.guard?.(claim.record.session);
      return await sendClaimed(claim, { ...options, ticket, identity }, local);
    } catch (thrown) {
      const { session, name: vm } = claim.record;
      throw asMigrateError(thrown).within({ session, vm });
    } finally {
      claim.opened?.close();
      claim.release();
      await unguard?.();
    }
  } finally {
    journal.close();
  }
}

/** The name that the person gave the VM; one that its folder or its QEMU gives it is known once that is opened. */
function givenName(vm: VmSpec): string | undefined {
  return "name" in vm ? vm.name : undefined;
}

type SendingOptions = Omit<SendOptions, "ticket"> & {
  ticket: Ticket | undefined;
  identity: Awaited<ReturnType<LocalOptions["identity"]>>;
};

async function sendClaimed(
  { record: { session }, opened }: Claim,
  options: SendingOptions,
  local: LocalOptions,
): Promise<Report> {
  const { home, journal, observe, now } = local;
  const departure = opened === null ? null : departOrForget(opened, session, local);
  if (departure !== null) tellLeftBehind(journal.find(session)!, observe);
  const source = new Source({ ...options, home, journal, session, departure, observe, now });
  const endControl = controlOf(source, session, local);
  try {
    return await source.run();
  } catch (thrown) {
    await departure?.halt();
    // The session may be forgotten, if no destination ever learned of it, or be over. Otherwise a VM that was
    // stopped is resumed here. That includes a VM which an earlier process sent and the destination gave
    // back.
    const record = journal.find(session);
    if (record === null || !providerOf(record).standsStill(record)) throw thrown;
    const cancelled = thrown instanceof MigrateError && thrown.code === "cancelled" ? thrown : undefined;
    const givenUpThere = cancelled?.side === "destination";
    await applyLocally(session, { type: "given-up" }, { ...local, givenUpThere }, departure ?? undefined);
    if (cancelled === undefined) throw thrown;
    throw givenBack(cancelled, providerOf(record).givenBackHint?.(journal.find(session) ?? record));
  } finally {
    endControl();
    await departure?.halt();
    departure?.close();
  }
}

/** Without a control socket the move goes on all the same. Returns a function that closes it. */
function controlOf(source: Source, session: string, { home, observe }: LocalOptions): () => void {
  try {
    return openControl(home, session, source);
  } catch (thrown) {
    const { message } = asMigrateError(thrown);
    observe({
      event: "notice",
      message: `this move cannot be changed on its way (migrate tune): ${message}`,
    });
    return () => {};
  }
}

/** What of the VM stays here is said before anything of it goes. */
function tellLeftBehind(record: SessionRecord, observe: Observer): void {
  for (const message of leftBehind(record)) observe({ event: "notice", message });
}

/**
 * Begins the departure. If the VM cannot leave, or somebody else uses its files, a session of which no destination has learned is forgotten.
 */
function departOrForget(opened: OpenedVm, session: string, { journal, observe }: LocalOptions): Departure {
  try {
    const { departure, notice } = beginDeparture(opened, journal.find(session)!);
    if (notice !== null) observe({ event: "notice", message: notice });
    return departure;
  } catch (thrown) {
    if (journal.find(session)?.peer === "") journal.write("forgotten", () => journal.remove(session));
    throw thrown;
  }
}

function givenBack(error: MigrateError, hint: string | undefined): MigrateError {
  return new MigrateError("cancelled", error.message, {
    side: error.side,
    phase: error.phase,
    cause: error,
    hint: hint ?? error.hint ?? "the VM goes on here as before; the same command moves it anew",
  });
}
