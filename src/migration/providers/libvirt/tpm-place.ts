/**
 * Where this host's libvirt looks for the state of a domain's TPM, for a domain that arrives as files: the state is put
 * there, and taken away if the domain does not stay. What is there already is another domain's, or was its swtpm's own,
 * which is another user: nothing is written through what that may have left there.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { syncFolder } from "../../../platform/files/rename.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Domain } from "../../../vm/libvirt/definition/domain.ts";
import { tpmFolderOf } from "./domain-look.ts";

type Tpm = NonNullable<Domain["tpm"]>;

/** Whoever waits for the lock of a state holds none (swtpm(8)). */
const lockName = ".lock";
/** What is being put there, until it is whole; only root can have made it. */
const unfinishedSuffix = ".migrate-new";

/** True if there is anything of a TPM of this UUID here, be it a link that leads nowhere. */
export function hasTpmState(uuid: string, version: Tpm["version"]): boolean {
  const place = tpmFolderOf(uuid, version);
  const stat = lstatSync(place, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  return !stat.isDirectory() || readdirSync(place).some((name) => name !== lockName);
}

/**
 * Puts the state that lies in `folder`, if the domain has a TPM, where libvirt makes it its swtpm's own as the domain
 * starts. Idempotent; durable when it returns. Throws MigrateError "name-taken" if there is other state, and as node:fs
 * does.
 */
export function placeTpm(folder: string, uuid: string, tpm: Tpm | null): void {
  const state = join(folder, "tpm");
  if (tpm === null || !existsSync(state)) return;
  const place = tpmFolderOf(uuid, tpm.version);
  const unfinished = place + unfinishedSuffix;
  mkdirSync(dirname(place), { recursive: true, mode: 0o711 });
  if (hasTpmState(uuid, tpm.version)) {
    if (isPlaced(state, place)) return;
    throw new MigrateError("name-taken", "the destination's libvirt has a virtual TPM of this UUID already", {
      side: "destination",
    });
  }
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { mode: 0o700 });
  for (const name of readdirSync(state))
    writeFileSync(join(unfinished, name), readFileSync(join(state, name)), {
      mode: 0o600,
      flag: "wx",
      flush: true,
    });
  syncFolder(unfinished);
  // A folder that another user may write to is not used again.
  if (existsSync(place)) {
    rmSync(join(place, lockName), { force: true });
    rmdirSync(place);
  }
  renameSync(unfinished, place);
  syncFolder(dirname(place));
}

/** Takes away what `placeTpm` has put there, and nothing else. Idempotent. Throws as node:fs does. */
export function takeTpm(folder: string, uuid: string, tpm: Tpm | null): void {
  const state = join(folder, "tpm");
  if (tpm === null || !existsSync(state)) return;
  const place = tpmFolderOf(uuid, tpm.version);
  if (!lstatSync(place, { throwIfNoEntry: false })?.isDirectory()) return;
  for (const name of readdirSync(state)) rmSync(join(place, name), { force: true });
  removeEmptyTpmFolders(place);
}

/** Takes away the folder of one version's state, and the domain's above it, if nothing is left in them. Idempotent. */
export function removeEmptyTpmFolders(place: string): void {
  for (const folder of [place, dirname(place)]) {
    try {
      rmSync(join(folder, lockName), { force: true });
      rmdirSync(folder);
    } catch (thrown) {
      if ((thrown as { code?: unknown }).code !== "ENOENT") return;
    }
  }
}

/** An earlier try, which may have been killed since, has put it there: the folder is root's, and has these files. */
function isPlaced(state: string, place: string): boolean {
  const stat = lstatSync(place);
  if (!stat.isDirectory() || stat.uid !== 0) return false;
  const names = readdirSync(state).sort();
  const there = readdirSync(place).sort();
  return (
    names.length === there.length &&
    names.every((name, n) => name === there[n] && isCopyOf(join(state, name), join(place, name)))
  );
}

function isCopyOf(one: string, other: string): boolean {
  const [from, to] = [lstatSync(one), lstatSync(other)];
  return to.isFile() && from.size === to.size;
}
