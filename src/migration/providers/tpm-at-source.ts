/**
 * What becomes of a virtual TPM's state at the source: it is destroyed once the destination owns the VM, for who has it
 * has the VM's identity and what was sealed to it. Where the person keeps the VM's files it stays, sealed. Saved RAM goes
 * the same way: QEMU puts the state of the TPM into it.
 */
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { renameNoReplace, syncFolder } from "../../platform/files/rename.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { fileIdentity, isSameFile } from "../../vm/folder/file-identity.ts";
import { type EkFound, ekOfState, permanentState, readPermanent } from "../../vm/tpm/ek-of-state.ts";
import { type ErasedFile, eraseFile, eraseState, readState } from "../../vm/tpm/erase.ts";
import {
  isSealedTo,
  type StateFile,
  type StateSeal,
  sealedStateMaxBytes,
  sealState,
} from "../../vm/tpm/sealed-state.ts";
import type { SessionRecord } from "../journal/journal.ts";

/** What of a VM's virtual TPM lies at the source. */
export interface TpmHere {
  /** Files of its state that were sent, each with its identity (vm/folder/file-identity.ts). */
  files: readonly { path: string; identity: string }[];
  /** Folders in which a swtpm keeps it; null is the identity of one that this program made. */
  folders: readonly { path: string; identity: string | null }[];
  /** Saved RAM of the VM. */
  ram: readonly { path: string; identity: string }[];
  /** The path that a sealed state is called after. */
  place: string;
}

/** What each provider's `kept` has where the person gave a passphrase for the state. */
export interface KeptSeal {
  tpmSeal?: StateSeal;
}

type Record = Pick<SessionRecord, "session" | "name" | "mode" | "after" | "kept">;

/** Where the sealed state of a session lies: a name of its own, so that what is there is known to be whole. */
const sealedPath = ({ session }: Record, { place }: TpmHere) => `${place}.sealed-${session.slice(0, 8)}`;

const sealOf = ({ kept }: Record) => (kept as KeptSeal | null)?.tpmSeal;

/**
 * Looks whether the state can be dealt with once the VM has moved: after the handover it would be too late. Throws
 * MigrateError "policy" if it would stay readable, and "vm-invalid" if a file of it may not be written.
 */
export function requireTpmRetirable(record: Record, tpm: TpmHere | null): void {
  if (tpm === null || record.mode === "copy") return;
  if (record.after === "keep" && sealOf(record) === undefined) {
    throw new MigrateError(
      "policy",
      `--after keep would leave the state of ${record.name}'s virtual TPM readable here: whoever has it has the VM's identity, and all that is sealed to it`,
      {
        side: "source",
        hint: "Give a passphrase to keep it sealed: --seal-tpm FILE. Or leave out --after keep: the state is destroyed here then, once the destination owns the VM.",
      },
    );
  }
  for (const { path } of [...tpm.files, ...tpm.ram]) {
    try {
      accessSync(path, constants.W_OK);
    } catch (cause) {
      const why = (cause as NodeJS.ErrnoException).code;
      if (why === "ENOENT") continue;
      throw new MigrateError("vm-invalid", `${path} could not be destroyed once the VM has moved (${why})`, {
        side: "source",
        hint: "It holds the state of the VM's virtual TPM. See that it can be written, or send the VM as root.",
        cause,
      });
    }
  }
}

/** What is said of it before the move, as sentences. */
export function tpmFate(record: Record, tpm: TpmHere | null): string[] {
  if (tpm === null || record.mode === "copy") return [];
  const { name, after } = record;
  const ram = tpm.ram.map(({ path }) => basename(path)).join(", ");
  const with_ = ram === "" ? "" : `, and so is its saved RAM (${ram}), which holds it too`;
  return [
    after === "keep"
      ? `the state of ${name}'s virtual TPM stays here sealed alone (${sealedPath(record, tpm)}; migrate unseal-tpm opens it); it is destroyed once the destination owns the VM${with_}`
      : `the state of ${name}'s virtual TPM is destroyed here once the destination owns the VM${with_}`,
  ];
}

/**
 * Destroys the state that lies here; seals it before where the VM's files are kept. To be called once the destination
 * owns the VM, and its programs here have ended. Idempotent: whoever was killed on the way begins again. `warn`
 * is told of what can be read here still, under other names. Throws MigrateError "io".
 */
