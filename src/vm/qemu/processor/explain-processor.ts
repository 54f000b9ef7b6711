/** What can be said of a VM's processor without a destination, for a person who asks whether it can be moved. */
import type { CpuModel } from "../definition/model.ts";
import type { Qmp } from "../qmp/qmp.ts";
import { listed } from "./processor.ts";
import { readProcessor } from "./read-processor.ts";

/** Models that are another processor on every host. */
const ofTheHost = new Set(["host", "max"]);
/** So much of one sentence are names, in bytes. */
const mostNamesBytes = 2000;

/** Returns a sentence on what a destination is asked for; none if the VM's QEMU does not answer. Never throws. */
export async function explainProcessor(qmp: Qmp, cpu: CpuModel | null): Promise<string[]> {
  try {
    const { major, minor } = qmp.version;
    const read = await readProcessor((command, args) => qmp.execute(command, args));
    const version = `a destination must have QEMU ${major}.${minor} or newer`;
    if (read === null) return [version];
    const named = `-cpu ${cpu?.model ?? read.model}`;
    const whose = ofTheHost.has(cpu?.model ?? "") ? `${named}, this host's own processor` : named;
    const features = read.processor.features;
    return [
      `${whose}: ${version}, and must be able to give the guest ${listed(features, mostNamesBytes)}; it starts the VM with just these`,
    ];
  } catch {
    // That its QEMU does not answer is said of its disks.
    return [];
  }
}
