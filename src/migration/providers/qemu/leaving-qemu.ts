/** A VM that runs under QEMU, as it leaves: found by its QMP socket, opened, and offered. */
import { randomUUID } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { allocatedBytes } from "../../../platform/filesystem.ts";
import { socketPathBytes } from "../../../platform/unix-socket.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { limits } from "../../../protocol/limits.ts";
import { checkVmName, manifestName } from "../../../protocol/names.ts";
import type { OfferedMachine } from "../../../protocol/offer.ts";
import { fileIdentity } from "../../../vm/folder/file-identity.ts";
import { readManifest } from "../../../vm/folder/manifest.ts";
import type { Vm, VmFile } from "../../../vm/folder/vm-folder.ts";
import { modelOf } from "../../../vm/qemu/definition/definition.ts";
import { readModel } from "../../../vm/qemu/definition/schema.ts";
import { HeldFiles } from "../../../vm/qemu/held-files.ts";
import { openRunningVm, type RunningVm } from "../../../vm/qemu/running-vm.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { Candidate, OpenedVm } from "../departure.ts";
import { DepartingVm } from "./departing-vm.ts";
import { type SourceQemuRecord, sourceQemuRecord } from "./qemu-records.ts";
import type { StallLimits } from "./stall-watch.ts";

/** A VM that runs, as the person named it, and how it is to be moved. */
export interface QemuSpec {
  /** Path of the QMP socket. */
  qmp: string;
  /** The VM's name; if absent, the one in its command line. */
  name?: string | undefined;
  /** Mirror the disks while the VM runs; otherwise it is stopped first. */
  live: boolean;
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
  return {
    provider: "qemu",
    isIt: (record) => sourceQemuRecord(record)?.qmpPath === qmpPath,
    wasMovedBy: () => false,
    async open() {
      const vm = await openRunningVm(qmpPath);
      try {
        return openedVm(vm, spec, sending);
      } catch (thrown) {
        vm.qmp.close();
        throw thrown;
      }
    },
  };
}

function openedVm(vm: RunningVm, spec: QemuSpec, sending: QemuSending): OpenedVm {
  const { live } = spec;
  const { name, files } = filesOf(vm, spec.name, live);
  const machine = offerOf(vm, spec, sending);
  return {
    facts: {
      name,
      vm: vm.definition.uuid ?? randomUUID(),
      files: files.map(({ kind, base, bytes, path }) => ({
        kind,
        name: base,
        bytes,
        path,
        identity: fileIdentity(path)!,
      })),
      folder: ownFolder(vm),
      bytes: [...files, ...machine.disks].reduce((sum, { bytes }) => sum + bytes, vm.definition.ramBytes),
      kept: keptOf(vm),
    },
    isStill: (gone) => hasDiskOf(gone, vm),
    // Another process cannot resume what QEMU has sent.
    resumes: () => false,
    depart: (session) =>
      new DepartingVm(vm, {
        files: HeldFiles.open(files),
        allocatedBytes: files.map(({ allocatedBytes }) => allocatedBytes),
        machine,
        live,
        downtimeLimitMs: spec.downtimeLimitMs,
        channels: spec.channels,
        autoConverge: spec.autoConverge,
        bandwidthBytesPerSec: sending.bandwidthBytesPerSec,
        workers: spec.workers,
        socketFolder: join(sending.home, "sessions", session.slice(0, 16)),
        stallLimits: spec.stallLimits,
      }),
    close: () => vm.qmp.close(),
  };
}

function hasDiskOf(record: SessionRecord, vm: RunningVm): boolean {
  const identities = new Set(vm.disks.map(({ path }) => fileIdentity(path)));
  return [...record.files, ...(sourceQemuRecord(record)?.retire ?? [])].some(
    ({ identity }) => identity !== undefined && identities.has(identity),
  );
}

/** The files that go as chunks: those from which the VM was started, and its disks if it is stopped first. */
function filesOf(vm: RunningVm, asked: string | undefined, live: boolean): Vm {
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
  const backed = vm.disks.find(({ hasBacking }) => hasBacking);
  if (backed !== undefined && !live) {
    throw new MigrateError("vm-invalid", `${backed.path} is not a whole disk: it has a backing file`, {
      side: "source",
      hint: "--mode live flattens it on the way.",
    });
  }
  if (vm.definition.files.length === 0) {
    throw new MigrateError("vm-invalid", "The VM has no file at all: neither disk nor kernel nor image", {
      side: "source",
      hint: "There is nothing of it that a store could keep.",
    });
  }
  const paths = new Map([...vm.disks, ...vm.boot].map(({ file, path }) => [file, path]));
  const files = vm.definition.files
    .filter(({ kind }) => kind === "boot" || !live)
    .map((file) => describe(file.kind, paths.get(file)!, file.name));
  return { name, files };
}

function describe(kind: "disk" | "boot", path: string, base: string): VmFile {
  const stat = statSync(path, { bigint: true });
  return {
    kind,
    path,
    base,
    bytes: Number(stat.size),
    allocatedBytes: allocatedBytes(path),
    dev: stat.dev,
    ino: stat.ino,
    birthtimeNs: stat.birthtimeNs,
    mtimeNs: stat.mtimeNs,
  };
}

function offerOf(vm: RunningVm, { live, channels }: QemuSpec, { retryForMs }: QemuSending): OfferedMachine {
  return {
    live,
    ...(vm.running ? {} : { paused: true }),
    definition: offeredModel(vm),
    disks: live
      ? vm.disks.map(({ file, bytes, allocatedBytes }) => ({
          name: file.name,
          format: file.format,
          bytes,
          allocatedBytes: Math.min(allocatedBytes, limits.vmBytes),
        }))
      : [],
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

function keptOf(vm: RunningVm): SourceQemuRecord {
  const retire = [...vm.disks.map(({ path }) => path), ...(vm.tpm === null ? [] : [vm.tpm.stateFolder])];
  return {
    side: "source",
    qmpPath: vm.qmpPath,
    qemu: vm.process,
    wasRunning: vm.running,
    retire: retire.map((path) => ({ path, identity: fileIdentity(path)! })),
    tpm: vm.tpm && { swtpm: vm.tpm.swtpm },
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
