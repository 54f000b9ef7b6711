/** A VM's own policy, read and set where the VM lies: in its vm.json, of which nothing else changes. */
import {
  closeSync,
  fchmodSync,
  fchownSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openHome } from "../../home/home.ts";
import { syncFolder } from "../../platform/files/rename.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { manifestName } from "../../protocol/names.ts";
import { rulesOf, type VmPolicy } from "../../protocol/vm-policy.ts";
import { policyOfManifest, readManifest } from "../../vm/folder/manifest.ts";
import { Journal } from "../journal/journal.ts";

/** The policy of the VM in `folder`, and its name. Throws MigrateError "vm-invalid". */
export function policyAt(folder: string): { name: string; policy: VmPolicy } {
  const manifest = readManifest(join(folder, manifestName));
  return { name: manifest.name, policy: policyOfManifest(manifest) };
}

/**
 * Sets it, durably. Throws MigrateError "vm-invalid", "vm-busy" while the VM is being sent (what was offered holds), and
 * "store-failed" if vm.json cannot be written.
 */
export function setPolicyAt(home: string, folder: string, policy: VmPolicy): void {
  const path = join(folder, manifestName);
  const { name } = readManifest(path);
  requireNotLeaving(openHome(home), folder, name);
  const json = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  const { policy: _, ...rest } = json;
  const changed = rulesOf(policy).length === 0 ? rest : { ...rest, policy };
  const unfinished = join(folder, `.${manifestName}.new`);
  try {
    const stat = statSync(path);
    rmSync(unfinished, { force: true });
    const fd = openSync(unfinished, "wx", 0o600);
    try {
      fchownSync(fd, stat.uid, stat.gid);
      fchmodSync(fd, stat.mode & 0o777);
      writeFileSync(fd, `${JSON.stringify(changed, null, 2)}\n`, { flush: true });
    } finally {
      closeSync(fd);
    }
    renameSync(unfinished, path);
    syncFolder(folder);
  } catch (cause) {
    rmSync(unfinished, { force: true });
    const why = (cause as { code?: unknown }).code ?? String(cause);
    throw new MigrateError("store-failed", `${path} cannot be written (${why})`, {
      hint: "Run it as the user whose VM it is.",
      cause,
    });
  }
}

function requireNotLeaving(home: string, folder: string, name: string): void {
  const journal = Journal.open(home);
  try {
    const going = journal.open("source").find((record) => record.folder === folder);
    if (going === undefined) return;
    throw new MigrateError(
      "vm-busy",
      `${name} is being sent to ${going.address}, with the policy that it has`,
      {
        hint: `migrate resolve ${going.session.slice(0, 12)} --cancel gives that up`,
      },
    );
  } finally {
    journal.close();
  }
}
