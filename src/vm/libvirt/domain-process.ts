/** The QEMU of a domain, and its definition, as libvirt notes them (src/qemu/qemu_process.c, qemu_conf.c). */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isEnding, type ProcessId, processId } from "../../platform/process-id.ts";
import { MigrateError } from "../../protocol/errors.ts";

const stateFolder = "/run/libvirt/qemu";
const definitionFolder = "/etc/libvirt/qemu";
const lookEveryMs = 5;

/** Returns the process of the domain of that name; null if libvirt notes none, or it is gone. */
export function domainProcess(name: string): ProcessId | null {
  try {
    return processId(Number(readFileSync(join(stateFolder, `${name}.pid`), "utf8").trim()));
  } catch {
    return null;
  }
}

/** Whether a domain of that name has a definition, which a libvirtd that is dead has as well. */
export const isDefined = (name: string): boolean => existsSync(join(definitionFolder, `${name}.xml`));

/**
 * Resolves once the QEMU runs nothing any more, whether or not it has given back its memory: that takes a large one
 * seconds. Rejects with the signal's reason.
 */
export async function ending(qemu: ProcessId, signal: AbortSignal): Promise<void> {
  while (!isEnding(qemu)) {
    signal.throwIfAborted();
    await Bun.sleep(lookEveryMs);
  }
}

/** The error if the domain's QEMU is gone in the middle of its move. Pure. */
export function endedInMove(name: string): MigrateError {
  return new MigrateError("qemu-failed", `the QEMU of ${name} has ended here, in the middle of its move`, {
    side: "source",
    hint: "It crashed, or the guest powered off: nothing of it is at the destination. virsh start begins it anew from its disks.",
  });
}
