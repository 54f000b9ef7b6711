/** A VM that does not run, as it leaves the source: the files of its folder, or files named one by one. */
import { randomUUID } from "node:crypto";
import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import { checkImage } from "../../../vm/disks/disk-format.ts";
import { fileIdentity, isSameFile } from "../../../vm/folder/file-identity.ts";
import { adHocVm, loadVm, type Vm } from "../../../vm/folder/vm-folder.ts";
import { WatchedFiles } from "../../../vm/folder/watched-files.ts";
import { requireUnheld } from "../../../vm/holders/file-holders.ts";
import { permanentState } from "../../../vm/tpm/ek-of-state.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { Mode } from "../../ownership/phases.ts";
import { requireBandwidthAlone } from "../bandwidth-alone.ts";
import type { Candidate, Departure, OpenedVm } from "../departure.ts";
import { requireRecordedTpm } from "../recorded-tpm.ts";
import type { KeptSeal } from "../tpm-at-source.ts";
import { withNewTpm } from "./copied-tpm.ts";
import type { FilesRecord } from "./left-out.ts";
import type { OwnFile } from "./retire.ts";
import { requireFreshRam } from "./stale-ram.ts";

/** The VM as the person named it. */
export type FilesSpec =
  | { folder: string; withoutRam?: boolean; newTpm?: boolean }
  | {
      name: string;
      ram?: string | undefined;
      disks: string[];
      rawDisks?: string[];
      tpmStateDir?: string | undefined;
      /** A copy begins with an empty TPM. */
      newTpm?: boolean;
    };

/**
 * Returns the candidate for a VM that is named by its folder or its files. The files may be gone: after a
 * release the session must still end. Throws MigrateError "not-owner" if a copy is to be moved.
 */
export function filesCandidate(spec: FilesSpec, mode: Mode, { tpmSeal }: KeptSeal = {}): Candidate {
  let vm: Vm | undefined;
  let problem: unknown;
  try {
    vm = "folder" in spec ? loadVm(spec.folder, spec) : adHocVm(spec);
  } catch (thrown) {
    problem = thrown;
  }
  if (vm?.manifest?.ownership?.state === "copy" && mode === "move") {
    throw new MigrateError("not-owner", `${vm.name} is a copy; it has no ownership that could move`, {
      side: "source",
      hint: "send it with --copy, or take the ownership entry out of its vm.json if it is to be a VM of its own",
    });
  }
  const isIt = matcher(spec, vm);
  return {
    provider: "files",
    isIt,
    wasMovedBy: isIt,
    open: async () => {
      if (vm === undefined) throw problem;
      await requireFreshRam(vm);
      if (mode === "move") {
        if (vm.manifest !== undefined) await requireRecordedTpm(vm.manifest, permanentOf(vm));
        return openedVm(vm, mode, { tpmSeal });
      }
      const copied = withNewTpm(vm, spec.newTpm === true);
      return openedVm(copied, mode, { tpmSeal, newTpm: copied !== vm });
    },
  };
}

function permanentOf({ files }: Vm): string | null {
  return files.find(({ kind, path }) => kind === "tpm" && basename(path) === permanentState)?.path ?? null;
}

/** What becomes of the state of its virtual TPM. */
interface LeavingHow {
  tpmSeal: KeptSeal["tpmSeal"];
  /** It stays here: the copy begins with an empty one. */
  newTpm?: boolean;
}

function openedVm(vm: Vm, mode: Mode, how: LeavingHow): OpenedVm {
  return {
    facts: {
      name: vm.name,
      vm: vm.id ?? randomUUID(),
      files: vm.files.map((file) => ({
        kind: file.kind,
        name: wireName(file.base),
        bytes: file.bytes,
        ...(file.format === undefined ? {} : { format: file.format }),
        path: file.path,
        identity: fileIdentity(file.path)!,
      })),
      folder: vm.folder ?? null,
      bytes: vm.files.reduce((sum, { bytes }) => sum + bytes, 0),
      kept: keptOf(vm, how),
    },
    isStill: (gone) => {
      const now = vm.files.map(({ path }) => fileIdentity(path));
      return gone.files.some(({ identity }) => now.some((file) => isSameFile(identity, file)));
    },
    resumes: (record) =>
      record.name === vm.name &&
      record.files.length === vm.files.length &&
      record.files.every((file, i) => {
        const now = vm.files[i]!;
        return (
          file.path === now.path &&
          file.bytes === now.bytes &&
          // A session of an earlier version declared nothing, and goes on so.
          (file.format ?? now.format) === now.format &&
          isSameFile(file.identity, fileIdentity(now.path))
        );
      }),
    depart: () => filesDeparture(vm, mode),
    close: () => {},
  };
}

