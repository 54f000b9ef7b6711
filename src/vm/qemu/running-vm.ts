/**
 * A VM that runs under QEMU on this host, as its migration finds it: its command line, compared with what QEMU
 * itself reports now. If the two differ (a disk that was plugged in, a snapshot that was
 * taken) the command line is not the VM any more, and the VM is refused.
 */
import { existsSync, readlinkSync, realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import * as v from "valibot";
import { processListeningAt } from "../../platform/peer-process.ts";
import { argumentsOf, type ProcessId } from "../../platform/process-id.ts";
import { type UserRights, userOf } from "../../platform/user-rights.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { qcow2DataBytes } from "../disks/qcow2-data.ts";
import { type DefinitionFile, parseDefinition, type QemuDefinition } from "./definition/definition.ts";
import { requireUnmanaged } from "./definition/managed.ts";
import { type Besides, besidesOf, dirtyBitmaps, type ImageInfo, imageInfo } from "./images/image-info.ts";
import { requireMovable, runState } from "./outgoing/guest-watch.ts";
import { type Hardware, hardwareOf } from "./outgoing/hardware.ts";
import { requireUnused } from "./outgoing/others-work.ts";
import { type QemuFile, QemuFiles } from "./qemu-files.ts";
import { Qmp } from "./qmp/qmp.ts";
import { qmpFailure } from "./qmp/qmp-error.ts";
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
      }),
    ),
  }),
);
type Inserted = NonNullable<v.InferOutput<typeof blockSchema>[number]["inserted"]>;

const machinesSchema = v.array(v.object({ name: v.string(), alias: v.optional(v.string()) }));

function invalid(message: string, hint?: string): MigrateError {
  return new MigrateError("vm-invalid", message, { side: "source", hint });
}

/**
 * Connects to the QEMU behind a QMP socket and looks at its VM; changes nothing. The caller closes
 * `qmp`. Throws MigrateError "vm-invalid" if there is none, or it is not what its command line says,
 * "policy" naming what of it cannot be moved, and "qemu-failed".
 */
export async function openRunningVm(path: string): Promise<RunningVm> {
  const qmpPath = resolve(path);
  const qmp = await Qmp.connect(qmpPath).catch((thrown: unknown) => {
    // Whoever manages a VM holds its socket: that comes first.
    requireUnmanaged(argvBehind(qmpPath));
    throw thrown;
  });
  try {
    return await look(qmp, qmpPath);
  } catch (thrown) {
    qmp.close();
    throw lookFailure(thrown);
  }
}

/** The command line of whoever listens on the socket; empty if it cannot be told. */
function argvBehind(qmpPath: string): readonly string[] {
  const listening = processListeningAt(qmpPath);
  try {
    return (listening && argumentsOf(listening.pid)) ?? [];
  } catch {
    return [];
  }
}

/** An error of the system is about what this user may see, not a bug. */
function lookFailure(thrown: unknown): MigrateError {
  const { code } = thrown as { code?: unknown };
  if (thrown instanceof MigrateError || typeof code !== "string") return qmpFailure(thrown, "source");
  return invalid(
    `The VM's QEMU cannot be looked at (${code})`,
    "Run migrate as root, or as the user who runs QEMU.",
  );
}

async function look(qmp: Qmp, qmpPath: string): Promise<RunningVm> {
  const process = qmp.peer;
  const argv = process && argumentsOf(process.pid);
  if (process === null || argv === null || argv.length === 0) {
    throw invalid(
      "The command line of the VM's QEMU cannot be read",
      "Run migrate as root, or as QEMU's user.",
    );
  }
  const cwd = readlinkSync(`/proc/${process.pid}/cwd`);
  // Asked first: what changes while the rest is looked at shows at the next look.
  const hardware = await hardwareOf(qmp);
  const said = parseDefinition(argv);
  const definition = { ...said, machine: await machineTypeOf(qmp, said.machine) };
  const running = requireMovable(await runState(qmp));
  await requireUnused(qmp);
  const files = QemuFiles.of(process, qmp.peerUid);
  const disks = await disksOf(qmp, definition, files, cwd);
  requireDistinct(disks);
  return {
    qmpPath,
    qmp,
    process,
    definition,
    disks,
    boot: definition.files
      .filter(({ kind }) => kind === "boot")
      .map((file) => ({ file, ...named(file.path, cwd, (path) => files.boot(path)) })),
    tpm: tpmOf(definition, files, cwd),
    user: files.user,
    running,
    hardware,
  };
}

