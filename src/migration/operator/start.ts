/**
 * `migrate start`: starts a VM that lies on this host, from the definition in its vm.json, once it is certain that
 * it is this host's and that nobody else has it.
 */
import { realpathSync } from "node:fs";
import { basename, join } from "node:path";
import { openHome } from "../../home/home.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { manifestName } from "../../protocol/names.ts";
import { fileIdentity, isSameFile } from "../../vm/folder/file-identity.ts";
import { type Manifest, readManifest, tpmFolder } from "../../vm/folder/manifest.ts";
import { releaseMark } from "../../vm/folder/release-mark.ts";
import { permanentState } from "../../vm/tpm/ek-of-state.ts";
import { Journal, type SessionRecord } from "../journal/journal.ts";
import { destinationMayRun } from "../ownership/owner.ts";
import type { DestinationRecord } from "../ownership/records.ts";
import { providerOf } from "../providers/providers.ts";
import type { QemuPolicy } from "../providers/qemu/arriving-command.ts";
import { type BootedVm, bootVm } from "../providers/qemu/booting/boot-vm.ts";
import { type LyingVm, lyingVm } from "../providers/qemu/booting/lying-vm.ts";
import { readRules, type StartRules } from "../providers/qemu/booting/start-rules.ts";
import { requireRecordedTpm } from "../providers/recorded-tpm.ts";

export interface StartOptions {
  home: string;
  /** The VM's folder. */
  folder: string;
  policy: QemuPolicy;
}

/**
 * Starts the VM, or finds that it runs. Throws MigrateError: "vm-invalid" if its folder does not say what it is,
 * "not-owner" or "in-doubt" if it is not this host's, "vm-busy" if it is being sent, and as `bootVm` does.
 */
export async function startVm({
  home: path,
  folder: given,
  policy,
}: StartOptions): Promise<BootedVm & { name: string }> {
  const home = openHome(path);
  const folder = folderOf(given);
  const { manifest, vm } = startable(folder);
  const { name } = manifest;
  const journal = Journal.open(home);
  try {
    requireOurs(journal, manifest, vm.files);
  } finally {
    journal.close();
  }
  const state = join(folder, tpmFolder, permanentState);
  const unseen = vm.hasTpm ? await requireRecordedTpm(manifest, state) : null;
  const booted = await bootVm({ home, name, folder, definition: vm.definition, policy });
  return { name, ...booted, notes: [...booted.notes, ...(unseen === null ? [] : [unseen])] };
}

/**
 * Throws MigrateError as `startVm` does if the VM in that folder is none that this host can start, whatever else runs
 * here at the moment.
 */
export function requireStartable(given: string): void {
  const folder = folderOf(given);
  readRules(startable(folder).manifest.here);
}

function startable(folder: string): { manifest: Manifest; vm: LyingVm } {
  const manifest = readManifest(join(folder, manifestName));
  if (manifest.manager === "libvirt") {
    throw new MigrateError("vm-invalid", `${manifest.name} is libvirt's to run`, {
      hint: `virsh start ${manifest.name}; virsh autostart ${manifest.name} has it started at boot`,
    });
  }
  // Of one that was moved away the state of its TPM is destroyed: whose it is comes first.
  requireUnreleased(
    manifest.name,
    manifest.files.map(({ file }) => join(folder, file)),
  );
  const vm = lyingVm(folder, manifest);
  requireOwner(manifest, vm.files);
  return { manifest, vm };
}

/** How the VM in that folder is started if nobody says otherwise. Throws MigrateError "vm-invalid". */
export function startRules(folder: string): StartRules {
  return readRules(readManifest(join(folderOf(folder), manifestName)).here);
}

function folderOf(given: string): string {
  try {
    return realpathSync(given);
  } catch (cause) {
    const why = (cause as { code?: unknown }).code === "ENOENT" ? "is not there" : "cannot be looked at";
    throw new MigrateError("vm-invalid", `${given} ${why}`, {
      hint: "migrate ls --store DIR shows the VMs that lie in a store",
      cause,
    });
  }
}

/** By what lies here: vm.json, and the marks of a release. Throws MigrateError "not-owner". */
export function requireOwner({ name, ownership }: Manifest, files: readonly string[]): void {
  if (ownership?.state !== "owner") {
    throw new MigrateError("not-owner", `vm.json does not say that this host owns ${name}`, {
      hint: "a copy stands beside a VM that runs elsewhere: start it by hand, under another name",
    });
  }
  requireUnreleased(name, files);
}

/** By the marks of a release; of files that are not there nothing is known. Throws MigrateError "not-owner". */
function requireUnreleased(name: string, files: readonly string[]): void {
  for (const path of files) {
    const mark = releaseMark(path);
    if (mark === null) continue;
    throw new MigrateError(
      "not-owner",
      `${basename(path)} of ${name} says that it was released to ${mark.to}`,
      {
        hint: `ask there (session ${mark.session.slice(0, 12)}); if it does not have the VM and never will, take the mark off with: setfattr -x user.migrate.released FILE`,
      },
    );
  }
}

/** By the journal: its coming has ended, and it is not going. Throws MigrateError "in-doubt", "vm-busy", "not-owner". */
export function requireOurs(journal: Journal, { name, ownership }: Manifest, files: readonly string[]): void {
  const came = journal.find(ownership!.session);
  if (came?.side === "destination" && !isOver(came)) {
    throw new MigrateError(
      "in-doubt",
      `the move of ${name} to this host has not ended: it is ${came.state}`,
      {
        hint: `run migrate serve until it has, or migrate resolve ${came.session.slice(0, 12)}`,
      },
    );
  }
  const isIts = ownedBy(files);
  const going = journal
    .all("source")
    .find((record) => record.mode === "move" && record.state !== "cancelled" && isIts(record));
  if (going === undefined) return;
  const session = going.session.slice(0, 12);
  if (going.state === "sending") {
    throw new MigrateError("vm-busy", `${name} is being sent to ${going.address}`, {
      hint: `migrate resolve ${session} --cancel gives that up`,
    });
  }
  throw new MigrateError("not-owner", `${name} was moved to ${going.address}`, {
    hint: `see migrate history; session ${session}`,
  });
}

/** Whether one of these files is among those of a session. */
export function ownedBy(files: readonly string[]): (record: SessionRecord) => boolean {
  const identities = files.map(fileIdentity);
  return (record) =>
    providerOf(record)
      .ownFiles(record)
      .some(({ identity }) => identities.some((own) => isSameFile(own, identity)));
}

function isOver({ state, mode, endedAtMs }: SessionRecord): boolean {
  return endedAtMs !== null && destinationMayRun(state as DestinationRecord, mode);
}
