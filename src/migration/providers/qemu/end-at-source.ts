/** Ends a VM's programs at the source once the destination owns it: its QEMU, its TPM, and its run folder. */
import { rmSync } from "node:fs";
import {
  isRunning,
  isSameProcess,
  type ProcessId,
  signalProcess,
  waitForEnd,
} from "../../../platform/process-id.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { endFollowers } from "../../../vm/qemu/attendants/start-attendants.ts";
import { Qmp } from "../../../vm/qemu/qmp/qmp.ts";
import { RunFolder } from "../../../vm/qemu/run-folder.ts";
import { endSwtpm } from "../../../vm/qemu/swtpm.ts";
import { endLimits } from "../../../vm/qemu/vm-programs.ts";
import type { SourceQemuRecord } from "./qemu-records.ts";

/** How long QEMU may take to quit when it is asked. */
const quitTimeoutMs = 10_000;

/**
 * Ends the VM's programs here for good. Idempotent. `qmp` is a connection to its QEMU, if there is one.
 * Throws MigrateError "io" if a program cannot be ended.
 */
export async function endAtSource(machine: SourceQemuRecord, home: string, qmp?: Qmp): Promise<void> {
  await endQemu(machine.qemu, machine.qmpPath, qmp);
  if (machine.tpm !== null) await endSwtpm(machine.tpm.swtpm);
  // If an earlier move brought the VM here, its sockets lie in a run folder of this program.
  for (const run of RunFolder.all(home)) {
    const noted = run.noted();
    if (noted === null || !isSameProcess(noted.qemu, machine.qemu)) continue;
    await endFollowers(noted);
    endLimits(noted.session);
    rmSync(run.path, { recursive: true, force: true });
  }
}

async function endQemu(process: ProcessId, qmpPath: string, known: Qmp | undefined): Promise<void> {
  if (!isRunning(process)) return;
  try {
    const qmp = known === undefined || known.isClosed ? await Qmp.connect(qmpPath) : known;
    // The path may belong to another QEMU by now.
    if (isSameProcess(qmp.peer, process)) await qmp.execute("quit").catch(() => {});
    else signalProcess(process, "SIGTERM");
    qmp.close();
  } catch {
    // Another program holds the socket: QEMU is then asked by SIGTERM, on which it quits as well (qemu(1)).
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
