/** The root that a confined program sees: its own files, and what every program needs, read-only. */
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  realpathSync,
  rmdirSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Right } from "../../platform/confine/landlock.ts";
import {
  bind,
  makeMountsPrivate,
  makeRootReadOnly,
  mountOwnProc,
  mountTmpfs,
  pivotRoot,
  unmountAll,
} from "../../platform/confine/mounts.ts";
import type { PlannedFile } from "./plan.ts";

/** Programs, their libraries and their data; with links, since distributions have some of these lead to /usr. */
const programFolders = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store"];
/** What the loader and the C library look for. */
const settings = [
  "/etc/ld.so.cache",
  "/etc/ld.so.conf",
  "/etc/ld.so.conf.d",
  "/etc/alternatives",
  "/etc/localtime",
];
/** QEMU's user network asks the servers that are named here. */
const nameServers = "/etc/resolv.conf";
const devices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/kvm"];

/** Where a program that was installed elsewhere, as /opt/qemu/bin/qemu-img, has its libraries and data. */
const besidePrograms = ["lib", "lib64", "libexec", "share"];

/** What every program needs, and `program` itself, a path. What is not there is left out. */
export function programFiles(program: string, network: "host" | "none"): PlannedFile[] {
  const right = (of: Right, paths: readonly string[]) => paths.map((path) => ({ path, right: of }));
  const all = [
    ...right("programs", programFolders),
    ...right("read", network === "host" ? [...settings, nameServers] : settings),
    ...right("device", devices),
    ...right("programs", elsewhere(program)),
  ];
  return all.filter(({ path }) => existsSync(path));
}

/** What of a program is in none of the usual folders. */
function elsewhere(program: string): string[] {
  const real = existsSync(program) ? realpathSync(program) : program;
  const parts = ["bin", "sbin"].includes(basename(dirname(real)))
    ? besidePrograms.map((name) => join(dirname(dirname(real)), name))
    : [];
  return [...new Set([program, real, ...parts])].filter((path) => !isBelow(path, programFolders));
}

function isBelow(path: string, folders: readonly string[]): boolean {
  return folders.some((folder) => path === folder || path.startsWith(`${folder}/`));
}

/** Mount points while the new root is made: the old root, the new one, and the old one within that. */
const [oldRoot, newRoot, leftBehind] = ["/old", "/new", "/left"];
/** One of these folders is there, and is covered for that time. */
const workplaces = ["/tmp", "/run", "/mnt"];

/** A file that is to be seen, as it is found before anything is covered. */
interface Shown extends PlannedFile {
  /** Without links. */
  real: string;
  isFolder: boolean;
  /** What a link leads to, if it is shown as one. */
  link: string | null;
  writable: boolean;
}

/**
 * Makes a root with these files and nothing else, and enters it. The calling thread must have mounts of its own,
 * and the right to mount. Throws a SystemError, or as node:fs does.
 */
export function enterView(files: readonly PlannedFile[]): void {
  const shown = files.map((file) => lookAt(file, files));
  makeMountsPrivate();
  const workplace = workplaces.find((path) => existsSync(path)) ?? "/";
  // Covers what lies below the workplace, until it is the root and the old root is whole below it.
  mountTmpfs(workplace);
  for (const folder of [oldRoot, newRoot]) mkdirSync(join(workplace, folder));
  pivotRoot(workplace, join(workplace, oldRoot));
  process.chdir("/");
  mountTmpfs(newRoot);
  for (const [n, file] of shown.entries()) {
    if (!isShownBy(file, shown.slice(0, n))) show(file);
  }
  mkdirSync(join(newRoot, "proc"), { recursive: true });
  mountOwnProc(join(newRoot, "proc"));
  mkdirSync(join(newRoot, leftBehind));
  pivotRoot(newRoot, join(newRoot, leftBehind));
  process.chdir("/");
  unmountAll(leftBehind);
  rmdirSync(leftBehind);
  makeRootReadOnly();
}

function lookAt(file: PlannedFile, all: readonly PlannedFile[]): Shown {
  const at = file.from ?? file.path;
  const real = realpathSync(at);
  const isLink = file.right === "programs" && lstatSync(at).isSymbolicLink() && isBelow(real, programFolders);
  return {
    ...file,
    real,
    isFolder: statSync(real).isDirectory(),
    link: isLink ? readlinkSync(at) : null,
    // QEMU may write some of the files in a folder that is only to be read: what their modes and Landlock say.
    writable: isWritable(file) || all.some((other) => isWritable(other) && isBelow(other.path, [file.path])),
  };
}

function isWritable({ right }: PlannedFile): boolean {
  return right === "write" || right === "own";
}

function isShownBy({ path, from, writable }: Shown, before: readonly Shown[]): boolean {
  return (
    from === undefined && before.some((other) => isBelow(path, [other.path]) && (other.writable || !writable))
  );
}

function show({ path, real, right, link, isFolder, writable }: Shown): void {
  const at = join(newRoot, path);
  makeFolder(isFolder && link === null ? at : dirname(at));
  if (link !== null) {
    symlinkSync(link, at);
    return;
  }
  if (!isFolder && !existsSync(at)) closeSync(openSync(at, "wx", 0o600));
  bind(join(oldRoot, real), at, { writable, programs: right === "programs", devices: right === "device" });
}

/** Within what is shown read-only already, such as /usr, a folder of ours covers the nearest that there is. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (thrown) {
    if ((thrown as { code?: unknown }).code !== "EROFS") throw thrown;
    let nearest = path;
    while (!existsSync(nearest)) nearest = dirname(nearest);
    mountTmpfs(nearest);
    mkdirSync(path, { recursive: true });
  }
}
