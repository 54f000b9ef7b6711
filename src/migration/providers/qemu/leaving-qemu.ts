/** A VM that runs under QEMU, as it leaves: found by its QMP socket, opened, and offered. */
import { randomUUID } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { statBlockBytes } from "../../../platform/files/filesystem.ts";
import { socketPathBytes } from "../../../platform/unix-socket.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { claimedBytes } from "../../../protocol/image-shape.ts";
import { limits } from "../../../protocol/limits.ts";
import { checkVmName, manifestName } from "../../../protocol/names.ts";
import type { OfferedMachine } from "../../../protocol/offer.ts";
import { checkImage } from "../../../vm/disks/disk-format.ts";
import { isSameFile } from "../../../vm/folder/file-identity.ts";
import { readManifest } from "../../../vm/folder/manifest.ts";
import type { VmFile } from "../../../vm/folder/vm-folder.ts";
import { commonGround } from "../../../vm/qemu/common-ground.ts";
import type { DefinitionFile } from "../../../vm/qemu/definition/definition.ts";
import { modelOf } from "../../../vm/qemu/definition/definition.ts";
import { readModel } from "../../../vm/qemu/definition/schema.ts";
import { HeldFiles } from "../../../vm/qemu/held-files.ts";
import { shapeOf } from "../../../vm/qemu/images/image-info.ts";
import { type Droppable, leftBehind, requireWhole } from "../../../vm/qemu/images/left-behind.ts";
import type { QemuFile } from "../../../vm/qemu/qemu-files.ts";
import { openRunningVm, type RunningDisk, type RunningVm } from "../../../vm/qemu/running-vm.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { Candidate, OpenedVm } from "../departure.ts";
import { DepartingVm } from "./departing-vm.ts";
import { comparedOf } from "./processors/compared.ts";
import type { Compared } from "./processors/fitted-model.ts";
import { type SourceQemuRecord, sourceQemuRecord } from "./qemu-records.ts";
import { socketPlace } from "./socket-place.ts";
import type { StallLimits } from "./stall-watch.ts";

/** A VM that runs, as the person named it, and how it is to be moved. */
export interface QemuSpec {
  /** Path of the QMP socket. */
  qmp: string;
  /** The VM's name; if absent, the one in its command line. */
  name?: string | undefined;
  /** Mirror the disks while the VM runs; otherwise it is stopped first. */
  live: boolean;
  /** What of its disks may stay behind. */
  drop?: readonly Droppable[];
  /** False: the destination is not to compare its processor and its QEMU with the VM's. */
  cpuCheck?: boolean;
  /** In milliseconds: QEMU stops the VM once it expects to send the rest within this time. */
  downtimeLimitMs: number;
  autoConverge: boolean;
  /** Channels of the RAM (QEMU's multifd) beside the main one; 0 for none. */
  channels: number;
  /** Threads that carry streams. */
  workers: number;
  /** Limits on the time without progress that replace the usual ones. */
  stallLimits?: StallLimits | undefined;
}

/** What a departure has to know of the `send`. */
export interface QemuSending {
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
      const vm = await openRunningVm(qmpPath).catch((thrown: unknown) => {
        isGone = isNobodyThere(thrown);
        throw thrown;
      });
      try {
        return openedVm(vm, spec, sending, await comparedOf(vm.qmp, spec.cpuCheck));
      } catch (thrown) {
        vm.qmp.close();
        throw thrown;
      }
    },
  };
}

