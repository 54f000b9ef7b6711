/**
 * Finding a VM of this host by what a person calls it: its name alone, looked for in the stores that this home knows,
 * or the path of its folder.
 */
import { existsSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { openHome } from "../../home/home.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { checkVmName, manifestName } from "../../protocol/names.ts";
import { storedVms } from "../../vm/folder/stored-vms.ts";
import { Journal, type SessionRecord } from "../journal/journal.ts";
import { foldersRunFrom } from "../providers/qemu/booting/runs-from.ts";

export interface FindOptions {
  home: string;
  /** A name; what has a slash in it is the path of the VM's folder. */
  given: string;
  /** The one store to look in; all that this home knows if absent. */
  store?: string | undefined;
}

export interface FoundVm {
  /** From its vm.json; the folder's own name if that cannot be read. */
  name: string;
  /** Absolute, with all links resolved. */
  folder: string;
  /** What is wrong with its vm.json, as a sentence; absent if nothing is. */
  broken?: string;
}

/** Most names in a hint. */
const shownNames = 8;

/**
 * The one VM that is meant. A VM whose vm.json is broken is found as well: whoever needs it reads it, and says so.
 * Throws MigrateError "vm-invalid" if there is none or more than one, "vm-busy" if it is still on its way here,
 * "name-invalid" for what is no name of a VM, "store-unusable" for a store that was given and cannot be read, and
 * "home-unusable".
 */
export function findVm({ home, given, store }: FindOptions): FoundVm {
  if (given.includes("/")) return vmAt(store === undefined ? given : refusePath(given));
  const wrong = checkVmName(given);
  if (wrong !== null) throw new MigrateError("name-invalid", `there is no VM of such a name: ${wrong}`);
  const stores = store === undefined ? knownStores(home) : [store];
  const vms = stores.flatMap((path) => lyingIn(path, store !== undefined));
  const found = vms.filter(({ name, folder }) => name === given || basename(folder) === given);
  const [vm, ...others] = found;
  if (vm === undefined) throw notFound(home, given, stores, vms);
  if (others.length === 0) return vm;
  throw new MigrateError(
    "vm-invalid",
    `more than one VM here is called ${given}: ${found.map(({ folder }) => folder).join(" and ")}`,
    { hint: "give the folder of the one that is meant, or its store with --store" },
  );
}

/**
 * The stores that this home knows, absolute, each once: those to which a session of its journal brought a VM, and
 * those that VMs run from. One that is gone is left out. Throws MigrateError "home-unusable".
 */
export function knownStores(home: string): string[] {
  const fromJournal = readJournal(home, (journal) =>
    journal.all("destination").flatMap(({ store }) => store ?? []),
  );
  const stores = [...fromJournal, ...foldersRunFrom(home).map(dirname)].flatMap(
    (path) => realPath(path) ?? [],
  );
  return [...new Set(stores)].sort();
}

function refusePath(given: string): never {
  throw new MigrateError("usage", `with --store a VM is named by its name, not by a path like ${given}`);
}

/** A folder is taken at its word: what it lacks is said by whoever needs that. */
function vmAt(given: string): FoundVm {
  const folder = realPath(resolve(given));
  if (folder === null) {
    throw new MigrateError("vm-invalid", `${given} is not there, or cannot be looked at`, {
      hint: "migrate ls --store DIR shows the VMs that lie in a store",
    });
  }
  return (
    lyingIn(dirname(folder), false).find((vm) => vm.folder === folder) ?? { name: basename(folder), folder }
  );
}

function lyingIn(store: string, wasGiven: boolean): FoundVm[] {
  try {
    return storedVms(store).map(({ name, folder, broken }) => ({
      name,
      folder,
      ...(broken === undefined ? {} : { broken }),
    }));
  } catch (thrown) {
    if (wasGiven) throw thrown;
    // One of many, and the others may have the VM.
    return [];
  }
}

function notFound(
  home: string,
  given: string,
  stores: readonly string[],
  vms: readonly FoundVm[],
): MigrateError {
  const coming = readJournal(home, (journal) => journal.open("destination")).find(
    ({ name }) => name === given,
  );
  if (coming !== undefined) return onItsWay(coming);
  const where = stores.length === 0 ? "this home knows of no store" : `none lies in ${stores.join(", ")}`;
  return new MigrateError("vm-invalid", `there is no VM called ${given} here: ${where}`, {
    hint: existsSync(join(given, manifestName))
      ? `for the folder of that name where you are, give ./${given}`
      : hintOf(vms),
  });
}

function hintOf(vms: readonly FoundVm[]): string {
  if (vms.length === 0) return "name the store with --store DIR, or give the path of the VM's folder";
  const names = [...new Set(vms.map(({ name }) => name))].sort();
  const rest = names.length - shownNames;
  return `there are ${names.slice(0, shownNames).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}; --store DIR looks in another store`;
}

function onItsWay({ name, session }: SessionRecord): MigrateError {
  return new MigrateError("vm-busy", `${name} is still on its way to this host`, {
    hint: `migrate status shows how far it is (session ${session.slice(0, 12)})`,
  });
}

function readJournal<T>(home: string, read: (journal: Journal) => T): T {
  const journal = Journal.open(openHome(home));
  try {
    return read(journal);
  } finally {
    journal.close();
  }
}

function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}
