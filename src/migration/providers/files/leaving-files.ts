/** A VM that does not run, as it leaves the source: the files of its folder, or files named one by one. */
import { randomUUID } from "node:crypto";
import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import { checkSelfContained } from "../../../vm/disks/disk-format.ts";
import { fileIdentity } from "../../../vm/folder/file-identity.ts";
import { adHocVm, loadVm, type Vm } from "../../../vm/folder/vm-folder.ts";
import { WatchedFiles } from "../../../vm/folder/watched-files.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { Mode } from "../../ownership/phases.ts";
import type { Candidate, Departure, OpenedVm } from "../departure.ts";

/** The VM as the person named it. */
export type FilesSpec =
  | { folder: string }
  | { name: string; ram?: string | undefined; disks: string[]; tpmStateDir?: string | undefined };

/**
 * Returns the candidate for a VM that is named by its folder or its files. The files may be gone: after a
 * release the session must still end. Throws MigrateError "not-owner" if a copy is to be moved.
 */
export function filesCandidate(spec: FilesSpec, mode: Mode): Candidate {
  let vm: Vm | undefined;
  let problem: unknown;
  try {
    vm = "folder" in spec ? loadVm(spec.folder) : adHocVm(spec);
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
      return openedVm(vm);
    },
  };
}

function openedVm(vm: Vm): OpenedVm {
  return {
    facts: {
      name: vm.name,
      vm: vm.id ?? randomUUID(),
      files: vm.files.map((file) => ({
        kind: file.kind,
        name: wireName(file.base),
        bytes: file.bytes,
        path: file.path,
        identity: fileIdentity(file.path)!,
      })),
      folder: vm.folder ?? null,
      bytes: vm.files.reduce((sum, { bytes }) => sum + bytes, 0),
      kept: null,
    },
    isStill: (gone) => {
      const identities = new Set(gone.files.map(({ identity }) => identity));
      return vm.files.some(({ path }) => identities.has(fileIdentity(path) ?? ""));
    },
    resumes: (record) =>
      record.name === vm.name &&
      record.files.length === vm.files.length &&
      record.files.every((file, i) => {
        const now = vm.files[i]!;
        return file.path === now.path && file.bytes === now.bytes && file.identity === fileIdentity(now.path);
      }),
    depart: () => departure(vm),
    close: () => {},
  };
}

function departure(vm: Vm): Departure {
  const files = WatchedFiles.open(vm);
  try {
    for (const file of vm.files) if (file.kind === "disk") checkSelfContained(file.path);
  } catch (thrown) {
    files.close();
    throw thrown;
  }
  return {
    files,
    allocatedBytes: vm.files.map(({ allocatedBytes }) => allocatedBytes),
    machine: undefined,
    streamed: [],
    isLive: false,
    isResumable: true,
    carriedBytes: 0,
    streams: undefined,
    failure: undefined,
    stoppedAtMs: undefined,
    patienceMs: Number.POSITIVE_INFINITY,
    standStill: async () => {},
    changes: () => [],
    rewritten: () => [],
    carry: async () => {},
    halt: async () => {},
    close: () => files.close(),
  };
}

/** A file's name without the folder that its kind adds. */
function wireName(base: string): string {
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
      : [spec.ram, ...spec.disks].flatMap((path) => (path === undefined ? [] : [real(path)])),
  );
  const identities = new Set(vm?.files.map(({ path }) => fileIdentity(path)));
  return (record) =>
    (folder !== null && record.folder === folder) ||
    record.files.some(
      ({ path, identity }) =>
        (path !== undefined && paths.has(path)) || (identity !== undefined && identities.has(identity)),
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
