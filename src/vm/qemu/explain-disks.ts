/** What the QEMU of a VM says of its disks, for a person who asks whether it can be moved. Changes nothing. */
import { readlinkSync } from "node:fs";
import { processId } from "../../platform/process-id.ts";
import type { QemuDefinition } from "./definition/definition.ts";
import { type Droppable, leftBehind, requireWhole } from "./images/left-behind.ts";
import { QemuFiles } from "./qemu-files.ts";
import { Qmp } from "./qmp/qmp.ts";
import { QmpError, qmpFailure } from "./qmp/qmp-error.ts";
import { disksOf } from "./running-vm.ts";

export interface DiskQuestion {
  /** Of the VM's QEMU. */
  pid: number;
  live: boolean;
  drop: readonly Droppable[];
}

/** Sentences about the disks of the VM behind a QMP socket: what `send` would refuse, in its words, and what is lost. */
export async function explainDisks(
  socket: string,
  definition: QemuDefinition,
  { pid, live, drop }: DiskQuestion,
): Promise<{ refused: string[]; notes: string[] }> {
  try {
    using qmp = await Qmp.connect(socket);
    const process = qmp.peer ?? processId(pid);
    if (process === null) throw new QmpError("interrupted", "QEMU has ended");
    const files = QemuFiles.of(process, qmp.peerUid);
    const disks = await disksOf(qmp, definition, files, readlinkSync(`/proc/${pid}/cwd`));
    if (!live) requireWhole(disks);
    const backed = live ? disks.filter(({ hasBacking }) => hasBacking) : [];
    return {
      refused: [],
      notes: [
        ...backed.map(({ path }) => `${path} has a backing file, and is flattened on the way`),
        ...leftBehind(disks, { live, drop }).map((what) => `${what} stay behind`),
      ],
    };
  } catch (thrown) {
    const { message, hint } = qmpFailure(thrown, "source");
    return { refused: [hint === undefined ? message : `${message}. ${hint}`], notes: [] };
  }
}
