/**
 * The move of a running VM, given up before it was released: the VM goes on at the source, the record says
 * so, and the destination hears of it. Each step may be done again, by any process.
 */
import type { HeartbeatTiming } from "../../channel/control-link.ts";
import type { Identity } from "../../channel/identity.ts";
import { isRunning, isSameProcess } from "../../platform/process-id.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { Qmp } from "../../vm/qemu/qmp/qmp.ts";
import { QmpError, qmpFailure } from "../../vm/qemu/qmp/qmp-error.ts";
import { rollBack } from "../../vm/qemu/roll-back.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import { sourceMachine } from "../journal/machine-record.ts";
import type { Observer } from "../report/events.ts";
import { tellCancelled } from "./cancellation.ts";
import { parseAddressText } from "./source-link.ts";

export interface GivingUp {
  home: string;
  journal: Journal;
  /** Null for an insecure link. */
  identity: Identity | null;
  observe: Observer;
  now: () => number;
  timing?: HeartbeatTiming | undefined;
}

/**
 * Whether the VM of this session may have to be let go on here: it was not released, or was given back,
 * and nobody has seen to it yet.
 */
export function isToGoOnHere({ side, state, machine, settled }: SessionRecord): boolean {
  const ours = state === "sending" || state === "cancelled";
  return side === "source" && machine !== null && ours && !settled;
}

/**
 * Lets the VM go on here and cancels the session. `qmp` is a connection to its QEMU, where there is one;
 * it is closed. Throws MigrateError "qemu-failed" where the VM does not go on; the session is not touched then.
 */
export async function giveUpRunning(session: string, options: GivingUp, qmp?: Qmp): Promise<void> {
  const { journal, now } = options;
  const record = journal.find(session);
  if (record === null || !isToGoOnHere(record)) return;
  await resumeHere(record, qmp);
  const nowMs = now();
  journal.write("cancelled", () => {
    const { state = "", endedAtMs = null } = journal.find(session) ?? {};
    // Somebody may have settled it while QEMU was asked.
    if (state !== "sending" && state !== "cancelled") return;
    journal.update(session, {
      state: "cancelled",
      settled: true,
      endedAtMs: endedAtMs ?? nowMs,
      updatedAtMs: nowMs,
    });
  });
  await tellDestination(journal.find(session)!, options);
}

async function resumeHere(record: SessionRecord, known: Qmp | undefined): Promise<void> {
  const machine = sourceMachine(record.machine);
  // A QEMU that has ended runs nothing, and there is nothing to take back.
  if (machine === null || !isRunning(machine.qemu)) return;
  let qmp = known;
  try {
    if (qmp === undefined || qmp.isClosed) qmp = await Qmp.connect(machine.qmpPath);
    if (!isSameProcess(qmp.peer, machine.qemu)) {
      throw new QmpError("interrupted", "another QEMU has the VM's QMP socket");
    }
    await rollBack(qmp, machine.wasRunning);
  } catch (thrown) {
    if (!isRunning(machine.qemu)) return;
    const failure = qmpFailure(thrown, "source");
    throw new MigrateError("qemu-failed", `${record.name} stands still here: ${failure.message}`, {
      side: "source",
      hint: `it is owned here; say "cont" to its QEMU at ${machine.qmpPath}, or run migrate resolve ${record.session.slice(0, 12)} --cancel`,
      cause: thrown,
    });
  } finally {
    qmp?.close();
  }
}

async function tellDestination(record: SessionRecord, options: GivingUp): Promise<void> {
  const { home, journal, identity, observe, timing } = options;
  const { peer, address, acknowledged } = record;
  if (peer === "" || acknowledged) return;
  try {
    if (identity === null && peer !== "insecure")
      throw new MigrateError("passphrase-wrong", "no key to prove who asks");
    await tellCancelled({
      home,
      journal,
      identity,
      peer,
      address: parseAddressText(address),
      observe,
      timing,
    });
  } catch (thrown) {
    observe({
      event: "warning",
      message: `the destination could not be told that the move of ${record.name} was given up (${asMigrateError(thrown).message}); it gives it up by itself, or hears of it the next time`,
    });
  }
}
