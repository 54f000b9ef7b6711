/** Takes a failed move of a running VM back at the source's QEMU, so that the VM runs there as before. */
import { isRunning, isSameProcess, waitForEnd } from "../../../platform/process-id.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { moveMark, rollBack } from "../../../vm/qemu/outgoing/roll-back.ts";
import { Qmp } from "../../../vm/qemu/qmp/qmp.ts";
import { QmpError, qmpFailure } from "../../../vm/qemu/qmp/qmp-error.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import { channelsOfProcess, setTimeAfter } from "./guest-time.ts";
import { sourceQemuRecord } from "./qemu-records.ts";

/** How long a QEMU that no longer answers may take to end before it is said to be there, in milliseconds. */
const endingMs = 2_000;

/**
 * Resumes the VM if it ran before the move. `known` is a connection to its QEMU, if there is one; it is
 * closed. Does nothing if QEMU has ended. Throws MigrateError "qemu-failed" if the VM cannot be resumed.
 */
export async function resumeUnderQemu(record: SessionRecord, known: Qmp | undefined): Promise<void> {
  const machine = sourceQemuRecord(record);
  // Nothing of the VM was changed yet: what others do with it is theirs.
  if (machine === null || machine.before === null || !isRunning(machine.qemu)) {
    known?.close();
    return;
  }
  let qmp = known;
  try {
    if (qmp === undefined || qmp.isClosed) qmp = await Qmp.connect(machine.qmpPath);
    if (!isSameProcess(qmp.peer, machine.qemu)) {
      throw new QmpError("interrupted", "another QEMU has the VM's QMP socket");
    }
    await rollBack(qmp, machine, moveMark(record.session));
    const stoodStill = machine.wasRunning && machine.setsTime === true;
    await setTimeAfter(qmp, stoodStill ? channelsOfProcess(machine.qemu.pid) : []);
  } catch (thrown) {
    // A QEMU that ends closes its sockets first.
    if (await waitForEnd(machine.qemu, endingMs)) return;
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
