/** Takes a failed move of a running VM back at the source's QEMU, so that the VM runs there as before. */
import { isRunning, isSameProcess } from "../../../platform/process-id.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { Qmp } from "../../../vm/qemu/qmp/qmp.ts";
import { QmpError, qmpFailure } from "../../../vm/qemu/qmp/qmp-error.ts";
import { rollBack } from "../../../vm/qemu/roll-back.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import { sourceQemuRecord } from "./qemu-records.ts";

/**
 * Resumes the VM if it ran before the move. `known` is a connection to its QEMU, if there is one; it is
 * closed. Does nothing if QEMU has ended. Throws MigrateError "qemu-failed" if the VM cannot be resumed.
 */
export async function resumeUnderQemu(record: SessionRecord, known: Qmp | undefined): Promise<void> {
  const machine = sourceQemuRecord(record);
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