/**
 * Returns the disks of the VM that `definition` describes, as the QEMU behind `qmp` has them; `cwd` is that of its
 * process, `files` what it may open. Throws MigrateError "vm-invalid" if QEMU has others, and QmpError.
 */
export async function disksOf(
  qmp: Qmp,
  definition: QemuDefinition,
  files: QemuFiles,
  cwd: string,
): Promise<RunningDisk[]> {
  const blocks = await qmp.ask(blockSchema, "query-block");
  const inserted = blocks.flatMap((block) => (block.inserted === undefined ? [] : [block.inserted]));
  const byPath = new Map<string, Inserted>();
  for (const image of inserted) byPath.set(realPath(image.file, cwd), image);
  const known = new Set(definition.files.map(({ path }) => realPath(path, cwd)));
  const foreign = [...byPath.keys()].find((path) => !known.has(path));
  if (foreign !== undefined) {
    throw invalid(
      `The VM works on ${foreign}, which its command line does not name`,
      "A disk was plugged in or a snapshot taken since it was started: its command line is not the VM any more. Restart it with what it has now.",
    );
  }
  for (const file of definition.files) {
    const image = file.kind === "boot" ? byPath.get(realPath(file.path, cwd)) : undefined;
    if (image !== undefined && file.formatIsGuess) requireFormat(file, image);
  }
  return definition.files
    .filter(({ kind }) => kind === "disk")
    .map((file): RunningDisk => {
      const found = named(file.path, cwd, (path) => files.disk(path));
      const { path } = found;
      const image = byPath.get(path);
      const node = image?.["node-name"];
      if (image === undefined || node === undefined) {
        throw invalid(
          `The disk ${file.path} of the VM's command line is in no device`,
          "It was ejected or unplugged since the VM was started. Restart it with what it has now.",
        );
      }
      requireFormat(file, image);
      return {
        ...found,
        file,
        node,
        bytes: image.image["virtual-size"],
        dataBytes: dataBytesOf(image.image, files, cwd),
        hasBacking: image.image["backing-image"] !== undefined,
        info: image.image,
        besides: besidesOf(image.image, image["dirty-bitmaps"]),
      };
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

/** Throws unless the format that the command line names, or that was guessed, is the one that QEMU uses. */
function requireFormat(file: DefinitionFile, image: Inserted): void {
  // A node without a format of its own is the file as it is.
  const format = image.drv === "file" ? "raw" : image.drv;
  if (format === file.format) return;
  throw invalid(
    `${file.path} is ${format} for QEMU, and ${file.format} by its command line`,
    "Say format= in the VM's command line.",
  );
}

/** The name of a machine type of which `machine` is one: an alias such as "pc" differs between versions of QEMU. */
export async function machineTypeOf(qmp: Qmp, machine: string): Promise<string> {
  const machines = await qmp.ask(machinesSchema, "query-machines");
  return machines.find(({ name, alias }) => name === machine || alias === machine)?.name ?? machine;
}

function tpmOf(definition: QemuDefinition, files: QemuFiles, cwd: string): RunningVm["tpm"] {
  if (!definition.hasTpm) return null;
  const socket = definition.tpmSocket === null ? null : resolve(cwd, definition.tpmSocket);
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

function found(path: string, cwd: string): string {
  const whole = resolve(cwd, path);
  if (path.includes("/") || existsSync(whole)) return whole;
  return dataFolders.map((folder) => join(folder, path)).find((candidate) => existsSync(candidate)) ?? whole;
}

function realPath(path: string, cwd: string): string {
  return named(path, cwd, (at) => realpathSync(at));
}

/** What `find` finds at a path of the VM's command line. Throws MigrateError "vm-invalid". */
function named<T>(path: string, cwd: string, find: (path: string) => T): T {
  try {
    return find(found(path.replace(/^file:/, ""), cwd));
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    const { code } = thrown as { code?: unknown };
    if (code === "EACCES" || code === "EPERM") throw lookFailure(thrown);
    throw invalid(`${path}, which the VM was started with, is gone`, "Has it been renamed or deleted?");
  }
}
