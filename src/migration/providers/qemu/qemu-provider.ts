/** VMs that run under a QEMU of their own, found by its QMP socket and started again by one of ours. */
import { MigrateError } from "../../../protocol/errors.ts";
import type { Departure } from "../departure.ts";
import { ownFilesOf, retireFiles } from "../files/retire.ts";
import type { Provider } from "../provider.ts";
import { checkMachine } from "./arriving-command.ts";
import { ArrivingVm } from "./arriving-vm.ts";
import { DepartingVm } from "./departing-vm.ts";
import { endAtSource } from "./end-at-source.ts";
import { arrivingQemuRecord, sourceQemuRecord } from "./qemu-records.ts";
import { residentVm } from "./resident-vm.ts";
import { resumeUnderQemu } from "./resume-here.ts";

/** A destination starts a QEMU, or brings a whole VM to its disk, before it answers. */
const leastAnswerMs = 120_000;
const slowestDiskBytesPerMs = 32 * 1024;

export const qemuProvider: Provider = {
  name: "qemu",

  standsStill: ({ state, side, settled }) =>
    side === "source" && (state === "sending" || state === "cancelled") && !settled,

  resumeHere: (record, departure) => resumeUnderQemu(record, qmpOf(departure)),

  async retire(record, home, departure) {
    const machine = sourceQemuRecord(record);
    if (machine !== null) await endAtSource(machine, home, qmpOf(departure));
    retireFiles(record, qemuProvider.ownFiles(record));
  },

  // The disks of a VM that ran stand in both lists if they went as chunks.
  ownFiles: (record) => [...ownFilesOf(record), ...(sourceQemuRecord(record)?.retire ?? [])],

  // One that is alive and never answers would let a VM stand still for ever.
  answerMs: ({ files }) =>
    leastAnswerMs + files.reduce((sum, { bytes }) => sum + bytes, 0) / slowestDiskBytesPerMs,

  runsThere: (record) => sourceQemuRecord(record)?.wasRunning ?? arrivingQemuRecord(record)?.paused !== true,

  keep: ({ machine }) => (machine === undefined ? null : { side: "destination", ...machine }),

  check(offer, { qemu }) {
    const { ramBytes } = checkMachine(offer, qemu);
    const parts = [...offer.files, ...offer.machine!.disks];
    return {
      bytes: parts.reduce((sum, { bytes }) => sum + bytes, ramBytes),
      roomBytes: parts.reduce((sum, { bytes, allocatedBytes }) => sum + Math.min(allocatedBytes, bytes), 0),
    };
  },

  arrive(offered, { qemu }, options) {
    const machine = arrivingQemuRecord(offered);
    if (machine === null) throw new MigrateError("bug", "a session under QEMU keeps nothing of its QEMU");
    const policy = qemu ?? { allowTcg: false, net: { kind: "none" } };
    return new ArrivingVm({ ...options, offered, machine, policy });
  },

  resident: residentVm,

  published: (record) => ({
    disks: arrivingQemuRecord(record)?.disks.map(({ name }) => name) ?? [],
    changes: true,
  }),
};

function qmpOf(departure: Departure | undefined) {
  return departure instanceof DepartingVm ? departure.qmp : undefined;
}
