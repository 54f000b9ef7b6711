/**
 * Whether a VM that runs can leave this host, and as what: the one set of checks that `send` goes by before anything of
 * the VM is sent, and that `explain` shows. Changes nothing.
 */
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { statBlockBytes } from "../../../../platform/files/filesystem.ts";
import { MigrateError } from "../../../../protocol/errors.ts";
import { claimedBytes } from "../../../../protocol/image-shape.ts";
import { limits } from "../../../../protocol/limits.ts";
import { checkVmName, manifestName } from "../../../../protocol/names.ts";
import type { OfferedMachine } from "../../../../protocol/offer.ts";
import { checkImage } from "../../../../vm/disks/disk-format.ts";
import { readManifest } from "../../../../vm/folder/manifest.ts";
import type { VmFile } from "../../../../vm/folder/vm-folder.ts";
import {
  type DefinitionFile,
  modelOf,
  type QemuDefinition,
} from "../../../../vm/qemu/definition/definition.ts";
import type { VmModel } from "../../../../vm/qemu/definition/model.ts";
import { readModel } from "../../../../vm/qemu/definition/schema.ts";
import { shapeOf } from "../../../../vm/qemu/images/image-info.ts";
import { type Droppable, leftBehind, requireWhole } from "../../../../vm/qemu/images/left-behind.ts";
import { requireMirrorable } from "../../../../vm/qemu/mirrorable.ts";
import type { QemuFile } from "../../../../vm/qemu/qemu-files.ts";
import type { Qmp } from "../../../../vm/qemu/qmp/qmp.ts";
import { Refusals } from "../../../../vm/qemu/refusals.ts";
import { lookAtVm, type RunningDisk, type RunningVm } from "../../../../vm/qemu/running-vm.ts";
import type { SessionRecord } from "../../../journal/journal.ts";
import { requireRetirable } from "../../files/retire.ts";
import { requireUnheldBesides } from "./other-holders.ts";

/** How a VM is to leave. */
export interface Leave {
  /** Its name there; if absent, the one in its command line. */
  name?: string | undefined;
  /** Mirror the disks while the VM runs; otherwise it is stopped first. */
  live: boolean;
  /** What of its disks may stay behind. */
  drop?: readonly Droppable[];
  /** What becomes of its files here once it has moved; as `send` does if absent. */
  after?: SessionRecord["after"] | undefined;
}

/** A VM that can leave. */
export interface LeavingVm {
  vm: RunningVm;
  name: string;
  /** Its own folder, if it has one. */
  folder: string | null;
  /** What goes as chunks. */
  files: LeavingFile[];
  /** What stays behind, in words. */
  left: string[];
  /** What a destination is told of it. */
  definition: OfferedMachine["definition"];
  /** What goes as streams beside the RAM. */
  disks: OfferedMachine["disks"];
}

/** What was found of a VM. */
export interface LeavingLook {
  /** Null if its command line is refused. */
  definition: QemuDefinition | null;
  /** What a destination is told of it; null as above, or if that is refused. */
  model: VmModel | null;
  /** Sentences on what is left out, replaced, flattened or left behind. */
  notes: string[];
  /** All that keeps it from leaving, in the order in which it was found; `send` ends with the first. */
  refusals: readonly MigrateError[];
  /** Null if anything is refused. */
  leaving: LeavingVm | null;
}

/**
 * Looks at the VM of the QEMU behind `qmp`, which listens at `qmpPath`. Throws MigrateError "vm-invalid" if its process
 * cannot be looked at, and QmpError.
 */
export async function lookAtLeaving(qmp: Qmp, qmpPath: string, leave: Leave): Promise<LeavingLook> {
  const { live, drop = [] } = leave;
  const refusals = new Refusals();
  const { definition, notes: said, vm } = await lookAtVm(qmp, qmpPath, refusals);
  const notes = [...said];
  if (definition === null) return { definition, model: null, notes, refusals: refusals.all, leaving: null };
  const name = refusals.attempt(() => nameOf(definition, leave.name));
  const model = refusals.attempt(() => offeredModel(definition)) ?? null;
  refusals.attempt(() => requireFile(definition));
  if (live) refusals.attempt(() => requireMirrorable(definition));
  if (vm === null) return { definition, model, notes, refusals: refusals.all, leaving: null };
  if (!live) refusals.attempt(() => requireWhole(vm.disks));
  const left = refusals.attempt(() => leftBehind(vm.disks, { live, drop }));
  const files = refusals.attempt(() => filesOf(vm, live));
  const disks = refusals.attempt(() => (live ? vm.disks.map((disk) => offeredDisk(disk)) : []));
  const folder = ownFolder(vm);
  const retired = [...(files ?? []), ...vm.disks, ...(vm.tpm === null ? [] : [vm.tpm.state])];
  refusals.attempt(() => requireRetirable({ after: leave.after ?? "rename", folder }, retired));
  const unseen = refusals.attempt(() => requireUnheldBesides(vm));
  const backed = live ? vm.disks.filter(({ hasBacking }) => hasBacking) : [];
  notes.push(
    ...backed.map(({ path }) => `${path} has a backing file, and is flattened on the way`),
    ...(left ?? []).map((what) => `${what} stay behind`),
    ...(unseen == null ? [] : [unseen]),
  );
  const isWhole =
    name !== undefined && model !== null && left !== undefined && files !== undefined && disks !== undefined;
  const leaving: LeavingVm | null =
    isWhole && refusals.all.length === 0
      ? { vm, name, folder, files, left, disks, definition: { ...model } }
      : null;
  return { definition, model, notes, refusals: refusals.all, leaving };
}

function nameOf({ name: own }: QemuDefinition, asked: string | undefined): string {
  const name = asked ?? own;
  if (name === null) {
    throw new MigrateError("usage", "The VM's command line gives it no name", {
      side: "source",
      hint: "Give it one with --name.",
    });
  }
  const wrong = checkVmName(name);
  if (wrong === null) return name;
  throw new MigrateError("vm-invalid", `The VM cannot be moved under its name: ${wrong}`, {
    side: "source",
    hint: "Give it another one with --name.",
  });
}

function requireFile({ files }: QemuDefinition): void {
  if (files.length > 0) return;
  throw new MigrateError("vm-invalid", "The VM has no file at all: neither disk nor kernel nor image", {
    side: "source",
    hint: "There is nothing of it that a store could keep.",
  });
}

/** The files that go as chunks: those from which the VM was started, and its disks if it is stopped first. */
function filesOf(vm: RunningVm, live: boolean): LeavingFile[] {
  const found = new Map([...vm.disks, ...vm.boot].map((one) => [one.file, one]));
  return vm.definition.files
    .filter(({ kind }) => kind === "boot" || !live)
    .map((file) => describe(file, found.get(file)!));
}

/** A file that goes as chunks, with the identity that it had when it was found to be the VM's. */
export type LeavingFile = VmFile & { identity: string };

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

/** The VM as a destination is told of it. Throws MigrateError as the destination would, before it is asked. */
function offeredModel(definition: QemuDefinition): VmModel {
  const model = modelOf(definition);
  if (Buffer.byteLength(JSON.stringify(model)) > limits.modelBytes) {
    throw new MigrateError("limit", "The VM has more devices and options than can be told of", {
      side: "source",
    });
  }
  return readModel(JSON.parse(JSON.stringify(model)));
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