export async function retireTpmState(
  record: Record,
  tpm: TpmHere | null,
  warn: (sentence: string) => void = () => {},
): Promise<void> {
  if (tpm === null || record.after === "copy") return;
  const erased: ErasedFile[] = [];
  try {
    if (record.after === "keep") await keepSealed(record, tpm);
    for (const { path, identity } of [...tpm.files, ...tpm.ram]) {
      const left = await eraseFile(path, identity);
      if (left !== null) erased.push(left);
    }
    for (const { path, identity } of tpm.folders) erased.push(...(await eraseState(path, identity)));
  } catch (cause) {
    if (cause instanceof MigrateError) throw cause;
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    const message = `the state of its virtual TPM here could not be destroyed (${why})`;
    throw new MigrateError("io", message, { side: "source", cause });
  } finally {
    // The next run does not find these names any more.
    for (const sentence of readableStill(record.name, erased)) warn(sentence);
  }
}

/** Of a file with several names, all of which may be among those that are erased, what the last one left counts. */
function readableStill(name: string, erased: readonly ErasedFile[]): string[] {
  const last = new Map(erased.map((file) => [`${file.device}:${file.inode}`, file]));
  return [...last.values()]
    .filter(({ readableNames }) => readableNames > 0n)
    .map(
      ({ path, inode, readableNames }) =>
        `the state of ${name}'s virtual TPM can still be read here: ${path} is gone, and the same file has ${readableNames === 1n ? "another name" : `${readableNames} other names`} (hard links); look for inode ${inode} on its file system (find MOUNTPOINT -xdev -inum ${inode}), and destroy what is found (shred -u)`,
    );
}

/**
 * Nothing is destroyed before the sealed state is whole and durable. Who may write to its folder can have put something
 * under its name: only what is sealed to this session's key is taken for it. Throws MigrateError "io" if another thing is
 * there.
 */
async function keepSealed(record: Record, tpm: TpmHere): Promise<void> {
  const [seal, path] = [sealOf(record), sealedPath(record, tpm)];
  if (seal === undefined || isSealedHere(path, seal)) return;
  const files = stateOf(tpm);
  // An earlier version let it go without a seal, or nothing is there.
  if (files.length === 0) return;
  const sealed = await sealState(record.name, files, seal);
  const unfinished = `${path}.new`;
  // Left by a run that was killed, or somebody's: a pipe would be waited for, and another's file be his to change.
  rmSync(unfinished, { force: true });
  const fd = openSync(unfinished, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    writeFileSync(fd, sealed, { flush: true });
  } finally {
    closeSync(fd);
  }
  renameNoReplace(unfinished, path);
  syncFolder(dirname(path));
}

/** False if nothing is there. Throws MigrateError "io" if something else is. */
function isSealedHere(path: string, seal: StateSeal): boolean {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return false;
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  let fd: number | undefined;
  let cause: unknown;
  try {
    fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const stat = fstatSync(fd);
    const mayBe = stat.isFile() && stat.size <= sealedStateMaxBytes;
    if (mayBe && isSealedTo(readFileSync(fd, "latin1"), seal)) return true;
  } catch (thrown) {
    cause = thrown;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  throw new MigrateError("io", `${path} is not the sealed state of this session, and is in its place`, {
    side: "source",
    hint: "Nothing was destroyed. See what it is and who put it there, move it away, and run the same command again.",
    cause,
  });
}

/** Which virtual TPM the VM has, by its permanent state; null if it has none. Never rejects. */
export async function ekAtSource(tpm: TpmHere | null): Promise<EkFound | null> {
  if (tpm === null) return null;
  const sent = tpm.files.find(({ path }) => basename(path) === permanentState)?.path;
  const paths = [
    ...(sent === undefined ? [] : [sent]),
    ...tpm.folders.map(({ path }) => join(path, permanentState)),
  ];
  const found = paths.map(readPermanent).find((state) => state !== null) ?? null;
  return await ekOfState(found);
}

function stateOf({ files, folders }: TpmHere): StateFile[] {
  const sent = files
    .filter(({ path, identity }) => isSameFile(fileIdentity(path), identity))
    .map(({ path }) => ({ name: basename(path), bytes: readFileSync(path) }));
  if (sent.length > 0) return sent;
  return (
    folders.map(({ path, identity }) => readState(path, identity)).find((state) => state.length > 0) ?? []
  );
}

/** Of files that were sent: those of the TPM's state, the RAM saved beside them, and the folder they lie in; null without any. */
export function tpmAmong(
  files: SessionRecord["files"],
  ram: TpmHere["ram"] = [],
  place = (state: string) => state,
): TpmHere | null {
  const own = (kind: string) =>
    files.flatMap((file) =>
      file.kind === kind && file.path !== undefined && file.identity !== undefined
        ? [{ path: file.path, identity: file.identity }]
        : [],
    );
  const state = own("tpm");
  if (state.length === 0) return null;
  return { files: state, folders: [], ram: [...own("ram"), ...ram], place: place(dirname(state[0]!.path)) };
}
