/** The RAM image that a VM was sent without, and what becomes of it at the source: it must not pass for the VM's RAM. */
import { basename } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import { fileIdentity, isSameFile } from "../../../vm/folder/file-identity.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { KeptSeal } from "../tpm-at-source.ts";
import { type OwnFile, renameAside } from "./retire.ts";

/** What the journal keeps of a VM that goes as files, where it goes without its RAM image. */
export interface FilesRecord extends KeptSeal {
  side: "source";
  leftOut?: OwnFile;
  /** A copy that goes without the state of its virtual TPM. */
  newTpm?: boolean;
}

/** Returns the RAM image that a session leaves behind; null if it does not. */
export function ramLeftOut({ provider, side, kept }: SessionRecord): OwnFile | null {
  return provider === "files" && side === "source" ? ((kept as FilesRecord | null)?.leftOut ?? null) : null;
}

/** Returns what stays at the source, and what becomes of it there, as parts of sentences. */
export function leftOutTexts(record: SessionRecord): { what: string; fate: string }[] {
  const ram = ramLeftOut(record);
  const tpm =
    (record.kept as FilesRecord | null)?.newTpm === true
      ? [
          {
            what: "the state of its virtual TPM",
            fate: "which stays here: the copy begins with an empty TPM of its own, and opens nothing that was sealed to this one",
          },
        ]
      : [];
  return [...(ram === null ? [] : [ramText(record, ram)]), ...tpm];
}

function ramText(record: SessionRecord, ram: OwnFile): { what: string; fate: string } {
  const name = basename(ram.path);
  const fate =
    record.files.some(({ kind }) => kind === "tpm") && record.after !== "copy"
      ? "which is destroyed here: the state of its virtual TPM is in it"
      : isKept(record)
        ? "which stays here beside disks that it may not fit any more"
        : `which stays here as ${name}.migrated`;
  return { what: `its RAM image ${name}`, fate: `${fate}; it starts there as after a power cut` };
}

/** Renames the RAM image aside, unless the VM's files stay as they are. Idempotent. Throws MigrateError "io". */
export function setRamAside(record: SessionRecord): void {
  const ram = ramLeftOut(record);
  if (ram === null || isKept(record) || !isSameFile(ram.identity, fileIdentity(ram.path))) return;
  try {
    renameAside(ram.path, record.session, (at) => isSameFile(ram.identity, fileIdentity(at)));
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    const message = `its RAM image here could not be renamed (${why})`;
    throw new MigrateError("io", message, { side: "source", cause });
  }
}

function isKept({ after }: SessionRecord): boolean {
  return after === "keep" || after === "copy";
}
