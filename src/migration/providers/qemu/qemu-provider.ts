/**
 * The provider of VMs that run under QEMU: found by their QMP socket, and started at the destination in a new
 * QEMU.
 */
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { MigrateError } from "../../../protocol/errors.ts";
import { tpmFolder } from "../../../vm/folder/manifest.ts";
import { relativePath } from "../../../vm/folder/staging.ts";
import { ramOf } from "../../../vm/qemu/definition/machine.ts";
import { runFolders } from "../../../vm/qemu/run-folder.ts";
import { keepRunFolders } from "../../../vm/qemu/run-upkeep.ts";
import { permanentState } from "../../../vm/tpm/ek-of-state.ts";
import type { Departure } from "../departure.ts";
import { ownFilesOf, retireFiles } from "../files/retire.ts";
import type { Provider } from "../provider.ts";
import { retireTpmState } from "../tpm-at-source.ts";
import { checkMachine, requireRunFolder } from "./arriving-command.ts";
import { ArrivingVm } from "./arriving-vm.ts";
import { rulesOf } from "./booting/start-rules.ts";
import { DepartingVm } from "./departing-vm.ts";
import { endAtSource } from "./end-at-source.ts";
import { fittedModel } from "./processors/fitted-model.ts";
import { arrivingQemuRecord, sourceQemuRecord, staysPaused } from "./qemu-records.ts";
import { residentVm } from "./resident-vm.ts";
import { resumeUnderQemu } from "./resume-here.ts";
import { surroundingsOf } from "./surroundings.ts";

/** Before it answers, a destination may have to start QEMU, or sync a whole VM to its disk. */
const leastAnswerMs = 120_000;
const slowestDiskBytesPerMs = 32 * 1024;

export const qemuProvider: Provider = {
  name: "qemu",

  standsStill: ({ state, side, settled }) =>
    side === "source" && (state === "sending" || state === "cancelled") && !settled,

  resumeHere: (record, departure) => resumeUnderQemu(record, qmpOf(departure)),

  async retire(record, home, departure, warn) {
    const machine = sourceQemuRecord(record);
    if (departure instanceof DepartingVm) departure.leave();
    if (machine !== null) await endAtSource(machine, home, qmpOf(departure));
    await retireTpmState(record, qemuProvider.tpmHere(record), warn);
    retireFiles(record, qemuProvider.ownFiles(record));
  },

  tpmHere(record) {
    const state = sourceQemuRecord(record)?.tpm?.state;
    return state === undefined ? null : { files: [], folders: [state], ram: [], place: state.path };
  },

  // If the disks of a running VM went as chunks, they are in both lists.
  ownFiles: (record) => [...ownFilesOf(record), ...(sourceQemuRecord(record)?.retire ?? [])],

  leftBehind(record) {
    const fate = record.after === "delete" ? "which is deleted here with the rest" : "which stays here alone";
    return (sourceQemuRecord(record)?.leftBehind ?? []).map((what) => ({ what, fate }));
  },

  provenOf: ({ files }) =>
    files.some(({ kind }) => kind === "disk")
      ? "of its files, and of its RAM as it was sent"
      : "of its RAM and disks as they were sent, not of the images that QEMU made of them",

  // A destination that is alive but never answers would keep the VM stopped forever.
  answerMs: ({ files }) =>
    leastAnswerMs + files.reduce((sum, { bytes }) => sum + bytes, 0) / slowestDiskBytesPerMs,

  runsThere(record) {
    const arriving = arrivingQemuRecord(record);
    return sourceQemuRecord(record)?.wasRunning ?? (arriving === null || !staysPaused(arriving));
  },

  keep({ machine }, policy) {
    if (machine === undefined) return null;
    return { side: "destination", ...machine, ...(policy?.qemu ? { here: rulesOf(policy.qemu) } : {}) };
  },

  sameKept(record, offer) {
    const {
      sealedPaused: _,
      landed: __,
      here: ___,
      bound: ____,
      vmPolicy: _____,
      ...offered
    } = arrivingQemuRecord(record)!;
    return isDeepStrictEqual(offered, qemuProvider.keep(offer));
  },

  // The state of a TPM is the swtpm's own, which replaces its files.
  sealedPaths: (record) => [
    ...record.files.map(relativePath),
    ...arrivingQemuRecord(record)!.disks.map(({ name }) => name),
  ],

  sealed: ({ kept }, { paused, bound }, landed) => ({
    ...kept,
    landed,
    ...(bound && { bound }),
    ...(paused === undefined ? {} : { sealedPaused: paused }),
  }),

  landed: (record) => arrivingQemuRecord(record)?.landed ?? {},

  check(offer, { qemu }) {
    const ramBytes = ramOf(checkMachine(offer, qemu));
    const parts = [...offer.files, ...offer.machine!.disks];
    return { bytes: parts.reduce((sum, { bytes }) => sum + bytes, ramBytes) };
  },

  async requireFitting(offer, { qemu }, asker) {
    const model = checkMachine(offer, qemu);
    requireRunFolder(asker.home, offer.name);
    await fittedModel(model, offer.machine!, qemu!, asker);
  },

  surroundings: surroundingsOf,

  tpmThere: (_record, folder) => join(folder, tpmFolder, permanentState),

  stored: (record) => [...record.files, ...(arrivingQemuRecord(record)?.disks ?? [])],

  delivers: (home, { qemu }) =>
    qemu === null ? [] : [{ what: "sockets and logs of VMs that run", path: runFolders(home) }],

  arrive(offered, { qemu }, options) {
    const machine = arrivingQemuRecord(offered);
    if (machine === null) throw new MigrateError("bug", "a session under QEMU keeps nothing of its QEMU");
    const policy = qemu ?? { allowTcg: false, net: { kind: "none" as const }, confinement: null };
    return new ArrivingVm({ ...options, offered, machine, policy });
  },

  resident: residentVm,
  upkeep: keepRunFolders,

  published(record) {
    const { disks = [], definition, here } = arrivingQemuRecord(record) ?? {};
    // A session that was begun by an earlier version keeps none.
    return { disks, ...(definition && { definition }), ...(here && { here }), changes: true };
  },
};

function qmpOf(departure: Departure | undefined) {
  return departure instanceof DepartingVm ? departure.qmp : undefined;
}
