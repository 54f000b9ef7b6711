/**
 * `migrate delete`: takes a VM away that lies on this host, once it is certain that it is this host's, that nobody uses
 * it, and that it is on its way nowhere. Exactly the files that its vm.json names go, and what this program made beside
 * them.
 */
import { rmdirSync } from "node:fs";
import { join } from "node:path";
import { openHome } from "../../home/home.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { checkVmName, manifestName } from "../../protocol/names.ts";
import { type Manifest, readManifest } from "../../vm/folder/manifest.ts";
import { deleteOwn, type OwnEntries, ownEntries } from "../../vm/folder/own-files.ts";
import { openElsewhere } from "../../vm/holders/open-elsewhere.ts";
import { Journal } from "../journal/journal.ts";
import { requireAtRest, withVmAtRest } from "../providers/qemu/booting/vm-at-rest.ts";
import { knownStores } from "./find-vm.ts";
import { ownedBy, requireOurs, requireOwner } from "./start.ts";

export interface DeleteOptions {
  home: string;
  /** The VM's folder, absolute, with all links resolved. */
  folder: string;
}

/** What there is to be deleted. */
export interface DeletableVm extends OwnEntries {
  name: string;
  folder: string;
  /** What its files take on the disk. */
  bytes: number;
}

/**
 * Looks at a VM that is to be deleted; changes nothing. Throws MigrateError: "vm-invalid" if its folder does not say
 * what it is, "not-owner" or "in-doubt" if it is not this host's to delete, "vm-busy" if it is being sent or open in a
 * program, "vm-running" if it runs, "policy" if it is libvirt's.
 */
export function lookAtDeletable({ home: path, folder }: DeleteOptions): DeletableVm {
  const home = openHome(path);
  const manifest = readManifest(join(folder, manifestName));
  const { name } = manifest;
  const entries = ownEntries(folder, manifest);
  const files = entries.own.map((entry) => join(folder, entry.name));
  requireDeletable(home, manifest, files);
  requireAtRest({ name, folder });
  const [held] = openElsewhere(files);
  if (held !== undefined) {
    throw new MigrateError("vm-busy", `${held.path} is open in ${held.who}`, {
      hint: "End that use first: what is deleted is taken from whoever uses it.",
    });
  }
  return { name, folder, ...entries, bytes: entries.own.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/**
 * Deletes the VM, looked at once more under the locks that keep it from being started meanwhile. Returns what was
 * deleted, and what else is left in its folder. Killed on the way, it does the rest when it is called again. `removed` is
 * told of each file. Throws as `lookAtDeletable`, and "io".
 */
export async function deleteVm(
  options: DeleteOptions,
  removed?: (name: string) => void,
): Promise<DeletableVm> {
  const { name } = readManifest(join(options.folder, manifestName));
  return await withVmAtRest({ ...options, home: openHome(options.home), name }, (endRest) => {
    const vm = lookAtDeletable(options);
    try {
      deleteOwn(vm.folder, vm.own, removed);
    } catch (cause) {
      const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
      throw new MigrateError("io", `${name} could not be deleted whole (${why})`, {
        hint: `See who may write to ${vm.folder}, and run the same command again: it does the rest.`,
        cause,
      });
    }
    endRest();
    return vm;
  });
}

/**
 * Removes the folder that a `deleteVm` left which was killed at its very end: one of that name that is empty, in a store
 * that this home knows or in `store`. Returns its path; null if there is none. Never throws for what it cannot remove.
 */
export function removeEmptied(home: string, name: string, store?: string): string | null {
  if (checkVmName(name) !== null) return null;
  for (const at of store === undefined ? knownStores(home) : [store]) {
    try {
      rmdirSync(join(at, name));
      return join(at, name);
    } catch {
      // Not there, not empty, or not this user's.
    }
  }
  return null;
}

function requireDeletable(home: string, manifest: Manifest, files: readonly string[]): void {
  const { name, manager, ownership } = manifest;
  if (manager === "libvirt") {
    throw new MigrateError("policy", `${name} is a domain of libvirt's: its files alone are not the VM`, {
      hint: `virsh undefine ${name} --remove-all-storage deletes it (see virsh(1))`,
    });
  }
  if (ownership === undefined) {
    throw new MigrateError("not-owner", `${name} did not come here by migrate: whose it is is not known`, {
      hint: "what was made by hand, or by another program, is deleted by hand",
    });
  }
  // A copy beside a VM that runs elsewhere is this host's own; of a VM that was moved here there is no other.
  if (ownership.state === "owner") requireOwner(manifest, files);
  const isIts = ownedBy(files);
  const journal = Journal.open(home);
  try {
    requireOurs(journal, manifest, files);
    // What is copied is read by this program alone, which is no use of the files by itself (`openElsewhere`).
    const copying = journal.open().find((record) => record.side === "source" && isIts(record));
    if (copying !== undefined) {
      throw new MigrateError("vm-busy", `${name} is being copied to ${copying.address}`, {
        hint: `wait for that; migrate resolve ${copying.session.slice(0, 12)} --cancel gives it up`,
      });
    }
  } finally {
    journal.close();
  }
}
