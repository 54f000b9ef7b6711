/** A VM that runs under QEMU, as it leaves: found by its QMP socket, opened, and offered. */
import { randomUUID } from "node:crypto";
import { join, resolve } from "node:path";
import { socketPathBytes } from "../../../platform/unix-socket.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { isSameFile } from "../../../vm/folder/file-identity.ts";
import { callVm } from "../../../vm/qemu/call-vm.ts";
import { commonGround } from "../../../vm/qemu/common-ground.ts";
import { HeldFiles } from "../../../vm/qemu/held-files.ts";
import { lookFailure } from "../../../vm/qemu/refusals.ts";
import type { RunningVm } from "../../../vm/qemu/running-vm.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { Candidate, OpenedVm } from "../departure.ts";
import { socketPlace } from "../streaming/socket-place.ts";
import type { StallLimits } from "../streaming/stall-watch.ts";
import type { KeptSeal } from "../tpm-at-source.ts";
import { DepartingVm } from "./departing-vm.ts";
import { type Leave, type LeavingVm, lookAtLeaving } from "./leaving/leaving-look.ts";
import { comparedOf } from "./processors/compared.ts";
import type { Compared } from "./processors/fitted-model.ts";
import { type SourceQemuRecord, sourceQemuRecord } from "./qemu-records.ts";

/** A VM that runs, as the person named it, and how it is to be moved. */
export interface QemuSpec extends Leave {
  /** Path of the QMP socket. */
  qmp: string;
  /** False: the destination is not to compare its processor and its QEMU with the VM's. */
  cpuCheck?: boolean;
  /** In milliseconds: QEMU stops the VM once it expects to send the rest within this time. */
  downtimeLimitMs: number;
  autoConverge: boolean;
  /** False: its cards do not say where it is once it goes on, there or here. */
  announces?: boolean;
  /** False: its agent is not asked to set its clock after it stood still. */
  setsTime?: boolean;
  /** Channels of the RAM (QEMU's multifd) beside the main one; 0 for none. */
  channels: number;
  /** Threads that carry streams. */
  workers: number;
  /** Limits on the time without progress that replace the usual ones. */
  stallLimits?: StallLimits | undefined;
}

/** What a departure has to know of the `send`. */
export interface QemuSending extends KeptSeal {
  /** MIGRATE_HOME: the sockets of a session lie below it. */
  home: string;
  bandwidthBytesPerSec: number | null;
  retryForMs: number;
}

/** How much longer the destination waits than the source, in milliseconds. */
const patienceMarginMs = 60_000;

/**
 * Returns the candidate for the VM behind a QMP socket; connects to QEMU only in `open`. Throws MigrateError
 * "home-unusable" if the paths of its sockets would be longer than the system allows (unix(7)).
 */
export function qemuCandidate(spec: QemuSpec, sending: QemuSending): Candidate {
  if (Buffer.byteLength(join(sending.home, "sessions", "0".repeat(16), "disk-63")) > socketPathBytes) {
    const said = "the path of MIGRATE_HOME is too long for the sockets of a move";
    throw new MigrateError("home-unusable", said, { side: "source", hint: "set it to a shorter one" });
  }
  const qmpPath = resolve(spec.qmp);
  let isGone = false;
  return {
    provider: "qemu",
    isIt: (record) => sourceQemuRecord(record)?.qmpPath === qmpPath,
    wasMovedBy: (record) => isGone && sourceQemuRecord(record)?.qmpPath === qmpPath,
    async open() {
      const qmp = await callVm(qmpPath).catch((thrown: unknown) => {
        isGone = isNobodyThere(thrown);
        throw thrown;
      });
      let name = spec.name;
      try {
        const { definition, leaving, refusals } = await lookAtLeaving(qmp, qmpPath, spec);
        name = leaving?.name ?? name ?? definition?.name ?? undefined;
        if (leaving === null) throw refusals[0];
        return openedVm(leaving, spec, sending, await comparedOf(qmp, spec.cpuCheck));
      } catch (thrown) {
        qmp.close();
        throw lookFailure(thrown).within({ vm: name });
      }
    },
  };
}

function openedVm(
  { vm, name, folder, files, left, definition, disks }: LeavingVm,
  spec: QemuSpec,
  sending: QemuSending,
  compared: Compared,
): OpenedVm {
  const { live, channels } = spec;
  const patienceMs = sending.retryForMs + patienceMarginMs;
  const machine = {
    ...{ live, definition, disks, channels, patienceMs, ...compared },
    ...(spec.announces === false ? { announce: false } : {}),
    ...(spec.setsTime === false ? { setTime: false } : {}),
  };
  const kept = keptOf(vm, left, spec, sending);
  return {
    facts: {
      name,
      vm: vm.definition.uuid ?? randomUUID(),
      files: files.map(({ kind, base, bytes, format, path, identity }) => ({
        kind,
        name: base,
        bytes,
        ...(format === undefined ? {} : { format }),
        path,
        identity,
      })),
      folder,
      bytes: [...files, ...machine.disks].reduce((sum, { bytes }) => sum + bytes, vm.definition.ramBytes),
      kept,
    },
    isStill: (gone) => hasDiskOf(gone, vm),
    // Another process cannot resume what QEMU has sent.
    resumes: () => false,
    depart: (session) =>
      new DepartingVm(vm, {
        files: HeldFiles.open(files),
        machine,
        kept,
        session,
        live,
        downtimeLimitMs: spec.downtimeLimitMs,
        channels: spec.channels,
        autoConverge: spec.autoConverge,
        bandwidthBytesPerSec: sending.bandwidthBytesPerSec,
        workers: spec.workers,
        sockets: commonGround(vm.process, vm.qmpPath) ?? socketPlace(sending.home, session, vm.user?.uid),
        stallLimits: spec.stallLimits,
      }),
    close: () => vm.qmp.close(),
  };
}

/** True if there is no socket, or nobody listens on it (unix(7)). */
function isNobodyThere(thrown: unknown): boolean {
  const { cause } = thrown as { cause?: { code?: unknown } };
  return cause?.code === "ENOENT" || cause?.code === "ECONNREFUSED";
}

function hasDiskOf(record: SessionRecord, vm: RunningVm): boolean {
  return [...record.files, ...(sourceQemuRecord(record)?.retire ?? [])].some(({ identity }) =>
    vm.disks.some((disk) => isSameFile(identity, disk.identity)),
  );
}

function keptOf(
  vm: RunningVm,
  leftBehind: string[],
  spec: QemuSpec,
  { tpmSeal }: KeptSeal,
): SourceQemuRecord {
  const retire = [...vm.disks, ...(vm.tpm === null ? [] : [vm.tpm.state])];
  return {
    side: "source",
    qmpPath: vm.qmpPath,
    qemu: vm.process,
    wasRunning: vm.running,
    before: null,
    retire: retire.map(({ path, identity }) => ({ path, identity })),
    tpm: vm.tpm && {
      swtpm: vm.tpm.swtpm,
      state: { path: vm.tpm.state.path, identity: vm.tpm.state.identity },
    },
    ...(tpmSeal === undefined ? {} : { tpmSeal }),
    leftBehind,
    announces: spec.announces !== false,
    setsTime: !spec.live && spec.setsTime !== false,
  };
}
