/**
 * The VMs that run on this host under QEMU, as their command lines tell it. Read with tolerance, since it only shows:
 * what is not understood is left out.
 */
import { readdirSync, readlinkSync } from "node:fs";
import { basename, resolve } from "node:path";
import { argumentsOf, type ProcessId, processId } from "../../platform/process-id.ts";
import { defaultRamBytes, ramBytesOf } from "./definition/machine.ts";
import { isLibvirts } from "./definition/managed.ts";
import { isJson, readJsonPairs, readPairs, textOf } from "./definition/option-syntax.ts";

export interface HostVm {
  process: ProcessId;
  /** From -name; null if it has none. */
  name: string | null;
  /** Null if it cannot be told. */
  ramBytes: number | null;
  /** Paths of its disk images, without firmware; absolute if QEMU's working directory is known. */
  disks: string[];
  /** Path of its QMP socket, as `disks`; null if it has none that can be called. */
  qmpPath: string | null;
  hasTpm: boolean;
  /** libvirt started it, and holds its QMP socket. */
  isLibvirts: boolean;
}

/** A QEMU is known by its program's name: sudo or strace may have the same options behind their own. */
const qemuName = /^(?:qemu-system-[\w-]+|qemu-kvm|qemu|kvm)$/;

/** The VMs that this user may look at, by their pids. Reads /proc (proc(5)); never throws for a process. */
export function hostVms(): HostVm[] {
  const pids = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  return pids.sort((a, b) => a - b).flatMap((pid) => hostVm(pid) ?? []);
}

function hostVm(pid: number): HostVm | undefined {
  const process = processId(pid);
  const argv = argvOf(pid);
  if (process === null || argv === null || !qemuName.test(basename(argv[0] ?? ""))) return undefined;
  const described = describeQemu(argv.slice(1));
  const folder = workingFolder(pid);
  const absolute = (path: string) => (folder === undefined ? path : resolve(folder, path));
  return {
    process,
    ...described,
    disks: described.disks.map(absolute),
    qmpPath: described.qmpPath === null ? null : absolute(described.qmpPath),
  };
}

/** The arguments; null also if they are hidden from this user or longer than any VM's. */
function argvOf(pid: number): string[] | null {
  try {
    return argumentsOf(pid);
  } catch {
    return null;
  }
}

function workingFolder(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

type Keys = ReadonlyMap<string, string>;

/** What a QEMU's arguments (without its own name) say of its VM, paths as they stand there. */
export function describeQemu(argv: readonly string[]): Omit<HostVm, "process"> {
  const options = optionsOf(argv);
  const all = (option: string) => options.get(option) ?? [];
  const last = (option: string, implied: string) => keysOf(all(option).at(-1) ?? "", implied).get(implied);
  const ram = last("m", "size");
  return {
    name: last("name", "guest") ?? null,
    ramBytes: ram === undefined ? defaultRamBytes : ramBytesOf(ram),
    disks: disksOf(all),
    qmpPath: qmpPathOf(all) ?? null,
    hasTpm: options.has("tpmdev"),
    isLibvirts: isLibvirts(argv),
  };
}

/** Paths of the disk images that a QEMU's arguments (without its own name) give it, as they stand there. */
export function diskPathsIn(argv: readonly string[]): string[] {
  const options = optionsOf(argv);
  return disksOf((option) => options.get(option) ?? []);
}

/** Values by the option's name, without its dashes. */
function optionsOf(argv: readonly string[]): Map<string, string[]> {
  const options = new Map<string, string[]>();
  for (const [index, argument] of argv.entries()) {
    const name = /^--?([a-z][\w-]*)$/.exec(argument)?.[1];
    const value = argv[index + 1];
    if (name !== undefined && value !== undefined) options.set(name, [...(options.get(name) ?? []), value]);
  }
  return options;
}

/** The keys of an option's value; none if it is not understood. */
function keysOf(text: string, implied: string): Keys {
  try {
    const pairs = isJson(text) ? readJsonPairs("", text) : readPairs("", text, implied);
    return new Map(pairs.map(({ key, value }) => [key, textOf(value)]));
  } catch {
    // Not ours to judge.
    return new Map();
  }
}

function qmpPathOf(all: (option: string) => string[]): string | undefined {
  for (const value of all("qmp")) {
    if (!value.startsWith("unix:")) continue;
    const keys = keysOf(`path=${value.slice("unix:".length)}`, "path");
    const path = keys.get("path");
    if (path && isServer(keys)) return path;
  }
  const sockets = new Map(all("chardev").map((value) => [keysOf(value, "backend").get("id"), value]));
  for (const value of all("mon")) {
    const monitor = keysOf(value, "chardev");
    if (monitor.get("mode") !== "control") continue;
    const keys = keysOf(sockets.get(monitor.get("chardev")) ?? "", "backend");
    const path = keys.get("path");
    if (keys.get("backend") === "socket" && path !== undefined && isServer(keys)) return path;
  }
  return undefined;
}

/** A QEMU that calls somebody else's socket has nothing to connect to. */
function isServer(keys: Keys): boolean {
  return keys.has("server") && keys.get("server") !== "off";
}

function disksOf(all: (option: string) => string[]): string[] {
  const nodes = all("blockdev").map((value) => keysOf(value, "driver"));
  const firmware = firmwareNodes(all, nodes);
  const drives = all("drive")
    .map((value) => keysOf(value, "file"))
    .filter((keys) => keys.get("if") !== "pflash")
    .map((keys) => keys.get("file") ?? filenameOf(keys));
  const files = nodes.filter((keys) => !firmware.has(keys.get("node-name") ?? "")).map(filenameOf);
  const old = ["hda", "hdb", "hdc", "hdd"].flatMap(all);
  return [...new Set([...drives, ...files, ...old].flatMap((path) => path || []))];
}

/** The image's own file: "filename", or "file.filename" if format and file are one node. */
function filenameOf(keys: Keys): string | undefined {
  for (const [key, value] of keys) if (/^(?:file\.)*filename$/.test(key)) return value;
  return undefined;
}

/** Nodes that -machine pflash0=… names, and those they stand on. */
function firmwareNodes(all: (option: string) => string[], nodes: readonly Keys[]): Set<string> {
  const machines = [...all("machine"), ...all("M")].map((value) => keysOf(value, "type"));
  const firmware = new Set(
    machines.flatMap((keys) => [keys.get("pflash0") ?? [], keys.get("pflash1") ?? []].flat()),
  );
  // A set that grows is walked to its end.
  for (const name of firmware) {
    const below = nodes.find((keys) => keys.get("node-name") === name)?.get("file");
    if (below !== undefined) firmware.add(below);
  }
  return firmware;
}
