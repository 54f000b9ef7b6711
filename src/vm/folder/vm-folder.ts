/** A VM as the source has it: the files of a folder with a vm.json, or files named one by one. */
import { closeSync, existsSync, fstatSync, openSync, readdirSync, realpathSync, statSync } from "node:fs";
import { basename, join, resolve, sep } from "node:path";
import { statBlockBytes } from "../../platform/files/filesystem.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { checkFileName, checkVmName, manifestName, migratedSuffix } from "../../protocol/names.ts";
import { type FileKind, isImage } from "../../protocol/offer.ts";
import { checkImage, type ImageFormat } from "../disks/disk-format.ts";
import { type Manifest, readManifest, tpmFolder } from "./manifest.ts";

export interface VmFile {
  kind: FileKind;
  /** Absolute, with all links resolved. */
  path: string;
  /** The name at the destination, relative to the VM's folder: "tpm/" and a name for kind tpm. */
  base: string;
  /** Logical size. */
  bytes: number;
  /** Of an image: what it is, as it was declared or found to be. */
  format?: ImageFormat;
  /** Size of the blocks it takes on the disk. */
  allocatedBytes: number;
  /** Device and inode identify the file; the time of birth shows if the inode was used again for another. */
  dev: bigint;
  ino: bigint;
  birthtimeNs: bigint;
  mtimeNs: bigint;
}

export interface Vm {
  name: string;
  /** The VM's own id, if its vm.json has one. */
  id?: string;
  /** The VM's folder, absolute, with all links resolved. Absent if files were named one by one. */
  folder?: string;
  manifest?: Manifest;
  /** At least one, in the order given, files of the TPM last if they were given by their folder. */
  files: VmFile[];
}

function invalid(message: string, hint?: string, cause?: unknown): MigrateError {
  return new MigrateError("vm-invalid", message, { side: "source", hint, cause });
}

/** Why a path cannot be used, as the end of a sentence. */
function whyNot(thrown: unknown): string {
  const code = (thrown as { code?: unknown }).code;
  if (code === "ENOENT" || code === "ENOTDIR") return "does not exist";
  if (code === "EACCES" || code === "EPERM") return "cannot be read: permission denied";
  if (code === "ELOOP") return "cannot be read: too many links in its path";
  return `cannot be read: ${String(code ?? thrown)}`;
}

