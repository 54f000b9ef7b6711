/**
 * A VM that runs under QEMU on this host, as its migration finds it: its command line, compared with what QEMU
 * itself reports now. If the two differ (a disk that was plugged in, a snapshot that was
 * taken) the command line is not the VM any more, and the VM is refused.
 */
import { existsSync, realpathSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import * as v from "valibot";
import { argumentsOf, type ProcessId } from "../../platform/process-id.ts";
import { type UserRights, userOf } from "../../platform/user-rights.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { qcow2DataBytes } from "../disks/qcow2-data.ts";
import { type DefinitionFile, type QemuDefinition, readDefinition } from "./definition/definition.ts";
import { requireLimitsOf } from "./drive-limits.ts";
import { withoutEjected } from "./ejected.ts";
import { limitEntries, limitsIn } from "./images/drive-limits.ts";
import { type Besides, besidesOf, dirtyBitmaps, type ImageInfo, imageInfo } from "./images/image-info.ts";
import { requireMovable, runState } from "./outgoing/guest-watch.ts";
import { type Hardware, hardwareOf } from "./outgoing/hardware.ts";
import { requireUnblocked, requireUnused } from "./outgoing/others-work.ts";
import { changesSinceStart } from "./plugged.ts";
import { type QemuFile, QemuFiles } from "./qemu-files.ts";
import type { Qmp } from "./qmp/qmp.ts";
import { invalid, lookFailure, type Refusals } from "./refusals.ts";
import { leavesFolder, startFolder } from "./start-folder.ts";
import { swtpmOf } from "./swtpm.ts";

export interface RunningDisk extends QemuFile {
  file: DefinitionFile;
  /** The name of its uppermost node in QEMU. */
  node: string;
  /** The size that the guest sees. */
  bytes: number;
  /** Bytes of it that hold data, whatever images of its chain they are in, and however they are compressed there. */
  dataBytes: number;
  /** Part of it is in other images. */
  hasBacking: boolean;
  /** What QEMU says of its image. */
  info: ImageInfo;
  /** What the image holds besides the guest's data. */
  besides: Besides;
}

export interface RunningVm {
  qmpPath: string;
  qmp: Qmp;
  process: ProcessId;
  definition: QemuDefinition;
  disks: RunningDisk[];
  /** What it was started from and never writes. */
  boot: (QemuFile & { file: DefinitionFile })[];
  tpm: { state: QemuFile; swtpm: ProcessId } | null;
  /** The user that its QEMU runs as, if that is another than this program's. */
  user: UserRights | null;
  /** False if it is paused. */
  running: boolean;
  /** What it consists of, by its QEMU's word. */
  hardware: Hardware;
}

const blockSchema = v.array(
  v.object({
    device: v.optional(v.string(), ""),
    inserted: v.optional(
      v.object({
        "node-name": v.optional(v.string()),
        file: v.string(),
        drv: v.string(),
        ro: v.boolean(),
        image: imageInfo,
        "dirty-bitmaps": dirtyBitmaps,
        ...limitEntries,
      }),
    ),
  }),
);
type Inserted = NonNullable<v.InferOutput<typeof blockSchema>[number]["inserted"]>;

const machinesSchema = v.array(v.object({ name: v.string(), alias: v.optional(v.string()) }));

/** What is seen of a VM by the one that asks whether it can be moved. */
export interface VmLook {
  /** Null if its command line is refused. */
  definition: QemuDefinition | null;
  /** Sentences on what of the command line is left out or replaced. */
  notes: readonly string[];
  /** Null if anything is refused. */
  vm: RunningVm | null;
}

/**
 * Looks at the VM of the QEMU behind `qmp`; changes nothing. All that keeps it from being moved is added to `refusals`:
 * MigrateError "vm-invalid", "vm-busy", "policy" and "limit". Throws MigrateError "vm-invalid" if its process cannot be
 * looked at at all, and QmpError.
 */
export async function lookAtVm(qmp: Qmp, qmpPath: string, refusals: Refusals): Promise<VmLook> {
  const process = qmp.peer;
  const argv = process && argumentsOf(process.pid);
  if (process === null || argv === null || argv.length === 0) {
    throw invalid(
      "The command line of the VM's QEMU cannot be read",
      "Run migrate as root, or as QEMU's user.",
    );
  }
  // Asked first: what changes while the rest is looked at shows at the next look.
  const hardware = await hardwareOf(qmp);
  const { definition: said, refusals: unread, notes: read } = readDefinition(argv);
  refusals.add(...unread);
  const running = await refusals.attemptAsync(async () => requireMovable(await runState(qmp)));
  await refusals.attemptAsync(() => requireUnused(qmp));
  const files = refusals.attempt(() => QemuFiles.of(process, qmp.peerUid));
  if (said === null) return { definition: null, notes: read, vm: null };
  const blocks = await insertedIn(qmp);
  const machine = await machineTypeOf(qmp, said.machine);
  if (files === undefined) return { definition: { ...said, machine }, notes: said.notes, vm: null };
  const paths = said.files.map(({ path }) => path);
  const folder = refusals.attempt(() => startFolder(process.pid, argv, paths));
  if (folder === undefined) return { definition: { ...said, machine }, notes: said.notes, vm: null };
  const isIn = ({ path }: DefinitionFile) =>
    blocks.some(({ file }) => pathOr(file, folder) === pathOr(path, folder));
  const definition = { ...withoutEjected(said, isIn), machine };
  const { notes } = definition;
  if (leavesFolder(argv)) refusals.attempt(() => requireAbsolute(said.files));
  definition.files = withFormats(definition.files, blocks, folder, refusals);
  const disks = disksOf(blocks, definition, { files, folder }, refusals);
  refusals.attempt(() => requireDistinct(disks));
  refusals.attempt(() =>
    requireLimitsOf(definition.parts, (file) => limitsAt(blocks, definition.files[file]!, folder)),
  );
  const boot = definition.files
    .filter(({ kind }) => kind === "boot")
    .flatMap((file) => {
      const found = refusals.attempt(() => named(file.path, folder, (path) => files.boot(path)));
      return found === undefined ? [] : [{ file, ...found }];
    });
  const tpm = refusals.attempt(() => tpmOf(definition, files, folder));
  refusals.add(...(await changesSinceStart(qmp, definition)));
  await refusals.attemptAsync(() => requireUnblocked(qmp));
  if (refusals.all.length > 0) return { definition, notes, vm: null };
  const vm: RunningVm = {
    ...{ qmpPath, qmp, process, definition, disks, boot, hardware },
    tpm: tpm ?? null,
    user: files.user,
    running: running ?? false,
  };
  return { definition, notes, vm };
}

/**
 * Where a migration ends, QEMU opens its disks anew by their names (block/file-posix.c), and fails if it has left the
 * folder in which these begin.
 */
function requireAbsolute(files: readonly DefinitionFile[]): void {
  const lost = files.find(({ kind, path }) => kind === "disk" && !isAbsolute(path));
  if (lost === undefined) return;
  throw invalid(
    `The disk ${lost.path} begins in a folder that QEMU left (-daemonize): a migration of it fails at its end`,
    "Start the VM with absolute paths.",
  );
}

async function insertedIn(qmp: Qmp): Promise<Inserted[]> {
  const blocks = await qmp.ask(blockSchema, "query-block");
  return blocks.flatMap((block) => (block.inserted === undefined ? [] : [block.inserted]));
}

/** The image that QEMU has for a path of the command line. Throws as `named`. */
function imageAt(blocks: readonly Inserted[], path: string, folder: string | null): Inserted | undefined {
  const real = realPath(path, folder);
  return blocks.find(({ file }) => pathOr(file, folder) === real);
}

/** The limits that QEMU has for a file of the command line; undefined if it has none of it. */
function limitsAt(blocks: readonly Inserted[], { path, drive }: DefinitionFile, folder: string | null) {
  const image = imageAt(blocks, path, folder);
  return image === undefined ? undefined : { called: drive ?? path, limits: limitsIn(image) };
}

/** Where an image of QEMU's lies; as QEMU says it if nothing is there. */
function pathOr(file: string, folder: string | null): string {
  try {
    return realPath(file, folder);
  } catch {
    return file;
  }
}

/**
 * The files, with the format that QEMU found in those for which the command line names none. Adds to `refusals` those
 * that are of another format than the command line says, or of one that cannot be moved.
 */
function withFormats(
  files: readonly DefinitionFile[],
  blocks: readonly Inserted[],
  folder: string | null,
  refusals: Refusals,
): DefinitionFile[] {
  return files.map((file) => {
    let image: Inserted | undefined;
    try {
      image = imageAt(blocks, file.path, folder);
    } catch {
      // Whoever looks for the file says why it is not found.
    }
    if (image === undefined) return file;
    // A node without a format of its own is the file as it is.
    const format = image.drv === "file" ? "raw" : image.drv;
    if (format !== "raw" && format !== "qcow2") {
      refusals.add(
        invalid(
          `${file.path} is ${format} for QEMU, and only raw and qcow2 can be moved`,
          "Convert it: qemu-img convert -O qcow2.",
        ),
      );
      return file;
    }
    if (format === file.format || file.formatIsGuess) return { ...file, format };
    refusals.add(
      invalid(
        `${file.path} is ${format} for QEMU, and ${file.format} by its command line`,
        "Say its true format in the VM's command line.",
      ),
    );
    return file;
  });
}

/** The disks of the VM as its QEMU has them; adds to `refusals` those that it has otherwise than its command line says. */
function disksOf(
  blocks: readonly Inserted[],
  definition: QemuDefinition,
  { files, folder }: { files: QemuFiles; folder: string | null },
  refusals: Refusals,
): RunningDisk[] {
  const known = new Set(definition.files.map(({ path }) => pathOr(path, folder)));
  for (const path of new Set(blocks.map(({ file }) => pathOr(file, folder)))) {
    if (known.has(path)) continue;
    refusals.add(
      invalid(
        `The VM works on ${path}, which its command line does not name`,
        "A disk was plugged in or a snapshot taken since it was started: its command line is not the VM any more. Restart it with what it has now.",
      ),
    );
  }
  return definition.files
    .filter(({ kind }) => kind === "disk")
    .flatMap((file): RunningDisk[] => {
      const found = refusals.attempt(() => {
        const there = named(file.path, folder, (path) => files.disk(path));
        const image = imageAt(blocks, file.path, folder);
        const node = image?.["node-name"];
        if (image !== undefined && node !== undefined) return { there, image, node };
        throw invalid(
          `The disk ${file.path} of the VM's command line is in no device`,
          "It was ejected or unplugged since the VM was started. Restart it with what it has now.",
        );
      });
      if (found === undefined) return [];
      const { there, image, node } = found;
      return [
        {
          ...there,
          file,
          node,
          bytes: image.image["virtual-size"],
          dataBytes: dataBytesOf(image.image, files, folder ?? "/"),
          hasBacking: image.image["backing-image"] !== undefined,
          info: image.image,
          besides: besidesOf(image.image, image["dirty-bitmaps"]),
        },
      ];
    });
}

/** What a copy of the disk takes: the data of all images of its chain, at most the whole disk. An estimate. */
function dataBytesOf(top: ImageInfo, files: QemuFiles, cwd: string): number {
  let bytes = 0;
  for (let image: ImageInfo | undefined = top; image !== undefined; image = image["backing-image"]) {
    bytes += dataIn(image, files, cwd) ?? image["actual-size"] ?? 0;
  }
  return Math.min(bytes, top["virtual-size"]);
}

/** Data of one image; null if it is not qcow2, or may not be looked into. */
function dataIn({ filename, format }: ImageInfo, files: QemuFiles, cwd: string): number | null {
  if (format !== "qcow2") return null;
  try {
    return files.read(resolve(cwd, filename), qcow2DataBytes);
  } catch {
    return null;
  }
}

/** Throws if two disks are one file under two names: at the destination they would be two. */
function requireDistinct(disks: readonly RunningDisk[]): void {
  const seen = new Map<string, string>();
  for (const { path, dev, ino } of disks) {
    const other = seen.get(`${dev}:${ino}`);
    if (other !== undefined) {
      throw invalid(
        `The VM's disks ${other} and ${path} are one and the same file`,
        "At the destination they would be two. Start the VM with it once.",
      );
    }
    seen.set(`${dev}:${ino}`, path);
  }
}

/** The name of a machine type of which `machine` is one: an alias such as "pc" differs between versions of QEMU. */
async function machineTypeOf(qmp: Qmp, machine: string): Promise<string> {
  const machines = await qmp.ask(machinesSchema, "query-machines");
  return machines.find(({ name, alias }) => name === machine || alias === machine)?.name ?? machine;
}

function tpmOf(definition: QemuDefinition, files: QemuFiles, folder: string | null): RunningVm["tpm"] {
  if (!definition.hasTpm) return null;
  const socket = definition.tpmSocket === null ? null : within(folder, definition.tpmSocket);
  const found = socket === null || !files.mayConnect(socket) ? null : swtpmOf(socket);
  if (found === null) {
    throw invalid(
      "The swtpm behind the VM's virtual TPM cannot be found",
      `Its control socket is ${socket ?? "not named"}; swtpm must keep its state in a folder (--tpmstate dir=DIR).`,
    );
  }
  const owners = userOf(found.process.pid)?.uids ?? [];
  return {
    state: named(found.stateFolder, "/", (path) => files.folder(path, owners)),
    swtpm: found.process,
  };
}

/** Where QEMU looks for a firmware that is named without a folder, beside its working directory. */
const dataFolders = [
  "/usr/share/qemu",
  "/usr/share/seabios",
  "/usr/share/OVMF",
  "/usr/share/qemu-efi-aarch64",
];

/** Throws MigrateError "vm-invalid" for a path that begins in a folder that is not known. */
function within(folder: string | null, path: string): string {
  if (folder !== null || isAbsolute(path)) return resolve(folder ?? "/", path);
  throw invalid(
    `${path} of the VM's command line begins in a folder that QEMU left (-daemonize)`,
    "Start the VM with absolute paths.",
  );
}

function found(path: string, folder: string | null): string {
  const whole = folder === null && !isAbsolute(path) ? null : resolve(folder ?? "/", path);
  if (whole !== null && (path.includes("/") || existsSync(whole))) return whole;
  const known = path.includes("/") ? [] : dataFolders.map((at) => join(at, path));
  return known.find((candidate) => existsSync(candidate)) ?? within(folder, path);
}

function realPath(path: string, folder: string | null): string {
  return named(path, folder, (at) => realpathSync(at));
}

/** What `find` finds at a path of the VM's command line. Throws MigrateError "vm-invalid". */
function named<T>(path: string, folder: string | null, find: (path: string) => T): T {
  try {
    return find(found(path.replace(/^file:/, ""), folder));
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    const { code } = thrown as { code?: unknown };
    if (code === "EACCES" || code === "EPERM") throw lookFailure(thrown);
    throw invalid(`${path}, which the VM was started with, is gone`, "Has it been renamed or deleted?");
  }
}
