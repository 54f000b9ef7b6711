/** The VMs that lie in a store: a folder each, with a vm.json. */
import { readdirSync, realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { MigrateError } from "../../protocol/errors.ts";
import { manifestName } from "../../protocol/names.ts";
import { rulesOf, type VmPolicy } from "../../protocol/vm-policy.ts";
import { policyOfManifest, readManifest } from "./manifest.ts";

export interface StoredVm {
  /** The folder, absolute, with all links resolved. */
  folder: string;
  /** From its vm.json; the folder's own name if that cannot be read. */
  name: string;
  /** Size of its saved RAM; null if it was switched off, or its file is not there. */
  ramBytes: number | null;
  /** Paths of its disk images. */
  disks: string[];
  hasTpm: boolean;
  /** Its own policy; absent if it has none. */
  policy?: VmPolicy;
  /** What is wrong with its vm.json, as a sentence; absent if nothing is. */
  broken?: string;
}

/** The names that the folders of VMs get which were moved away and whose files were kept. */
const sentAway = /\.migrated(?:-[0-9a-f]{8})?$/;

/**
 * The VMs in the folder `store`, by their folders' names. Left out are folders that begin with a point
 * (what is under way), those of VMs that were sent away, and those without a vm.json. A VM whose vm.json
 * is broken is in the list, with the reason. Throws MigrateError "store-unusable" if the store is not
 * there or cannot be read.
 */
export function storedVms(store: string): StoredVm[] {
  let root: string;
  let names: string[];
  try {
    root = realpathSync(store);
    names = readdirSync(root);
  } catch (thrown) {
    const code = (thrown as { code?: unknown }).code;
    const why = code === "ENOENT" ? "there is no such folder" : String(code);
    throw new MigrateError("store-unusable", `the store ${store} cannot be read: ${why}`, {
      hint: "give the folder that migrate serve keeps its VMs in with --store",
      cause: thrown,
    });
  }
  return names
    .filter((name) => !name.startsWith(".") && !sentAway.test(name))
    .sort()
    .map((name) => join(root, name))
    .filter(holdsManifest)
    .map(storedVm);
}

function holdsManifest(folder: string): boolean {
  try {
    statSync(join(folder, manifestName));
    return true;
  } catch (thrown) {
    const { code } = thrown as { code?: unknown };
    // What this user may not see is listed as broken, with the reason.
    return code !== "ENOENT" && code !== "ENOTDIR";
  }
}

function storedVm(folder: string): StoredVm {
  try {
    const manifest = readManifest(join(folder, manifestName));
    const { name, files } = manifest;
    const policy = policyOfManifest(manifest);
    const of = (kind: string) =>
      files.filter((file) => file.kind === kind).map(({ file }) => join(folder, file));
    const [ram] = of("ram");
    const ramBytes = ram === undefined ? null : (statSync(ram, { throwIfNoEntry: false })?.size ?? null);
    return {
      folder,
      name,
      ramBytes,
      disks: of("disk"),
      hasTpm: of("tpm").length > 0,
      ...(rulesOf(policy).length === 0 ? {} : { policy }),
    };
  } catch (thrown) {
    const broken = thrown instanceof Error ? thrown.message : String(thrown);
    return {
      folder,
      name: basename(folder),
      ramBytes: null,
      disks: [],
      hasTpm: false,
      broken,
    };
  }
}
