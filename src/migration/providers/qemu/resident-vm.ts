/**
 * A running VM at the destination as a process sees it that is not the serve which received it: by its run
 * folder, and over the spare QMP socket, since that serve may hold the first.
 */
import { join } from "node:path";
import { isRunning } from "../../../platform/process-id.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { endDaemon } from "../../../vm/qemu/daemon.ts";
import { resumeGuest } from "../../../vm/qemu/incoming.ts";
import { Qmp } from "../../../vm/qemu/qmp/qmp.ts";
import { qmpFailure } from "../../../vm/qemu/qmp/qmp-error.ts";
import { RunFolder } from "../../../vm/qemu/run-folder.ts";
import { endSwtpm, tpmStateName } from "../../../vm/qemu/swtpm.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import { arrivingMachine } from "../../journal/machine-record.ts";
import { spareQmpName, vmLinkName } from "./arriving-command.ts";

type Resident = Pick<SessionRecord, "session" | "name" | "machine">;

/** Whether the QEMU that this session started still is there. */
export function isResident(record: Resident, home: string): boolean {
  const noted = notedOf(record, home)?.noted;
  return noted?.qemu != null && isRunning(noted.qemu);
}

/** The VM's folder has its final name: QEMU and the TPM get to know it. Idempotent. */
export function relinkResident(record: Resident, home: string, folder: string): void {
  const found = notedOf(record, home);
  found?.run.link(vmLinkName, folder);
  if (found?.noted.swtpm) found.run.link(tpmStateName, join(folder, "tpm"));
}

/** Lets the VM go on here. Throws MigrateError "qemu-failed" where it does not. */
export async function resumeResident(record: Resident, home: string): Promise<void> {
  if (arrivingMachine(record.machine)?.paused === true) return;
  const run = RunFolder.at(home, record.name);
  try {
    using qmp = await Qmp.connect(run.socket(spareQmpName));
    const answer = await resumeGuest(qmp);
    if (answer.outcome === "refused") throw answer.why;
  } catch (thrown) {
    throw qmpFailure(thrown, "destination");
  }
}

/** Ends the QEMU and the TPM of this session, and removes the run folder. Idempotent. */
export async function endResident(record: Resident, home: string): Promise<void> {
  const found = notedOf(record, home);
  if (found === null) return;
  if (found.noted.qemu) await endDaemon(found.noted.qemu);
  if (found.noted.swtpm) await endSwtpm(found.noted.swtpm);
  found.run.remove();
}

/** Throws MigrateError "policy" where a person's word would give the VM to a host on which nothing of it is left. */
export function requireResident(record: Resident, home: string): void {
  if (record.machine === null || isResident(record, home)) return;
  throw new MigrateError("policy", `${record.name} was a running VM, and its QEMU here is gone`, {
    side: "destination",
    hint: "it stands still at the source, whole: say --owner source there, and here",
  });
}

function notedOf(record: Resident, home: string) {
  if (record.machine === null) return null;
  const run = RunFolder.at(home, record.name);
  const noted = run.noted();
  // A VM of that name that another session brought is none of ours.
  return noted?.session === record.session ? { run, noted } : null;
}
