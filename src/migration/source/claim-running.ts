/** Which session a `send` of a running VM is about: one whose end is left, or a new one. */
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { checkVmName, manifestName } from "../../protocol/names.ts";
import type { OfferedMachine } from "../../protocol/offer.ts";
import { readManifest } from "../../vm/folder/manifest.ts";
import type { Vm, VmFile } from "../../vm/folder/vm-folder.ts";
import { openRunningVm, type RunningVm } from "../../vm/qemu/running-vm.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import { type SourceMachine, sourceMachine } from "../journal/machine-record.ts";
import { fileIdentity } from "../providers/files/retire.ts";
import { lockSession, releasedElsewhere, requireNotMoved } from "./claim.ts";
import { type GivingUp, giveUpRunning, isToGoOnHere } from "./give-up.ts";

export interface RunningSpec {
  /** Path of the QMP socket. */
  qmp: string;
  /** What the VM is to be called; by its command line where absent. */
  name?: string | undefined;
}

export interface ClaimRunningOptions {
  spec: RunningSpec;
  /** host:port */
  address: string;
  after: "keep" | "rename" | "delete";
  live: boolean;
  channels: number;
  retryForMs: number;
  now: () => number;
}

export interface RunningClaim {
  record: SessionRecord;
  /** Null where only the end is left to do. */
  departing: { vm: RunningVm; files: Vm; machine: OfferedMachine } | null;
  release: () => void;
}

/** The destination outwaits the source by so much. */
const patienceMarginMs = 60_000;

/**
 * Finds or begins the session. What an earlier process left under way and did not release is given up
 * first. Throws MigrateError: "vm-invalid" and "policy" for a VM that cannot be moved, "vm-busy" where
 * another process moves it, "not-owner" where it was moved away, "in-doubt" where it was released to
 * another destination.
 */
export async function claimRunning(
  journal: Journal,
  home: string,
  options: ClaimRunningOptions,
  givingUp: GivingUp,
): Promise<RunningClaim> {
  const { spec, address, live } = options;
  const qmpPath = resolve(spec.qmp);
  for (const found of journal
    .all("source")
    .filter((record) => isBehind(record, qmpPath) && (record.endedAtMs === null || isToGoOnHere(record)))) {
    const release = lockSession(home, found);
    const record = journal.find(found.session)!;
    if (record.state === "released" || record.state === "confirmed") {
      if (record.address === address) return { record, departing: null, release };
      release();
      throw releasedElsewhere(record);
    }
    try {
      await giveUpRunning(record.session, givingUp);
    } finally {
      release();
    }
  }
  const vm = await openRunningVm(qmpPath);
  try {
    const files = filesOf(vm, spec.name, live);
    requireNotMoved(
      journal,
      (record) => hasDiskOf(record, vm),
      () => true,
    );
    const machine = offerOf(vm, options);
    const record = newRecord(vm, files, machine, options);
    const release = lockSession(home, record);
    try {
      journal.write("sending", () => {
        const rival = journal
          .open("source")
          .find((other) => hasDiskOf(other, vm) || isBehind(other, qmpPath));
        if (rival !== undefined) {
          throw new MigrateError("vm-busy", `${rival.name} is being sent by another process`, {
            side: "source",
            hint: `migrate status shows session ${rival.session.slice(0, 12)}`,
          });
        }
        journal.insert(record);
      });
    } catch (thrown) {
      release();
      throw thrown;
    }
    return { record, departing: { vm, files, machine }, release };
  } catch (thrown) {
    vm.qmp.close();
    throw thrown;
  }
}

function isBehind({ machine }: SessionRecord, qmpPath: string): boolean {
  return sourceMachine(machine)?.qmpPath === qmpPath;
}

function hasDiskOf(record: SessionRecord, vm: RunningVm): boolean {
  const identities = new Set(vm.disks.map(({ path }) => fileIdentity(path)));
  return [...record.files, ...(sourceMachine(record.machine)?.retire ?? [])].some(
    ({ identity }) => identity !== undefined && identities.has(identity),
  );
}

/** What of the VM goes as chunks: what it was started from, and its disks where it is stopped for it. */
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
    allocatedBytes: Number(stat.blocks) * 512,
    dev: stat.dev,
    ino: stat.ino,
    birthtimeNs: stat.birthtimeNs,
    mtimeNs: stat.mtimeNs,
  };
}

function offerOf(vm: RunningVm, { live, channels, retryForMs }: ClaimRunningOptions): OfferedMachine {
  return {
    live,
    ...(vm.running ? {} : { paused: true }),
    words: vm.words,
    ...(vm.machineType === undefined ? {} : { machineType: vm.machineType }),
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

function newRecord(
  vm: RunningVm,
  files: Vm,
  machine: OfferedMachine,
  { address, after, now }: ClaimRunningOptions,
): SessionRecord {
  const nowMs = now();
  return {
    session: randomBytes(16).toString("hex"),
    side: "source",
    name: files.name,
    vm: vm.definition.uuid ?? randomUUID(),
    mode: "move",
    peer: "",
    address,
    state: "sending",
    phase: "begin",
    attempt: 0,
    tagKey: randomBytes(16).toString("hex"),
    files: files.files.map(({ kind, base, bytes, path }) => ({
      kind,
      name: base,
      bytes,
      path,
      identity: fileIdentity(path)!,
    })),
    folder: ownFolder(vm),
    store: null,
    after,
    digest: null,
    bytes: [...files.files, ...machine.disks].reduce((sum, { bytes }) => sum + bytes, vm.definition.ramBytes),
    doneBytes: 0,
    wireBytes: 0,
    machine: sourceMachineOf(vm),
    settled: false,
    acknowledged: false,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    endedAtMs: null,
  };
}

function sourceMachineOf(vm: RunningVm): SourceMachine {
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

/** The VM's own folder, where all its disks lie in one that a vm.json says is theirs: it is retired as a whole. */
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
