/** What becomes of the VM at the source once the destination owns it: first its QEMU ends, then its files are retired. */
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
import type { SessionRecord } from "../../journal/journal.ts";
import { sourceMachine } from "../../journal/machine-record.ts";
import { retireFiles } from "../files/retire.ts";

/** How long QEMU may take to quit when it is asked. */
const quitTimeoutMs = 10_000;

/**
 * Ends what runs of the VM here and renames, deletes or keeps its files, as the session says. May be done
 * again. `qmp` is a connection to its QEMU, where there is one. Throws MigrateError "io" where the system
 * does not let us.
 */
export async function retireVm(record: SessionRecord, home: string, qmp?: Qmp): Promise<void> {
  const machine = sourceMachine(record.machine);
  if (machine !== null) {
    await endQemu(machine.qemu, machine.qmpPath, qmp);
    if (machine.tpm !== null) await endSwtpm(machine.tpm.swtpm);
    // Where the VM had come here by this program before, its sockets lie in a run folder of ours.
    for (const run of RunFolder.all(home)) {
      if (isSameProcess(run.noted()?.qemu, machine.qemu)) {
        rmSync(run.path, { recursive: true, force: true });
      }
    }
  }
  retireFiles(record);
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
