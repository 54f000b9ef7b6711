/** What runs of a VM at the source ends once the destination owns it: its QEMU, its TPM, its run folder. */
import { rmSync } from "node:fs";
import {
  isRunning,
  isSameProcess,
  type ProcessId,
  signalProcess,
  waitForEnd,
} from "../../../platform/process-id.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { Qmp } from "../../../vm/qemu/qmp/qmp.ts";
import { RunFolder } from "../../../vm/qemu/run-folder.ts";
import { endSwtpm } from "../../../vm/qemu/swtpm.ts";
import type { SourceQemuRecord } from "./qemu-records.ts";

/** How long QEMU may take to quit when it is asked. */
const quitTimeoutMs = 10_000;

/**
 * Ends what runs of the VM here, for good. May be done again. `qmp` is a connection to its QEMU, if there is one.
 * Throws MigrateError "io" if the system does not let us.
 */
export async function endAtSource(machine: SourceQemuRecord, home: string, qmp?: Qmp): Promise<void> {
  await endQemu(machine.qemu, machine.qmpPath, qmp);
  if (machine.tpm !== null) await endSwtpm(machine.tpm.swtpm);
  // If the VM had come here by this program before, its sockets lie in a run folder of ours.
  for (const run of RunFolder.all(home)) {
    if (isSameProcess(run.noted()?.qemu, machine.qemu)) rmSync(run.path, { recursive: true, force: true });
  }
}

async function endQemu(process: ProcessId, qmpPath: string, known: Qmp | undefined): Promise<void> {
  if (!isRunning(process)) return;
  try {
    const qmp = known === undefined || known.isClosed ? await Qmp.connect(qmpPath) : known;
    // The path may be another QEMU's by now.
    if (isSameProcess(qmp.peer, process)) await qmp.execute("quit").catch(() => {});
    else signalProcess(process, "SIGTERM");
    qmp.close();
  } catch {
    // Another program has the socket: then it is asked with a signal, which QEMU takes for the same.
    signalProcess(process, "SIGTERM");
  }
  if (await waitForEnd(process, quitTimeoutMs)) return;
  signalProcess(process, "SIGKILL");
  if (await waitForEnd(process, quitTimeoutMs)) return;
  throw new MigrateError("io", "the VM's QEMU here, which is stopped for good, does not end", {
    side: "source",
    hint: `end process ${process.pid} yourself`,
  });
}