function openedVm(vm: RunningVm, spec: QemuSpec, sending: QemuSending, compared: Compared): OpenedVm {
  const { live } = spec;
  const { name, files } = filesOf(vm, spec.name, live);
  const left = leftBehind(vm.disks, { live, drop: spec.drop ?? [] });
  const machine = { ...offerOf(vm, spec, sending), ...compared };
  const kept = keptOf(vm, left);
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
      folder: ownFolder(vm),
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

/** The files that go as chunks: those from which the VM was started, and its disks if it is stopped first. */
function filesOf(
  vm: RunningVm,
  asked: string | undefined,
  live: boolean,
): { name: string; files: LeavingFile[] } {
  const name = asked ?? vm.definition.name;
  if (name === null || name === undefined) {
    throw new MigrateError("usage", "The VM's command line gives it no name", {
      side: "source",
      hint: "Give it one with --name.",
    });
  }
  const wrong = checkVmName(name);
  if (wrong !== null) {
    throw new MigrateError("vm-invalid", `The VM cannot be moved under its name: ${wrong}`, {
      side: "source",
      hint: "Give it another one with --name.",
    });
  }
  if (!live) requireWhole(vm.disks);
  if (vm.definition.files.length === 0) {
    throw new MigrateError("vm-invalid", "The VM has no file at all: neither disk nor kernel nor image", {
      side: "source",
      hint: "There is nothing of it that a store could keep.",
    });
  }
  const found = new Map([...vm.disks, ...vm.boot].map((one) => [one.file, one]));
  const files = vm.definition.files
    .filter(({ kind }) => kind === "boot" || !live)
    .map((file) => describe(file, found.get(file)!));
  return { name, files };
}

/** A file that goes as chunks, with the identity that it had when it was found to be the VM's. */
type LeavingFile = VmFile & { identity: string };

/**
 * The path may lead elsewhere by now: what opens it compares (`HeldFiles`). Throws MigrateError "vm-invalid" if an image
 * that goes as it is names another file.
 */
function describe(
  { kind, name, format }: DefinitionFile,
  { path, dev, ino, identity }: QemuFile,
): LeavingFile {
  const { size, blocks, birthtimeNs, mtimeNs } = statSync(path, { bigint: true });
  const allocatedBytes = Number(blocks) * statBlockBytes;
  checkImage(path, { shownAs: path, declared: format, forQemu: true });
  return {
    ...{ kind, path, base: name, format, bytes: Number(size), allocatedBytes },
    ...{ dev, ino, birthtimeNs, mtimeNs, identity },
  };
}

function offerOf(
  vm: RunningVm,
  { live, channels }: QemuSpec,
  { retryForMs }: QemuSending,
): Omit<OfferedMachine, "paused"> {
  return {
    live,
    definition: offeredModel(vm),
    disks: live ? vm.disks.map((disk) => offeredDisk(disk)) : [],
    channels,
    patienceMs: retryForMs + patienceMarginMs,
  };
}

/** The VM as a destination is told of it. Throws MigrateError as the destination would, before it is asked. */
function offeredModel(vm: RunningVm): OfferedMachine["definition"] {
  const model = modelOf(vm.definition);
  if (Buffer.byteLength(JSON.stringify(model)) > limits.modelBytes) {
    throw new MigrateError("limit", "The VM has more devices and options than can be told of", {
      side: "source",
    });
  }
  return { ...readModel(JSON.parse(JSON.stringify(model))) };
}

function offeredDisk({ file, path, bytes, dataBytes, info }: RunningDisk): OfferedMachine["disks"][number] {
  const image = shapeOf(path, file.format, info);
  // One that has its room reserved takes it there as well, whatever of it is in use.
  const roomBytes = Math.max(dataBytes, claimedBytes(image, bytes));
  return {
    name: file.name,
    format: file.format,
    bytes,
    allocatedBytes: Math.min(roomBytes, limits.vmBytes),
    image,
  };
}

function keptOf(vm: RunningVm, leftBehind: string[]): SourceQemuRecord {
  const retire = [...vm.disks, ...(vm.tpm === null ? [] : [vm.tpm.state])];
  return {
    side: "source",
    qmpPath: vm.qmpPath,
    qemu: vm.process,
    wasRunning: vm.running,
    before: null,
    retire: retire.map(({ path, identity }) => ({ path, identity })),
    tpm: vm.tpm && { swtpm: vm.tpm.swtpm },
    leftBehind,
  };
}

/** The VM's own folder, if all its disks lie in one whose vm.json names them: it is retired as a whole. */
function ownFolder(vm: RunningVm): string | null {
  const [folder, ...others] = new Set(vm.disks.map(({ path }) => dirname(path)));
  if (folder === undefined || others.length > 0 || !existsSync(join(folder, manifestName))) return null;
  try {
    const { files } = readManifest(join(folder, manifestName));
    const known = new Set(files.map(({ file }) => file));
    return vm.disks.every(({ path }) => known.has(basename(path))) ? folder : null;
  } catch {
    return null;
  }
}
