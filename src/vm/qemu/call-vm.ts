/** Calling the QEMU of a VM that a person named. */
import { processListeningAt } from "../../platform/peer-process.ts";
import { argumentsOf } from "../../platform/process-id.ts";
import { requireUnmanaged } from "./definition/managed.ts";
import { Qmp } from "./qmp/qmp.ts";

/**
 * Connects to the QMP socket at a path. Throws MigrateError "policy" if another program manages the VM and so holds
 * its socket, and as `Qmp.connect` does.
 */
export async function callVm(qmpPath: string): Promise<Qmp> {
  return await Qmp.connect(qmpPath).catch((thrown: unknown) => {
    requireUnmanaged(argumentsBehind(qmpPath) ?? []);
    throw thrown;
  });
}

/** The command line of whoever listens on the socket, whether it answers or not; null if that cannot be told. */
export function argumentsBehind(qmpPath: string): string[] | null {
  try {
    const listening = processListeningAt(qmpPath);
    const argv = listening && argumentsOf(listening.pid);
    return argv === null || argv.length === 0 ? null : argv;
  } catch {
    return null;
  }
}
