/** Starting the keeper of a VM's serial lines once its QEMU listens, and ending it with what else follows a QEMU. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type ProcessId, waitForEnd } from "../../../platform/process-id.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { endDaemon, startDaemon } from "../daemon.ts";
import { serialLines, socketName } from "../definition/consoles/serial-lines.ts";
import type { VmModel } from "../definition/model.ts";
import { keeperLogName, type NotedProcesses, type RunFolder } from "../run-folder.ts";
import { endSwtpm } from "../swtpm.ts";
import type { VmPrograms } from "../vm-programs.ts";
import { serialNames } from "./names.ts";

/** The role of this program that is a keeper; see commands/serial-keeper.ts. */
export const keeperRole = "serial-keeper";
/** How long it may take until it listens, in milliseconds. */
const startTimeoutMs = 15_000;
const pollMs = 5;
/** How long it may take to end when its QEMU has, in milliseconds. */
const followMs = 3000;

/** The serial lines of a VM, as its run folder has them. */
export function serialNamesOf(model: Pick<VmModel, "parts">) {
  return serialLines(model).map((id, number) => serialNames(socketName({ id }), number));
}

/**
 * Starts the keeper of a VM whose QEMU listens, and resolves once it keeps what is said; does nothing for a VM
 * without a serial line. Throws MigrateError "qemu-failed", and leaves none running then.
 */
export async function startKeeper(
  model: Pick<VmModel, "parts">,
  run: RunFolder,
  programs: VmPrograms,
): Promise<void> {
  const lines = serialNamesOf(model);
  if (lines.length === 0) return;
  const command = programs.keeper([keeperRole, ...lines.map(({ program }) => program)]);
  const daemon = startDaemon(command, { cwd: run.path, log: join(run.path, keeperLogName) });
  let gone = false;
  const ended = daemon.ended.then(() => {
    gone = true;
  });
  try {
    run.note("keeper", daemon.process);
    const listens = () => lines.every((line) => existsSync(run.socket(line.console)));
    for (const lateAtMs = performance.now() + startTimeoutMs; !listens(); ) {
      if (gone || performance.now() > lateAtMs) {
        const what = gone ? "ended at its start" : "does not come up";
        const why = daemon.lastErrors() || "it said nothing";
        throw new MigrateError("qemu-failed", `What keeps the VM's serial lines ${what}: ${why}`, {
          side: "destination",
        });
      }
      await Promise.race([ended, Bun.sleep(pollMs)]);
    }
    programs.pin(
      lines.flatMap((line) => [line.qemu, line.program, line.console].map((name) => run.socket(name))),
    );
  } catch (thrown) {
    await endDaemon(daemon.process);
    throw thrown;
  }
}

/**
 * Ends what follows a QEMU that has ended, its swtpm and the keeper of its serial lines: both end by themselves, and
 * are waited for. Throws as `endDaemon` does.
 */
export async function endFollowers({ swtpm, keeper }: NotedProcesses): Promise<void> {
  if (swtpm) await endSwtpm(swtpm);
  if (keeper) await endKeeper(keeper);
}

async function endKeeper(keeper: ProcessId): Promise<void> {
  if (!(await waitForEnd(keeper, followMs))) await endDaemon(keeper);
}