/** Describes one file, and opens it once so that one that cannot be read is known before anything is sent. */
function describeFile(
  kind: FileKind,
  given: string,
  base: string,
  { folder, declared }: { folder?: string; declared?: ImageFormat | undefined } = {},
): VmFile {
  const wrong = checkFileName(basename(base));
  if (wrong !== null)
    throw invalid(`${given} cannot be sent under its name: ${wrong}`, "Rename or link the file.");
  let path: string;
  try {
    path = realpathSync(given);
    if (!statSync(path).isFile()) throw invalid(`${given} is not a regular file`);
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    throw invalid(`${given} ${whyNot(thrown)}`, undefined, thrown);
  }
  if (folder !== undefined && !path.startsWith(folder + sep)) {
    throw invalid(`${given} is a link that leaves the VM's folder`, "Copy the file into the folder.");
  }
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const stat = fstatSync(fd, { bigint: true });
    const declareRaw =
      folder === undefined
        ? `give it with --raw-disk ${given}`
        : `write "format": "raw" beside its name in ${join(folder, manifestName)}`;
    const format = isImage(kind) ? checkImage(fd, { shownAs: given, declared, declareRaw }) : undefined;
    return {
      kind,
      path,
      base,
      bytes: Number(stat.size),
      ...(format === undefined ? {} : { format }),
      allocatedBytes: Number(stat.blocks) * statBlockBytes,
      dev: stat.dev,
      ino: stat.ino,
      birthtimeNs: stat.birthtimeNs,
      mtimeNs: stat.mtimeNs,
    };
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    throw invalid(`${given} ${whyNot(thrown)}`, undefined, thrown);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The checks that concern all files together. */
function checkFiles(files: readonly VmFile[]): void {
  if (files.length > limits.files) throw invalid(`The VM has more than ${limits.files} files`);
  const bases = new Map<string, VmFile>();
  const inodes = new Map<string, VmFile>();
  for (const file of files) {
    const sameBase = bases.get(file.base);
    if (sameBase !== undefined) {
      throw invalid(
        `Two files of the VM have the same name, ${file.base}: ${sameBase.path} and ${file.path}`,
        "They come to lie in one folder at the destination; rename one of them.",
      );
    }
    bases.set(file.base, file);
    const inode = `${file.dev}:${file.ino}`;
    const sameFile = inodes.get(inode);
    if (sameFile !== undefined) throw invalid(`${sameFile.base} and ${file.base} are one and the same file`);
    inodes.set(inode, file);
  }
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  if (bytes > limits.vmBytes) {
    throw invalid(`The VM has ${bytes} bytes; the largest one that can be sent has ${limits.vmBytes}`);
  }
}

/**
 * A VM by its folder, which holds a vm.json. Sizes come from the files, not from the vm.json: a VM that
 * has run since it arrived may have grown. `withoutRam` leaves its saved RAM out, whatever lies there. Throws
 * MigrateError "vm-invalid".
 */
export function loadVm(path: string, { withoutRam = false } = {}): Vm {
  let folder: string;
  try {
    folder = realpathSync(path);
    if (!statSync(folder).isDirectory()) {
      throw invalid(
        `${path} is not a folder`,
        "Give a folder with a vm.json, or name the files: --name, --ram, --disk, --raw-disk, --tpm-state.",
      );
    }
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    const hint = existsSync(path + migratedSuffix)
      ? `This VM was sent to another host; its old files are in ${path}${migratedSuffix}.`
      : undefined;
    throw invalid(`The VM's folder ${path} ${whyNot(thrown)}`, hint, thrown);
  }
  const manifestPath = join(folder, manifestName);
  if (!existsSync(manifestPath)) {
    throw invalid(
      `${path} has no ${manifestName}`,
      "Write one, or name the VM's files: --name, --ram, --disk, --raw-disk, --tpm-state.",
    );
  }
  const manifest = readManifest(manifestPath);
  if (manifest.manager !== undefined) {
    throw invalid(
      `${path} holds the files of a domain of ${manifest.manager}, which has the rest of it`,
      `Name the domain: ${manifest.manager}:${manifest.name}.`,
    );
  }
  const parts = manifest.files.filter(({ kind }) => !(withoutRam && kind === "ram"));
  if (parts.length === 0) throw invalid(`${path} holds nothing but the VM's RAM`, "Leave out --without-ram.");
  const files = parts.map(({ kind, file, format }) =>
    describeFile(kind, join(folder, file), file, { folder, declared: format }),
  );
  // The TPM of a VM that arrived while it ran is its swtpm's, which keeps its state there under names of its own.
  const tpm = join(folder, tpmFolder);
  if (manifest.definition !== undefined && existsSync(tpm) && !files.some(({ kind }) => kind === "tpm"))
    files.push(...tpmFiles(tpm));
  checkFiles(files);
  return {
    name: manifest.name,
    ...(manifest.id === undefined ? {} : { id: manifest.id }),
    folder,
    manifest,
    files,
  };
}

export interface AdHocFiles {
  name: string;
  /** The saved RAM; absent if the VM is switched off. */
  ram?: string | undefined;
  disks: readonly string[];
  /** Disks that are raw, whatever they look like. */
  rawDisks?: readonly string[];
  /** The state folder of swtpm. */
  tpmStateDir?: string | undefined;
}

/** A VM by its files. A link is followed and keeps its own name. Throws MigrateError "vm-invalid". */
export function adHocVm({ name, ram, disks, rawDisks = [], tpmStateDir }: AdHocFiles): Vm {
  const wrong = checkVmName(name);
  if (wrong !== null) throw invalid(`The VM cannot have this name: ${wrong}`);
  const files = [
    ...(ram === undefined ? [] : [describeFile("ram", ram, basename(resolve(ram)))]),
    ...disks.map((disk) => describeFile("disk", disk, basename(resolve(disk)))),
    ...rawDisks.map((disk) => describeFile("disk", disk, basename(resolve(disk)), { declared: "raw" })),
    ...(tpmStateDir === undefined ? [] : tpmFiles(tpmStateDir)),
  ];
  if (files.length === 0)
    throw invalid("The VM has no file at all", "Name some: --ram, --disk, --raw-disk, --tpm-state.");
  checkFiles(files);
  return { name, files };
}

/** A file of a VM that a manager of VMs tells of. */
export interface ToldFile {
  kind: FileKind;
  path: string;
  /** Its name at the destination; its own if absent. */
  base?: string;
  format?: ImageFormat;
}

/** A VM by the files that its manager tells of, and the folder of its TPM's state. Throws MigrateError "vm-invalid". */
export function toldVm({
  name,
  id,
  files,
  tpmStateDir,
}: {
  name: string;
  id: string;
  files: readonly ToldFile[];
  tpmStateDir?: string | undefined;
}): Vm {
  const found = [
    ...files.map(({ kind, path, base, format }) =>
      describeFile(kind, path, base ?? basename(path), { declared: format }),
    ),
    ...(tpmStateDir === undefined ? [] : tpmFiles(tpmStateDir)),
  ];
  checkFiles(found);
  return { name, id, files: found };
}

/** The files of a TPM's state folder, by name. swtpm's lock is not part of the state. */
function tpmFiles(folder: string): VmFile[] {
  let names: string[];
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    const nested = entries.find((entry) => entry.isDirectory());
    if (nested !== undefined) {
      throw invalid(
        `The TPM's state folder ${folder} has a folder inside, ${nested.name}`,
        "Give the folder that holds the state itself, such as tpm2-00.permall.",
      );
    }
    names = entries.map((entry) => entry.name).filter((name) => !name.endsWith(".lock"));
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    throw invalid(`The TPM's state folder ${folder} ${whyNot(thrown)}`, undefined, thrown);
  }
  if (names.length === 0) throw invalid(`The TPM's state folder ${folder} holds no state`);
  return names.sort().map((name) => describeFile("tpm", join(folder, name), `${tpmFolder}/${name}`));
}
