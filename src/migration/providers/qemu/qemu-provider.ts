/**
 * The provider of VMs that run under QEMU: found by their QMP socket, and started at the destination in a new
 * QEMU.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { ramOf } from "../../../vm/qemu/definition/machine.ts";
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

/** Before it answers, a destination may have to start QEMU, or sync a whole VM to its disk. */
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

  // If the disks of a running VM went as chunks, they are in both lists.
  ownFiles: (record) => [...ownFilesOf(record), ...(sourceQemuRecord(record)?.retire ?? [])],

  // A destination that is alive but never answers would keep the VM stopped forever.
  answerMs: ({ files }) =>
    leastAnswerMs + files.reduce((sum, { bytes }) => sum + bytes, 0) / slowestDiskBytesPerMs,

  runsThere: (record) => sourceQemuRecord(record)?.wasRunning ?? arrivingQemuRecord(record)?.paused !== true,

  keep: ({ machine }) => (machine === undefined ? null : { side: "destination", ...machine }),

  check(offer, { qemu }) {
    const ramBytes = ramOf(checkMachine(offer, qemu));
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

  published(record) {
    const { disks = [], definition } = arrivingQemuRecord(record) ?? {};
    // A session that was begun by an earlier version keeps none.
    return { disks: disks.map(({ name }) => name), ...(definition && { definition }), changes: true };
  },
};

function qmpOf(departure: Departure | undefined) {
  return departure instanceof DepartingVm ? departure.qmp : undefined;
}