/** The RAM image that is in the VM's folder and does not go, and what the state of its TPM is sealed to. */
function keptOf(vm: Vm, { tpmSeal, newTpm = false }: LeavingHow): FilesRecord | null {
  const leftOut = ramNotSent(vm);
  if (leftOut === null && tpmSeal === undefined && !newTpm) return null;
  return {
    side: "source",
    ...(leftOut === null ? {} : { leftOut }),
    ...(tpmSeal === undefined ? {} : { tpmSeal }),
    ...(newTpm ? { newTpm } : {}),
  };
}

function ramNotSent({ folder, files, manifest }: Vm): OwnFile | null {
  const ram = manifest?.files.find(({ kind }) => kind === "ram");
  if (folder === undefined || ram === undefined || files.some(({ kind }) => kind === "ram")) return null;
  const path = join(folder, ram.file);
  const identity = fileIdentity(path);
  return identity === null ? null : { path, identity };
}

/** Opens the files of a VM that does not run. Throws MigrateError "vm-running" and "source-changed". */
export function filesDeparture(vm: Vm, mode: Mode): Departure {
  const unheld = () => {
    const parts = vm.files.map((file) => ({ ...file, leaves: mode === "move" && file.kind !== "boot" }));
    return requireUnheld(parts, []);
  };
  const files = openNamingHolder(vm, unheld);
  try {
    // Once more, now that nobody else writes to it: what was declared is what goes.
    for (const [i, { base, format }] of vm.files.entries()) {
      if (format !== undefined) checkImage(files.fd(i), { shownAs: base, declared: format });
    }
  } catch (thrown) {
    files.close();
    throw thrown;
  }
  return {
    files,
    machine: undefined,
    isPaused: undefined,
    streamed: [],
    isLive: false,
    isResumable: true,
    carriedBytes: 0,
    streams: undefined,
    failure: undefined,
    stoppedAtMs: undefined,
    patienceMs: Number.POSITIVE_INFINITY,
    changes: () => [],
    requireUnheld: unheld,
    onKept: () => {},
    standStill: () => files.settled(),
    requireStill: async () => {},
    rewritten: () => [],
    carry: async () => {},
    tune: async (tuning) => requireBandwidthAlone(tuning, `${vm.name} does not run`),
    halt: async () => {},
    close: () => files.close(),
  };
}

/** A lock tells that some QEMU has a disk, and not which one: `requireUnheld` names it, if it shows. */
function openNamingHolder(vm: Vm, requireUnheld: () => unknown): WatchedFiles {
  try {
    return WatchedFiles.open(vm);
  } catch (thrown) {
    try {
      requireUnheld();
    } catch (named) {
      if ((named as MigrateError).code === "vm-running") throw named;
    }
    throw thrown;
  }
}

/** A file's name without the folder that its kind adds. */
export function wireName(base: string): string {
  return base.slice(base.lastIndexOf("/") + 1);
}

/**
 * Returns a test that recognises the VM's sessions by its folder, its files' paths, or the files' identities.
 */
function matcher(spec: FilesSpec, vm: Vm | undefined): (record: SessionRecord) => boolean {
  const folder = "folder" in spec ? real(spec.folder) : null;
  const paths = new Set(
    "folder" in spec
      ? []
      : [spec.ram, ...spec.disks, ...(spec.rawDisks ?? [])].flatMap((path) =>
          path === undefined ? [] : [real(path)],
        ),
  );
  const identities = vm?.files.map(({ path }) => fileIdentity(path)) ?? [];
  return (record) =>
    (folder !== null && record.folder === folder) ||
    record.files.some(
      ({ path, identity }) =>
        (path !== undefined && paths.has(path)) || identities.some((now) => isSameFile(identity, now)),
    );
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    // The path is gone, as after a rename: its parent folder can still be resolved.
    const whole = resolve(path);
    return dirname(whole) === whole ? whole : join(real(dirname(whole)), basename(whole));
  }
}
